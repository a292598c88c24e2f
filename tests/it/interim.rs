//! What comes before the final answer: `100 Continue` from the gateway, at the right time, and `103 Early Hints` from the
//! upstream, for those who understand them.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::Notify;

use crate::support::{Backend, Client, Client2, Gate, OK};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_it_and_sends_its_body() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status(), 100);
        let answer = client.ask("body").await;
        assert_eq!((answer.status(), answer.text()), (200, "ok".into()));
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.content.bytes, b"body");
        assert!(!seen.head.has("expect"));
    }
}

#[tokio::test]
async fn a_request_that_is_refused_is_refused_without_a_100_before() {
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/small\"\nupstream = \"http://{address}\"\nmax_body = \"1KiB\"\nmethods = [\"POST\"]\n"
    ));
    for (line, status) in [("POST /small", 413), ("PUT /small", 405), ("POST /nowhere", 404), ("POST /../x", 400)] {
        let mut client = Client::connect(gate.address()).await;
        let request = format!("{line} HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n");
        assert_eq!(client.ask(request).await.status(), status, "{line}");
    }
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn a_request_that_cannot_be_forwarded_is_refused_without_a_100_before() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gate = Gate::start(&format!("[[routes]]\nprefix = \"/\"\nupstream = \"http://{unused}\"\n"));
    let mut client = Client::connect(gate.address()).await;
    let request = "POST / HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n";
    assert_eq!(client.ask(request).await.refusal(), (502, "upstream_connect".into()));
}

#[tokio::test]
async fn the_upstreams_own_100_is_not_the_clients() {
    let backend = Backend::answering(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let request = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(client.ask(request).await.status(), 200);
    assert_eq!(client.ask(request).await.status(), 200);
}

#[tokio::test]
async fn early_hints_arrive_before_the_answer_is_there() {
    let go_on = Arc::new(Notify::new());
    let told = go_on.clone();
    let backend = Backend::start(move |mut peer| {
        let go_on = told.clone();
        async move {
            while peer.request().await.is_some() {
                for _ in 0..2 {
                    peer.send(HINT).await;
                    go_on.notified().await;
                }
                peer.send(OK).await;
            }
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        for _ in 0..2 {
            let hint = client.head().await.unwrap();
            assert_eq!((hint.status(), hint.get("link")), (103, Some("</a.css>; rel=preload")));
            assert!(!hint.has("connection") && !hint.has("x-hop"), "{hint:?}");
            go_on.notify_one();
        }
        assert_eq!(client.answer().await.unwrap().text(), "ok");
    }
}

#[tokio::test]
async fn early_hints_in_one_segment_with_the_answer_come_before_it() {
    let backend = Backend::answering(format!("{HINT}{HINT}{OK}")).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status(), 103);
        assert_eq!(client.head().await.unwrap().status(), 103);
        assert_eq!(client.answer().await.unwrap().text(), "ok");
    }
}

#[tokio::test]
async fn pipelined_requests_get_their_hints_and_answers_in_order() {
    let backend = Backend::answering(format!("{HINT}{OK}")).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET /1 HTTP/1.1\r\nHost: gate\r\n\r\n".repeat(3)).await;
    let mut statuses = Vec::new();
    while statuses.iter().filter(|status| **status == 200).count() < 3 {
        statuses.push(client.answer().await.unwrap().status());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3);
    assert!(statuses.iter().all(|status| [103, 200].contains(status)), "{statuses:?}");
}

#[tokio::test]
async fn early_hints_are_kept_from_clients_that_could_take_them_for_the_answer() {
    let backend = Backend::answering(format!("{HINT}{OK}")).await;
    let gate = Gate::before(&backend, "");
    let mut old = Client::connect(gate.address()).await;
    assert_eq!(old.ask("GET / HTTP/1.0\r\nHost: gate\r\n\r\n").await.text(), "ok");
    let mut client = Client2::<Full<Bytes>>::connect(gate.address()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await, (200, "ok".into()));
    }
    let request = Request::get("http://gate/").body(Full::default()).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 200);
}
