//! An idle connection's codec is put away after a while. Nobody must be able to tell.

use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, OK, eventually};

/// Longer than a connection is idle before it rests.
const A_WHILE: Duration = Duration::from_millis(400);

async fn a_while_passes() {
    let began = Instant::now();
    eventually("time passes", || began.elapsed() > A_WHILE).await;
}

#[tokio::test]
async fn a_connection_that_has_rested_serves_on() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for round in 0..3 {
        assert_eq!(client.get("/").await.text(), "ok", "{round}");
        a_while_passes().await;
        let upload = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(client.ask(upload).await.text(), "ok", "{round}");
        a_while_passes().await;
    }
    assert_eq!(backend.seen().len(), 6);
}

#[tokio::test]
async fn the_beginning_of_a_request_survives_a_rest() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    // One packet: what follows the first request has been read when the connection goes to rest.
    client.send("GET /one HTTP/1.1\r\nHost: gate\r\n\r\nGET /two HT").await;
    assert_eq!(client.answer().await.unwrap().text(), "ok");
    a_while_passes().await;
    client.send("TP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().text(), "ok");
    let targets: Vec<_> = backend.seen().iter().map(|seen| seen.head.target().to_owned()).collect();
    assert_eq!(targets, ["/one", "/two"]);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_connection_rests_is_let_go() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    assert_eq!(client.get("/").await.text(), "ok");
    a_while_passes().await;
    client.finish().await;
    assert!(client.ended().await.is_empty());
}

#[tokio::test]
async fn the_preface_of_http2_may_come_in_pieces() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for piece in ["PRI * HT", "TP/2.0\r\n\r\nS", "M\r\n\r\n"] {
        client.send(piece).await;
        a_while_passes().await;
    }
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    // The server's preface is a frame of settings (RFC 9113 §3.4): three bytes of length, then the type.
    let settings = client.exactly(9).await.unwrap();
    assert_eq!(settings[3], 4, "{settings:?}");
}

#[tokio::test]
async fn what_only_begins_like_the_preface_is_a_request() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("PR").await;
    a_while_passes().await;
    assert_eq!(client.ask("OPFIND / HTTP/1.1\r\nHost: gate\r\n\r\n").await.text(), "ok");
    assert_eq!(backend.only().head.line, "PROPFIND / HTTP/1.1");
}
