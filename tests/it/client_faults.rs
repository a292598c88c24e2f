//! A client that breaks its own request harms nobody else, and the upstream is not blamed for it.

use crate::support::{Backend, Client, Gate, eventually};

/// A backend that waits for the whole of each request before it answers.
async fn patient() -> Backend {
    Backend::start(async |mut peer| {
        while peer.request_head().await.is_some() {
            peer.ended().await;
        }
    })
    .await
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[tokio::test]
async fn a_badly_framed_body_is_the_clients_error() {
    for broken in ["zz\r\n", "-1\r\n", "5\r\nhelloXX", "ffffffffffffffffff\r\n", "\r\n"] {
        let backend = patient().await;
        let gate = Gate::before(&backend, "");
        let mut client = Client::connect(gate.address()).await;
        client.send(CHUNKED).await;
        eventually("the upload has begun", || backend.seen().len() == 1).await;
        client.send(broken).await;
        if let Some(answer) = client.answer().await {
            assert_eq!(answer.refusal(), (400, "bad_request".into()), "{broken:?}");
        }
        assert!(client.ended().await.is_empty(), "nothing can follow");
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"canceled\"} 1").await;
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"reset\"} 0").await;
    }
}

#[tokio::test]
async fn a_client_that_closes_in_its_body_is_not_the_upstreams_failure() {
    for (request, reset) in [
        (CHUNKED, false),
        (CHUNKED, true),
        ("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhalf", false),
        ("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhalf", true),
    ] {
        let backend = patient().await;
        let gate = Gate::before(&backend, "");
        let mut client = Client::connect(gate.address()).await;
        client.send(request).await;
        eventually("the upload has begun", || backend.seen().len() == 1).await;
        match reset {
            true => client.reset(),
            false => drop(client),
        }
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"canceled\"} 1").await;
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"reset\"} 0").await;
        gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    }
}

#[tokio::test]
async fn the_upstream_does_not_take_a_broken_upload_for_a_whole_one() {
    let backend = Backend::start(async |mut peer| {
        let head = peer.request_head().await.unwrap();
        assert!(peer.content(&head, false).await.is_none(), "the upload had no end");
        peer.request_head().await;
    })
    .await;
    let gate = Gate::before(&backend, "");
    for end in ["", "0\r\nbad trailer\r\n\r\n"] {
        let mut client = Client::connect(gate.address()).await;
        client.send(format!("{CHUNKED}{end}")).await;
        client.finish().await;
        client.ended().await;
    }
    gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"idle\"} 0").await;
}
