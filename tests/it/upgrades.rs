//! Switching protocols: WebSockets pass as bytes once the upstream has agreed, and nothing passes before.

use crate::support::log::Log;
use crate::support::{Backend, Client, Gate, OK, Peer, eventually};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: gate\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees, then sends back what it gets, four bytes at a time.
async fn echo(mut peer: Peer) {
    peer.request().await;
    peer.send(AGREE).await;
    while let Some(bytes) = peer.exactly(4).await {
        peer.send(bytes).await;
    }
}

async fn upgraded(gate: &Gate) -> Client {
    let mut client = Client::connect(gate.address()).await;
    client.send(ASK).await;
    let head = client.head().await.unwrap();
    assert_eq!(head.status(), 101);
    assert!(head.get("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert!(head.get("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

#[tokio::test]
async fn messages_pass_both_ways_until_the_client_closes() {
    let backend = Backend::start(echo).await;
    let gate = Gate::before(&backend, "");
    let mut client = upgraded(&gate).await;
    let head = backend.only().head;
    assert!(head.get("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert_eq!(head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    for number in 0..1000 {
        let message = format!("{number:04}");
        client.send(&message).await;
        assert_eq!(client.exactly(4).await.unwrap(), message.as_bytes());
    }
    client.finish().await;
    assert!(client.ended().await.is_empty(), "the backend has closed behind the client");
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
}

#[tokio::test]
async fn a_tunnel_ends_when_the_upstream_closes() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send(format!("{AGREE}bye")).await;
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = upgraded(&gate).await;
    assert_eq!(client.ended().await, b"bye", "also what came in one segment with the 101");
}

#[tokio::test]
async fn a_tunnel_that_stands_still_is_not_cut() {
    let backend = Backend::start(echo).await;
    let gate = Gate::before_upstream(&backend, "idle_timeout = \"50ms\"\nresponse_timeout = \"1s\"\n");
    let mut client = upgraded(&gate).await;
    // Longer than every limit but the test's own; a cut would end the connection before the answer.
    let began = std::time::Instant::now();
    eventually("several idle times have passed", || began.elapsed().as_millis() > 300).await;
    client.send("ping").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"ping");
}

#[tokio::test]
async fn a_side_that_has_said_all_hears_the_other_out() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send(AGREE).await;
        let question = peer.ended().await;
        peer.send([b"heard: ", &question[..]].concat()).await;
    })
    .await;
    let log = Log::new();
    let gate = Gate::before(&backend, &log.table());
    let mut client = upgraded(&gate).await;
    client.send("question").await;
    client.finish().await;
    assert_eq!(client.ended().await, b"heard: question");
    let line = log.only().await;
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&8.into(), &15.into()), "{line}");
    assert_eq!((&line["status"], &line["end"]), (&101.into(), &"ok".into()), "{line}");
}

#[tokio::test]
async fn a_client_that_never_closes_keeps_no_tunnel_whose_upstream_has() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send(format!("{AGREE}bye")).await;
        peer.exactly(3).await;
    })
    .await;
    let log = Log::new();
    let gate = Gate::before_upstream(&backend, &format!("idle_timeout = \"300ms\"\n{}", log.table()));
    let mut client = upgraded(&gate).await;
    client.send("hey").await;
    assert_eq!(client.ended().await, b"bye", "it is told that nothing more comes");
    // It stays, and says nothing.
    let line = log.only().await;
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&3.into(), &3.into()), "{line}");
    assert_eq!(line["end"], "timeout", "{line}");
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"busy\"} 0").await;
    eventually("the connection is over", || client.send_now(b"x").is_err()).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_keeps_no_tunnel() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send(AGREE).await;
        while peer.try_send(vec![b'x'; 64 * 1024]).await.is_ok() {}
    })
    .await;
    let log = Log::new();
    let gate = Gate::before_upstream(&backend, &format!("idle_timeout = \"300ms\"\n{}", log.table()));
    let mut client = Client::connect_narrow(gate.address()).await;
    client.send(ASK).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    let line = log.only().await;
    assert_eq!(line["end"], "timeout", "{line}");
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
}

#[tokio::test]
async fn a_tunnel_that_breaks_says_on_which_side() {
    let log = Log::new();
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send(AGREE).await;
        match peer.exactly(4).await.as_deref() {
            Some(b"stop") => peer.reset(),
            _ => drop(peer.ended().await),
        }
    })
    .await;
    let gate = Gate::before(&backend, &log.table());
    let mut client = upgraded(&gate).await;
    client.send("stop").await;
    client.ended().await;
    assert_eq!(log.lines(1).await[0]["end"], "upstream_reset");
    let mut client = upgraded(&gate).await;
    client.send("wait").await;
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 1").await;
    client.reset();
    assert_eq!(log.lines(2).await[1]["end"], "client_gone");
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_a_plain_request() {
    let backend = Backend::replying(|seen| match seen.head.has("upgrade") {
        true => "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno",
        false => OK,
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let refused = client.ask(ASK).await;
    assert_eq!((refused.status(), refused.text()), (400, "no".into()));
    assert_eq!(client.get("/next").await.text(), "ok", "the connection goes on");
    assert_eq!(client.ask(ASK).await.status(), 400);
}

#[tokio::test]
async fn nothing_that_follows_an_upgrade_passes_before_the_upstream_agrees() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send(format!("{ASK}GET /../smuggled HTTP/1.1\r\nHost: gate\r\n\r\n")).await;
    assert_eq!(client.answer().await.unwrap().status(), 200);
    assert_eq!(client.answer().await.unwrap().refusal(), (400, "bad_request".into()), "read here as a request");
    assert_eq!(backend.only().head.target(), "/ws");
}

#[tokio::test]
async fn the_body_of_an_upgrade_is_over_before_the_tunnel_begins() {
    let backend = Backend::start(echo).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let ask = ASK.replace("Host: gate", "Host: gate\r\nTransfer-Encoding: chunked");
    client.send(format!("{ask}5\r\nhello\r\n0\r\n\r\n")).await;
    assert_eq!(client.head().await.unwrap().status(), 101);
    assert_eq!(backend.only().content.bytes, b"hello");
    client.send("ping").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"ping");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_the_upstreams_error() {
    let backend = Backend::answering(AGREE).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for request in ["GET / HTTP/1.1\r\nHost: gate\r\n\r\n", &ASK.replace("websocket", "other")] {
        assert_eq!(client.ask(request).await.refusal(), (502, "upstream_protocol".into()), "{request}");
    }
    assert_eq!(backend.connections(), 2, "no connection is used again");
}

#[tokio::test]
async fn an_upgrade_that_is_none_never_reaches_the_upstream() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
    ] {
        let mut client = Client::connect(gate.address()).await;
        assert_eq!(client.ask(format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await.status(), 200);
        let head = backend.seen().pop().unwrap().head;
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert!(!head.has(gone), "{fields}: {head:?}");
        }
    }
    let mut old = Client::connect(gate.address()).await;
    let answer = old.ask(ASK.replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(answer.status(), 200);
    assert!(!backend.seen().pop().unwrap().head.has("upgrade"), "HTTP/1.0 cannot switch");
}
