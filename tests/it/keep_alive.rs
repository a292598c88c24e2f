//! Connections to an upstream are used again where that is safe, and only there.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::{Backend, Client, Gate, OK, eventually, get};

#[tokio::test]
async fn one_connection_carries_the_requests_of_many_clients() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    for _ in 0..5 {
        let mut client = Client::connect(gate.address()).await;
        assert_eq!(client.get("/").await.text(), "ok");
        let upload = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(client.ask(upload).await.text(), "ok");
    }
    assert_eq!((backend.connections(), backend.seen().len()), (1, 10));
}

#[tokio::test]
async fn a_connection_that_the_upstream_is_about_to_close_is_not_used_again() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\n",
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\n",
        "HTTP/1.0 200 OK\r\n",
    ] {
        let backend = Backend::answering(format!("{head}Content-Length: 2\r\n\r\nok")).await;
        let gate = Gate::before(&backend, "");
        let mut client = Client::connect(gate.address()).await;
        for _ in 0..3 {
            let answer = client.get("/").await;
            assert_eq!((answer.status(), answer.text()), (200, "ok".into()), "{head}");
            assert!(!answer.head.has("connection"), "the client's connection is another matter");
        }
        assert_eq!(backend.connections(), 3, "{head}");
    }
}

#[tokio::test]
async fn a_client_that_closes_leaves_the_upstreams_connection_open() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    for request in ["GET / HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\nHost: gate\r\n\r\n"]
    {
        let mut client = Client::connect(gate.address()).await;
        assert_eq!(client.ask(request).await.text(), "ok");
        assert!(client.ended().await.is_empty());
    }
    assert_eq!(backend.connections(), 1);
    assert!(!backend.seen()[0].head.has("connection"));
    let mut old = Client::connect(gate.address()).await;
    let kept = "GET / HTTP/1.0\r\nHost: gate\r\nConnection: keep-alive\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(old.ask(kept).await.text(), "ok");
    }
}

#[tokio::test]
async fn what_an_upstream_sends_unasked_is_nobodys_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let backend = Backend::answering(answer).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for number in 0..5 {
        assert_eq!(client.get("/").await.text(), "ok");
        assert_eq!(backend.connections(), number + 1);
    }
    let bodiless = "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil";
    let backend = Backend::answering(bodiless).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..5 {
        let head = client.get("/").await.head;
        assert_eq!(head.status(), 204);
        assert!(!head.has("content-length"), "{head:?}");
    }
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_costs_nobody_a_request() {
    let close = Arc::new(Notify::new());
    let told = close.clone();
    let backend = Backend::start(move |mut peer| {
        let close = told.clone();
        async move {
            peer.request().await;
            peer.send(OK).await;
            close.notified().await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for number in 0..5 {
        let request = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(client.ask(request).await.status(), 200);
        close.notify_one();
        assert_eq!(backend.connections(), number + 1);
        gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"idle\"} 0").await;
    }
}

/// Answers the first request of each connection, and takes the second one without a word.
async fn mute_on_second_use() -> Backend {
    Backend::start(async |mut peer| {
        peer.request().await;
        peer.send(OK).await;
        peer.request().await;
    })
    .await
}

#[tokio::test]
async fn a_get_that_met_a_closing_connection_is_sent_again() {
    let backend = mute_on_second_use().await;
    let gate = Gate::before_upstream(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(backend.connections(), 4);
    gate.counted("tollgate_upstream_retries_total{upstream=\"app\",reason=\"stale\"} 3").await;
}

#[tokio::test]
async fn a_put_that_met_a_closing_connection_is_sent_again_with_its_body() {
    let backend = mute_on_second_use().await;
    let gate = Gate::before_upstream(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let request = "PUT / HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..2 {
        assert_eq!(client.ask(request).await.status(), 200);
    }
    let seen = backend.seen();
    assert!(seen.len() == 3 && seen.iter().all(|seen| seen.content.bytes == b"abc"), "{seen:?}");
}

#[tokio::test]
async fn a_post_that_may_have_been_seen_is_not_sent_again() {
    let backend = mute_on_second_use().await;
    let gate = Gate::before_upstream(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let request = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 200);
    assert_eq!(client.ask(request).await.refusal(), (502, "upstream_reset".into()));
    assert_eq!(client.ask(request).await.status(), 200);
    assert_eq!(backend.seen().len(), 3, "each was sent once");
}

#[tokio::test]
async fn idle_connections_are_given_up_after_their_time() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before_upstream(&backend, "keep_alive = \"100ms\"\n");
    assert_eq!(get(gate.address(), "/").await.status(), 200);
    gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"idle\"} 0").await;
    assert_eq!(get(gate.address(), "/").await.status(), 200);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn no_more_connections_are_kept_than_allowed() {
    let together = Arc::new(tokio::sync::Barrier::new(4));
    let meeting = together.clone();
    let backend = Backend::start(move |mut peer| {
        let meeting = meeting.clone();
        async move {
            while peer.request().await.is_some() {
                meeting.wait().await;
                peer.send(OK).await;
            }
        }
    })
    .await;
    let gate = Gate::before_upstream(&backend, "max_idle = 1\n[server]\nworkers = 1\n");
    let address = gate.address();
    let asking: Vec<_> = (0..4).map(|_| tokio::spawn(async move { get(address, "/").await.status() })).collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 200);
    }
    gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"idle\"} 1").await;
}

#[tokio::test]
async fn events_arrive_one_by_one_however_slowly_they_come() {
    let go_on = Arc::new(Notify::new());
    let told = go_on.clone();
    let backend = Backend::start(move |mut peer| {
        let go_on = told.clone();
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n").await;
            for number in 0..3 {
                peer.send(format!("data: {number}\n\n")).await;
                go_on.notified().await;
            }
        }
    })
    .await;
    let gate = Gate::before_upstream(&backend, "idle_timeout = \"50ms\"\n");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    for number in 0..3 {
        let expected = format!("9\r\ndata: {number}\n\n\r\n");
        assert_eq!(client.exactly(expected.len()).await.unwrap(), expected.as_bytes());
        let began = std::time::Instant::now();
        eventually("several idle times have passed", || began.elapsed().as_millis() > 150).await;
        go_on.notify_one();
    }
    assert_eq!(client.exactly(5).await.unwrap(), b"0\r\n\r\n");
}
