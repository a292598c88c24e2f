//! Clients that speak HTTP/2 from their first byte.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::Barrier;

use crate::support::client::text;
use crate::support::{Backend, Client2, Gate, OK};

type Plain = Client2<Full<Bytes>>;

fn request(builder: http::request::Builder, body: &[u8]) -> Request<Full<Bytes>> {
    builder.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

#[tokio::test]
async fn a_request_looks_to_the_upstream_like_any_other() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Plain::connect(gate.address()).await;
    let put = Request::put("http://Gate.test:80/a/./b?q=%41").header("x-a", "1").header("x-a", "2");
    let response = client.send(request(put, b"body")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(text(response).await, "ok");
    let seen = backend.only();
    assert_eq!(seen.head.line, "PUT /a/b?q=%41 HTTP/1.1");
    assert_eq!(seen.head.get("host"), Some("gate.test:80"));
    assert_eq!(seen.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.head.all("x-a"), ["1", "2"]);
    assert_eq!(seen.content.bytes, b"body");
}

#[tokio::test]
async fn cookies_that_came_in_pieces_reach_the_upstream_as_one_field() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Plain::connect(gate.address()).await;
    let get = Request::get("http://gate/").header("cookie", "a=1").header("cookie", "b=2; c=3").header("cookie", "d=4");
    assert_eq!(client.send(request(get, b"")).await.unwrap().status(), 200);
    assert_eq!(backend.only().head.all("cookie"), ["a=1; b=2; c=3; d=4"]);
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let together = Arc::new(Barrier::new(50));
    let meeting = together.clone();
    let backend = Backend::start(move |mut peer| {
        let meeting = meeting.clone();
        async move {
            while let Some(seen) = peer.request().await {
                // Nobody is answered before everybody has asked.
                meeting.wait().await;
                let body = seen.head.target().to_owned();
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
            }
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let client = Plain::connect(gate.address()).await;
    let asking: Vec<_> = (0..50)
        .map(|number| {
            let mut client = client.clone();
            tokio::spawn(async move { client.get(&format!("/{number}")).await })
        })
        .collect();
    for (number, asked) in asking.into_iter().enumerate() {
        assert_eq!(asked.await.unwrap(), (200, format!("/{number}")));
    }
}

#[tokio::test]
async fn the_requests_of_one_connection_are_spread_evenly_over_the_backends() {
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(Backend::answering(OK).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address().to_string()).collect();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = {addresses:?}\n"
    ));
    let client = Plain::connect(gate.address()).await;
    for requests in [30, 31, 50] {
        let before: Vec<_> = backends.iter().map(|backend| backend.seen().len()).collect();
        let asking: Vec<_> = (0..requests)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { client.get("/").await.0 })
            })
            .collect();
        for asked in asking {
            assert_eq!(asked.await.unwrap(), 200);
        }
        let counts: Vec<_> =
            backends.iter().zip(before).map(|(backend, before)| backend.seen().len() - before).collect();
        assert_eq!(counts.iter().sum::<usize>(), requests);
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_on_several_streams_at_once() {
    let backend = Backend::start(async |mut peer| {
        while let Some(seen) = peer.request().await {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.content.bytes.len())).await;
            peer.send(&seen.content.bytes).await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let client = Plain::connect(gate.address()).await;
    let asking: Vec<_> = (0..8u8)
        .map(|number| {
            let mut client = client.clone();
            let body = vec![b'a' + number; 2 * 1024 * 1024];
            tokio::spawn(async move {
                let response = client.send(request(Request::post("http://gate/"), &body)).await.unwrap();
                text(response).await.into_bytes() == body
            })
        })
        .collect();
    for asked in asking {
        assert!(asked.await.unwrap());
    }
}

#[tokio::test]
async fn a_host_that_contradicts_the_authority_is_refused() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Plain::connect(gate.address()).await;
    for (host, status) in [("other.test", 400), ("gate.test:81", 400), ("GATE.test.", 200), ("gate.test", 200)] {
        let get = Request::get("http://gate.test/").header("host", host);
        assert_eq!(client.send(request(get, b"")).await.unwrap().status(), status, "{host}");
    }
    assert!(backend.seen().iter().all(|seen| seen.head.get("host") == Some("gate.test")));
}

#[tokio::test]
async fn refusals_cost_their_stream_alone() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "max_body = \"1KiB\"\nmethods = [\"GET\", \"POST\"]\n");
    let mut client = Plain::connect(gate.address()).await;
    for _ in 0..3 {
        let large = request(Request::post("http://gate/"), &[0; 2000]);
        let refused = client.send(large).await.unwrap();
        assert_eq!(refused.status(), 413);
        assert_eq!(refused.headers()["content-type"], "application/problem+json");
        assert!(text(refused).await.contains("body_too_large"));
        assert_eq!(client.get("/../x").await.0, 400);
        assert_eq!(client.send(request(Request::delete("http://gate/"), b"")).await.unwrap().status(), 405);
        assert_eq!(client.get("/").await, (200, "ok".into()));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_at_the_upstream_breaks_for_the_client_alone() {
    let backend = Backend::start(async |mut peer| {
        while let Some(seen) = peer.request().await {
            if seen.head.target() == "/half" {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
                return;
            }
            peer.send(OK).await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Plain::connect(gate.address()).await;
    for _ in 0..3 {
        let half = client.send(request(Request::get("http://gate/half"), b"")).await;
        let broken = match half {
            Ok(response) => http_body_util::BodyExt::collect(response.into_body()).await.is_err(),
            Err(_) => true,
        };
        assert!(broken, "half a body is no body");
        assert_eq!(client.get("/").await, (200, "ok".into()));
    }
}
