//! Nobody waits for ever: neither the gateway for a client or an upstream, nor a client for the gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::support::{Backend, Client, Gate, OK, ask, eventually};

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\n";

/// A backend that reads requests and never answers.
async fn mute() -> Backend {
    Backend::start(async |mut peer| {
        peer.request().await;
        peer.ended().await;
    })
    .await
}

/// Lets time pass where it is time itself that must make no difference.
async fn let_pass(time: Duration) {
    let began = Instant::now();
    eventually("time passes", || began.elapsed() > time).await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_cut_off() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nheader_read_timeout = \"200ms\"\n");
    for sent in ["", "GET / HTT", "GET / HTTP/1.1\r\nHost: gate\r\n"] {
        let mut client = Client::connect(gate.address()).await;
        client.send(sent).await;
        client.ended().await;
    }
    let mut client = Client::connect(gate.address()).await;
    assert_eq!(client.get("/").await.text(), "ok");
    client.send("GET /slow HTTP/1.1\r\nHo").await;
    let began = Instant::now();
    client.ended().await;
    assert!(began.elapsed() < Duration::from_secs(10), "not the time of an idle connection");
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_sends_its_head_byte_by_byte_gains_no_time() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nheader_read_timeout = \"300ms\"\n");
    let mut client = Client::connect(gate.address()).await;
    let began = Instant::now();
    while client.try_send("x").await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "still allowed to trickle");
        tokio::task::yield_now().await;
        if began.elapsed() > Duration::from_millis(600) {
            client.ended().await;
            break;
        }
        let_pass(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_silence() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nkeep_alive_timeout = \"200ms\"\nheader_read_timeout = \"60s\"\n");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert!(client.ended().await.is_empty());
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_told_and_the_upstream_not_blamed() {
    let backend = mute().await;
    let gate = Gate::before(&backend, "[server]\nbody_idle_timeout = \"200ms\"\n");
    for body in ["", "half"] {
        let mut client = Client::connect(gate.address()).await;
        let refused = client.ask(format!("{UPLOAD}{body}")).await;
        assert_eq!(refused.refusal(), (408, "body_timeout".into()));
        client.ended().await;
    }
    gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"canceled\"} 2").await;
}

#[tokio::test]
async fn a_client_that_sends_its_body_too_slowly_is_told() {
    let backend = mute().await;
    let gate = Gate::before(&backend, "[server]\nmin_body_rate = \"1MiB/s\"\nbody_idle_timeout = \"60s\"\n");
    let refused = ask(gate.address(), format!("{UPLOAD}half")).await;
    assert_eq!(refused.refusal(), (408, "body_timeout".into()));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while peer.try_send(vec![b'x'; 64 * 1024]).await.is_ok() {}
    })
    .await;
    let gate = Gate::before(&backend, "[server]\nbody_idle_timeout = \"200ms\"\n");
    let mut client = Client::connect_narrow(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_given_up() {
    let backend = mute().await;
    let gate = Gate::before_upstream(&backend, "response_timeout = \"100ms\"\n");
    let mut client = Client::connect(gate.address()).await;
    for request in ["GET / HTTP/1.1\r\nHost: gate\r\n\r\n", &format!("{UPLOAD}0123456789")] {
        assert_eq!(client.ask(request).await.refusal(), (504, "upstream_timeout".into()));
    }
    gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"timeout\"} 2").await;
    assert_eq!(backend.connections(), 2, "a connection that owes an answer is not used again");
}

#[tokio::test]
async fn an_upstream_that_stops_in_its_head_is_given_up() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nX: ").await;
        peer.ended().await;
    })
    .await;
    let gate = Gate::before_upstream(&backend, "response_timeout = \"100ms\"\n");
    let refused = ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(refused.refusal(), (504, "upstream_timeout".into()));
}

#[tokio::test]
async fn a_routes_budget_of_time_is_kept() {
    let backend = mute().await;
    let gate = Gate::before(&backend, "timeout = \"100ms\"\n");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.refusal(), (504, "deadline_exceeded".into()));
    }
}

#[tokio::test]
async fn no_time_is_charged_while_the_client_is_still_uploading() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\ntimeout = \"150ms\"\n\
         [upstreams.app]\naddresses = [\"{}\"]\nresponse_timeout = \"150ms\"\n",
        backend.address()
    ));
    let mut client = Client::connect(gate.address()).await;
    client.send(UPLOAD).await;
    for half in ["01234", "56789"] {
        let_pass(Duration::from_millis(500)).await;
        client.send(half).await;
    }
    assert_eq!(client.answer().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_budget_of_time_does_not_end_a_body() {
    let go_on = Arc::new(Notify::new());
    let told = go_on.clone();
    let backend = Backend::start(move |mut peer| {
        let go_on = told.clone();
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha").await;
            go_on.notified().await;
            peer.send("lf").await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "timeout = \"200ms\"\n");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let head = client.head().await.unwrap();
    let_pass(Duration::from_millis(500)).await;
    go_on.notify_one();
    assert_eq!(client.content(&head, false).await.unwrap().bytes, b"half");
}

#[tokio::test]
async fn an_upstream_that_stops_in_its_body_breaks_the_answer_off() {
    for framing in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let backend = Backend::start(move |mut peer| async move {
            peer.request().await;
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
            assert!(peer.ended().await.is_empty());
        })
        .await;
        let gate = Gate::before_upstream(&backend, "idle_timeout = \"150ms\"\n");
        let mut client = Client::connect(gate.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert!(client.content(&head, false).await.is_none(), "{framing}");
        gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    }
}
