//! One line of JSON for each request, whatever became of it.

use crate::support::log::Log;
use crate::support::process::Process;
use crate::support::{Backend, Client, Client2, Gate, OK, ask, get};

/// Any that are free.
const PORTS: &str = "[server]\nlisten = ['127.0.0.1:0']\n[admin]\nlisten = '127.0.0.1:0'\n";

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

#[tokio::test]
async fn people_can_have_lines_that_they_can_read() {
    let backend = Backend::answering(OK).await;
    let log = Log::new();
    let gate = Gate::before(&backend, &format!("{}format = 'text'", log.table()));
    let request = "GET /a;session=secret?token=secret HTTP/1.1\r\nHost: gate\r\nUser-Agent: a \"b\" end=forged\r\n\r\n";
    assert_eq!(ask(gate.address(), request).await.status(), 200);
    let line = log.text(1).await;
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
    assert!(rest.starts_with("127.0.0.1 GET gate /a;session=***?token=*** 200 "), "{line}");
    for part in [
        "route=app",
        "bytes_out=2",
        "upstream=app",
        &format!("address={}", backend.address()),
        "user_agent=\"a \\\"b\\\" end=forged\" protocol=HTTP/1.1 end=ok request_id=",
    ] {
        assert!(rest.contains(&format!(" {part}")), "{part} is missing in {line}");
    }
    assert!(!line.contains("secret"), "{line}");
}

#[tokio::test]
async fn a_share_of_the_good_answers_has_lines_and_every_bad_one() {
    let backend = Backend::replying(|seen| {
        let status = if seen.head.target() == "/bad" { "503 Bad" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let log = Log::new();
    let sampled = |share: &str| {
        let address = backend.address();
        format!(
            "[upstreams.app]\naddresses = ['{address}']\nretry = {{ attempts = 0 }}\neject = {{ max_share = 0 }}\n\
             [[routes]]\nname = 'app'\nprefix = '/'\nupstream = 'app'\n{}sample = {share}\n",
            log.table()
        )
    };
    let gate = Gate::start(&sampled("0.0"));
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..50 {
        client.get("/good").await;
    }
    for _ in 0..3 {
        client.get("/bad").await;
    }
    let lines = log.lines(3).await;
    assert!(lines.iter().all(|line| line["status"] == 503), "{lines:?}");
    // The share counts at once.
    assert!(gate.reload(&sampled("1.0")).await.is_ok());
    client.get("/good").await;
    assert_eq!(log.lines(4).await[3]["status"], 200);
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_opened_anew_on_a_signal() {
    let backend = Backend::answering(OK).await;
    let log = Log::new();
    let route = format!("[[routes]]\nprefix = '/'\nupstream = 'http://{}'\n{}", backend.address(), log.table());
    let (gate, address, _) = Process::serve(&format!("{PORTS}{route}")).await;
    ask(address, "GET /first HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(log.only().await["path"], "/first");
    let old = log.path().with_extension("1");
    std::fs::rename(log.path(), &old).unwrap();
    gate.signal("USR1");
    crate::support::eventually("the file is there again", || log.path().exists()).await;
    ask(address, "GET /second HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(log.only().await["path"], "/second");
    assert_eq!(std::fs::read_to_string(old).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn operators_turn_the_programs_log_up_and_down() {
    let text = "[[routes]]\nprefix = '/'\nupstream = 'http://[::1]:9'\n[log]\naccess = 'off'\n";
    let (gate, _, admin) = Process::serve(&format!("{PORTS}{text}")).await;
    let level = async || get(admin, "/api/v1/log/level").await.text();
    let put = async |body: &str| {
        let length = body.len();
        ask(admin, format!("PUT /api/v1/log/level HTTP/1.1\r\nHost: gate\r\nContent-Length: {length}\r\n\r\n{body}"))
            .await
    };
    assert_eq!(level().await, r#"{"level":"info"}"#);
    let wanted = r#"{"level":"off,tollgate::admin=warn,tollgate::reload=debug"}"#;
    assert_eq!((put(wanted).await.text().as_str(), level().await.as_str()), (wanted, wanted));
    gate.says("an operator changes what is logged").await;
    for wrong in ["", "debug", r#"{"level":"loud"}"#, r#"{"level":"info","more":1}"#, r#"{"level":"info,info"}"#] {
        let answer = put(wrong).await;
        assert_eq!((answer.status(), answer.code().as_str()), (422, "bad_level"), "{wrong}");
    }
    assert_eq!(level().await, wanted);
    put(r#"{"level":"off"}"#).await;
    gate.says("\"to\":\"off\"").await;
    let before = gate.printed();
    gate.signal("HUP");
    crate::support::eventually_async("the reload is over", async || {
        get(admin, "/metrics").await.text().contains("tollgate_config_reloads_total{result=\"ok\"} 1")
    })
    .await;
    assert_eq!(gate.printed(), before, "nothing is said of a reload, and the reload does not change that");
    assert_eq!(level().await, r#"{"level":"off"}"#);
}
