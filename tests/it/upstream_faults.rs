//! What an upstream does wrong is told apart, and never passed on as if it were right.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::support::{Backend, Client, Gate, OK, ask, eventually, get};

/// An address that refuses connections.
async fn refusing() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn an_upstream_that_closes_before_it_has_answered_is_a_reset() {
    for (sent, reset) in [("", false), ("", true), ("HTTP/1.1 200 OK\r\nContent-", false), ("HTTP/1.1 2", true)] {
        let backend = Backend::start(move |mut peer| async move {
            peer.request().await;
            peer.send(sent).await;
            if reset {
                peer.reset();
            }
        })
        .await;
        let gate = Gate::before_upstream(&backend, "");
        let refusal = get(gate.address(), "/").await.refusal();
        assert_eq!(refusal, (502, "upstream_reset".into()), "{sent:?} {reset}");
        assert_eq!(backend.seen().len(), 1, "a new connection is not stale");
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"reset\"} 1").await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_protocol_error() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 twohundred OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx",
        "\0\0\0\0",
    ] {
        let backend = Backend::start(move |mut peer| async move {
            peer.request().await;
            peer.send(garbage).await;
            peer.ended().await;
        })
        .await;
        let gate = Gate::before_upstream(&backend, "response_timeout = \"5s\"\n");
        let answer = get(gate.address(), "/").await;
        assert_eq!(answer.refusal(), (502, "upstream_protocol".into()), "{garbage:?}");
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"protocol\"} 1").await;
    }
}

#[tokio::test]
async fn half_a_body_is_not_passed_as_a_whole_one() {
    for (answer, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nhalf", true),
    ] {
        let seen = Arc::new(Notify::new());
        let told = seen.clone();
        let backend = Backend::start(move |mut peer| {
            let seen = told.clone();
            async move {
                peer.request().await;
                peer.send(answer).await;
                seen.notified().await;
                if reset {
                    peer.reset();
                }
            }
        })
        .await;
        let gate = Gate::before(&backend, "");
        let mut client = Client::connect(gate.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        let head = client.head().await.unwrap();
        seen.notify_one();
        assert!(
            client.content(&head, false).await.is_none_or(|content| content.bytes.is_empty()
                && !head.has("content-length")
                && !head.has("transfer-encoding")),
            "{answer:?} {reset}"
        );
        client.ended().await;
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_is_tried_elsewhere_whatever_the_method() {
    let backend = Backend::answering(OK).await;
    let dead = refusing().await;
    let alive = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{dead}\", \"{alive}\"]\n"
    ));
    let mut client = Client::connect(gate.address()).await;
    for number in 0..6 {
        let request = format!("POST /{number} HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.ask(request).await.text(), "ok");
    }
    let seen = backend.seen();
    assert_eq!(seen.len(), 6, "each arrived once");
    assert!(seen.iter().all(|seen| seen.content.bytes == b"body"));
}

#[tokio::test]
async fn nothing_but_dead_addresses_is_unreachable() {
    let (one, two) = (refusing().await, refusing().await);
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{one}\", \"{two}\"]\n"
    ));
    let mut client = Client::connect(gate.address()).await;
    let request = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nbody";
    let refused = client.ask(request).await;
    assert_eq!(refused.refusal(), (502, "upstream_connect".into()));
    assert!(!refused.text().contains("127.0.0.1"), "what is behind is nobody's business: {}", refused.text());
    assert_eq!(client.ask(request).await.status(), 502, "the connection goes on");
}

#[tokio::test]
async fn an_address_that_swallows_connections_is_given_up_in_time() {
    // A listener whose queue is full takes no further connection, and says nothing.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let silent = full.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    for _ in 0..8 {
        let connecting = tokio::net::TcpStream::connect(silent);
        if let Ok(stream) = tokio::time::timeout(std::time::Duration::from_millis(200), connecting).await {
            queued.push(stream);
        } else {
            break;
        }
    }
    let backend = Backend::answering(OK).await;
    let alive = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{silent}\", \"{alive}\"]\n\
         connect_timeout = \"100ms\"\n"
    ));
    for _ in 0..2 {
        let request = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(ask(gate.address(), request).await.text(), "ok");
    }
    gate.counted("tollgate_upstream_retries_total{upstream=\"app\",reason=\"connect\"} 1").await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        assert!(peer.ended().await.is_empty());
        peer.send("never read").await;
    })
    .await;
    let gate = Gate::before_upstream(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    eventually("the request has arrived", || backend.seen().len() == 1).await;
    drop(client);
    gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"canceled\"} 1").await;
    gate.counted("tollgate_requests_total{route=\"app\",method=\"GET\",status=\"none\"} 1").await;
    gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"idle\"} 0").await;
}
