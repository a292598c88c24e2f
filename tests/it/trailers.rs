//! Trailer fields pass in both directions, whichever protocol the client speaks.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::wire::within;
use crate::support::{Backend, Client, Client2, Gate, OK};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n\
                      2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n";
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\nTrailer: checksum\r\n\
                      TE: trailers\r\n\r\n2\r\nhi\r\n0\r\nchecksum: 42\r\n\r\n";

#[tokio::test]
async fn trailers_pass_both_ways_to_a_client_that_takes_them() {
    let backend = Backend::answering(ANSWER).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for upload in [UPLOAD, &UPLOAD.replace("POST", "GET")] {
        let answer = client.ask(upload).await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.content.trailers.get("grpc-status"), Some("0"));
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.content.bytes, b"hi");
        assert_eq!(seen.content.trailers.get("checksum"), Some("42"));
    }
}

#[tokio::test]
async fn trailers_cannot_say_what_only_a_head_may() {
    const FORGED: &str = "x-forwarded-for: 9.9.9.9\r\nX_Real_IP: 9.9.9.9\r\nx-request-id: forged\r\nvia: 1.1 x\r\n\
                          authorization: Bearer forged\r\nproxy-authorization: x\r\nhost: evil\r\nconnection: x\r\n";
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let names = "Trailer: checksum, x-forwarded-for, x_real_ip, x-request-id, via, authorization, proxy-authorization, \
                 host, connection\r\n";
    let upload = UPLOAD
        .replace("Trailer: checksum\r\n", names)
        .replace("checksum: 42\r\n", &format!("{FORGED}checksum: 42\r\n"));
    let mut client = Client::connect(gate.address()).await;
    assert_eq!(client.ask(upload).await.status(), 200);
    let trailers = backend.only().content.trailers;
    assert_eq!(trailers.names(), ["checksum"]);
}

#[tokio::test]
async fn a_connection_is_used_again_after_an_upload_with_trailers() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..3 {
        assert_eq!(client.ask(UPLOAD).await.text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn trailers_are_kept_from_a_client_that_does_not_take_them() {
    let backend = Backend::answering(ANSWER).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!(answer.text(), "ok");
        assert!(!answer.content.trailers.has("grpc-status"));
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_over_http2() {
    let backend = Backend::answering(ANSWER.replace("Trailer: grpc-status\r\n", "")).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client2::connect(gate.address()).await;
    for method in [Method::POST, Method::GET] {
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "42".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"hi")), Frame::trailers(trailers)];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, std::convert::Infallible>)));
        let request = Request::builder().method(method).uri("http://gate/");
        let request = request.header("te", "trailers").header("trailer", "checksum");
        let response = client.send(request.body(body).unwrap()).await.unwrap();
        let collected = within("the answer", response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap().get("grpc-status").unwrap(), "0");
        assert_eq!(collected.to_bytes(), "ok");
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.head.get("te"), Some("trailers"));
        assert_eq!(seen.head.get("transfer-encoding"), Some("chunked"));
        assert_eq!(seen.content.bytes, b"hi");
        assert_eq!(seen.content.trailers.get("checksum"), Some("42"));
    }
}
