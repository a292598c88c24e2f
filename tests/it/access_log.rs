//! One line of JSON for each request, whatever became of it.

use crate::support::log::Log;
use crate::support::{Backend, Client, Client2, Gate, OK, ask};

#[tokio::test]
async fn a_line_says_what_happened() {
    let backend = Backend::answering("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello").await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let request = "POST /a/./b?token=secret&x HTTP/1.1\r\nHost: API.test:80\r\nUser-Agent: tests/1\r\n\
                   Content-Length: 3\r\n\r\nabc";
    let answer = ask(gate.address(), request).await;
    let line = log.only().await;
    for (name, value) in [
        ("request_id", answer.head.get("x-request-id").unwrap()),
        ("client_ip", "127.0.0.1"),
        ("method", "POST"),
        ("host", "api.test:80"),
        ("path", "/a/b?token=***&***"),
        ("route", "app"),
        ("upstream", "app"),
        ("address", &backend.address().to_string()),
        ("user_agent", "tests/1"),
        ("protocol", "HTTP/1.1"),
        ("end", "ok"),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    for (name, value) in [("status", 201), ("bytes_in", 3), ("bytes_out", 5), ("tries", 1)] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line["duration_ms"].as_f64().unwrap() >= line["upstream_ms"].as_f64().unwrap(), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    assert_eq!(line.get("code"), None, "{line}");
}

#[tokio::test]
async fn refused_requests_have_their_lines_too() {
    let backend = Backend::answering(OK).await;
    let log = Log::new();
    let gate = Gate::start(&format!(
        "[[routes]]\nname = \"app\"\nprefix = \"/app\"\nmethods = [\"GET\"]\nmax_body = \"1KiB\"\nupstream = \"http://{}\"\n{}",
        backend.address(),
        log.table()
    ));
    let cases = [
        ("GET /nowhere", 404, "no_route", "none"),
        ("PUT /app", 405, "method_not_allowed", "none"),
        ("GET /../app", 400, "bad_request", "none"),
        ("GET /app", 413, "body_too_large", "app"),
    ];
    for (number, (line, status, code, route)) in cases.into_iter().enumerate() {
        let request = format!("{line} HTTP/1.1\r\nHost: gate\r\nContent-Length: 2000\r\n\r\n");
        let answer = ask(gate.address(), request).await;
        assert_eq!(answer.refusal(), (status, code.into()));
        let line = log.lines(number + 1).await.pop().unwrap();
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &code.into()), "{line}");
        assert_eq!((&line["route"], &line["end"]), (&route.into(), &"ok".into()), "{line}");
        assert_eq!(line["request_id"], answer.head.get("x-request-id").unwrap(), "{line}");
    }
}

#[tokio::test]
async fn what_a_client_writes_cannot_forge_a_line() {
    let backend = Backend::answering(OK).await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let request =
        b"GET /%22%7d?a%0ab={} HTTP/1.1\r\nHost: gate\r\nUser-Agent: \"},{\"status\":1 \\ \xff\t\xc3\xa9\r\n\r\n";
    assert_eq!(ask(gate.address(), request).await.status(), 200);
    let line = log.only().await;
    assert_eq!(line["user_agent"], "\"},{\"status\":1 \\ \u{fffd}\t\u{e9}");
    assert_eq!(line["path"], "/%22%7D?a%0ab=***");
    assert_eq!(line["status"], 200);
}

#[tokio::test]
async fn a_line_says_who_ended_an_answer() {
    for (target, end, status) in
        [("/reset", "upstream_reset", 200), ("/stop", "timeout", 200), ("/leave", "client_gone", 200)]
    {
        let backend = Backend::start(async |mut peer| {
            let seen = peer.request().await.unwrap();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
            if seen.head.target() != "/reset" {
                peer.ended().await;
            }
        })
        .await;
        let log = Log::new();
        let idle = if target == "/stop" { "100ms" } else { "60s" };
        let gate = Gate::before_upstream(&backend, &format!("idle_timeout = {idle:?}\n{}", log.table()));
        let mut client = Client::connect(gate.address()).await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: gate\r\n\r\n")).await;
        assert_eq!(client.head().await.unwrap().status(), 200);
        assert_eq!(client.exactly(4).await.unwrap(), b"half");
        if target == "/leave" {
            drop(client);
        } else {
            assert!(client.ended().await.is_empty());
        }
        let line = log.only().await;
        assert_eq!((&line["end"], &line["status"]), (&end.into(), &status.into()), "{line}");
        assert_eq!(line["bytes_out"], 4, "{line}");
    }
}

#[tokio::test]
async fn a_request_that_nobody_waited_for_has_a_line_without_an_answer() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.ended().await;
    })
    .await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    crate::support::eventually("the request has arrived", || backend.seen().len() == 1).await;
    drop(client);
    let line = log.only().await;
    assert_eq!((&line["end"], &line["status"]), (&"client_gone".into(), &0.into()), "{line}");
}

#[tokio::test]
async fn an_upstreams_failure_is_explained_in_the_log_alone() {
    let backend = Backend::start(async |mut peer| drop(peer.request().await)).await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let answer = ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(answer.status(), 502);
    let line = log.only().await;
    assert_eq!((&line["code"], &line["end"]), (&"upstream_reset".into(), &"ok".into()), "{line}");
    let cause = line["cause"].as_str().unwrap();
    assert!(!cause.is_empty() && !answer.text().contains(cause), "{line}");
}

#[tokio::test]
async fn answers_without_a_body_end_well() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let mut client = Client::connect(gate.address()).await;
    for method in ["GET", "HEAD"] {
        assert_eq!(client.ask(format!("{method} / HTTP/1.1\r\nHost: gate\r\n\r\n")).await.status(), 200);
    }
    let mut client = Client2::connect(gate.address()).await;
    assert_eq!(client.get("/").await.0, 200);
    let lines = log.lines(3).await;
    assert!(lines.iter().all(|line| line["end"] == "ok" && line["bytes_out"] == 0), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line["protocol"] == "HTTP/2").count(), 1);
}

#[tokio::test]
async fn a_tunnel_has_one_line_when_it_ends() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        peer.send("hello").await;
        peer.ended().await;
    })
    .await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert_eq!(client.exactly(5).await.unwrap(), b"hello");
    drop(client);
    let line = log.only().await;
    assert_eq!((&line["status"], &line["bytes_out"], &line["end"]), (&101.into(), &5.into(), &"ok".into()), "{line}");
}
