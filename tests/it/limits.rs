//! What clients may send: so many fields, so many bytes, so many connections.

use crate::support::{Backend, Client, Client2, Gate, OK, ask, eventually_some};

fn with_fields(count: usize) -> String {
    let fields: String = (1..count).map(|number| format!("x-{number}: v\r\n")).collect();
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")
}

#[tokio::test]
async fn too_many_fields_are_refused_and_as_many_as_allowed_are_not() {
    for (limit, most) in [("", 100), ("max_headers = 5\n", 5), ("max_headers = 300\n", 300)] {
        let backend = Backend::answering(OK).await;
        let gate = Gate::before(&backend, &format!("[server]\n{limit}"));
        assert_eq!(ask(gate.address(), with_fields(most)).await.status(), 200, "{most}");
        for count in [most + 1, most + 50] {
            let refusal = ask(gate.address(), with_fields(count)).await.refusal();
            assert_eq!(refusal, (431, "header_too_large".into()), "{count} of {most}");
        }
        assert_eq!(backend.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    for (limit, most) in
        [("", 64 * 1024), ("max_header_bytes = \"8KiB\"\n", 8192), ("max_header_bytes = \"128KiB\"\n", 128 * 1024)]
    {
        let backend = Backend::answering(OK).await;
        let gate = Gate::before(&backend, &format!("[server]\n{limit}"));
        let request = |length: usize| format!("GET / HTTP/1.1\r\nHost: gate\r\nx: {}\r\n\r\n", "v".repeat(length));
        assert_eq!(ask(gate.address(), request(most - 200)).await.status(), 200, "{most}");
        for length in [most + 1, most + 20_000] {
            let refusal = ask(gate.address(), request(length)).await.refusal();
            assert_eq!(refusal, (431, "header_too_large".into()), "{length} of {most}");
        }
        let target = format!("GET /{} HTTP/1.1\r\nHost: gate\r\n\r\n", "v".repeat(most));
        assert_eq!(ask(gate.address(), target).await.refusal(), (431, "header_too_large".into()));
        assert_eq!(backend.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_unread() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "max_body = \"1KiB\"\n");
    for (length, status) in [(1024, 200), (1025, 413)] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
        assert_eq!(ask(gate.address(), request).await.status(), status, "{length}");
    }
    let huge = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 99999999999\r\n\r\n";
    assert_eq!(ask(gate.address(), huge).await.refusal(), (413, "body_too_large".into()));
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before_upstream(&backend, "[server]\nmax_body = \"1KiB\"\n");
    let upload = |chunk: &str, chunks: usize| {
        let body = format!("{:x}\r\n{chunk}\r\n", chunk.len()).repeat(chunks);
        format!("POST / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n")
    };
    assert_eq!(ask(gate.address(), upload(&"x".repeat(64), 16)).await.status(), 200);
    for (chunk, chunks) in [(64, 17), (1, 1025), (2000, 1)] {
        let refused = ask(gate.address(), upload(&"x".repeat(chunk), chunks)).await;
        assert_eq!(refused.refusal(), (413, "body_too_large".into()));
    }
    assert_eq!(backend.seen().len(), 1, "no part of them passes for a whole");
    gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"reset\"} 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_uploading_hears_why_it_is_refused() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "max_body = \"1KiB\"\n");
    for _ in 0..5 {
        let mut client = Client::connect(gate.address()).await;
        client.send("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 20000000\r\n\r\n").await;
        client.send(vec![b'x'; 20_000_000]).await;
        assert_eq!(client.answer().await.unwrap().refusal(), (413, "body_too_large".into()));
    }
}

#[tokio::test]
async fn a_connection_too_many_is_turned_away_until_there_is_room() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nmax_connections = 2\n");
    let mut first = Client::connect(gate.address()).await;
    let mut second = Client::connect(gate.address()).await;
    assert_eq!(first.get("/").await.text(), "ok");
    assert_eq!(second.get("/").await.text(), "ok");
    let turned_away = ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(turned_away.refusal(), (503, "overloaded".into()));
    assert_eq!(turned_away.head.get("retry-after"), Some("1"));
    assert_eq!(first.get("/").await.text(), "ok", "those inside notice nothing");
    drop(second);
    let again = eventually_some("there is room again", async || {
        let answer = ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        (answer.status() == 200).then_some(answer)
    });
    assert_eq!(again.await.text(), "ok");
}

#[tokio::test]
async fn a_head_that_is_too_large_for_http2_is_refused() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nmax_headers = 10\n");
    let mut client = Client2::connect(gate.address()).await;
    let mut request = http::Request::get("http://gate/");
    for number in 0..20 {
        request = request.header(format!("x-{number}"), "v");
    }
    let response = client.send(request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 431);
    assert_eq!(client.get("/").await.0, 200);
}
