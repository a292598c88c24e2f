//! Bodies stream through in both directions, whole and unchanged, and nobody's slowness becomes the gateway's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::support::wire::within;
use crate::support::{Backend, Client, Gate, OK, ask, eventually};

const MIB: usize = 1024 * 1024;

/// Bytes in which every shift shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 65_521) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_mebibytes_pass_in_both_directions_unchanged() {
    let backend = Backend::start(async |mut peer| {
        while let Some(seen) = peer.request().await {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.content.bytes.len());
            peer.send(head).await;
            peer.send(&seen.content.bytes).await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "max_body = 0\n");
    let body = pattern(50 * MIB);
    let mut client = Client::connect(gate.address()).await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.send(&body).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.head.get("content-length"), Some("52428800"));
    assert!(answer.content.bytes == body, "changed on the way");
}

#[tokio::test]
async fn a_chunked_body_passes_chunked_in_both_directions() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let backend = Backend::answering(answer).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        let request =
            "POST / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n";
        let answer = client.ask(request).await;
        assert_eq!(answer.text(), "abcde");
        assert_eq!(answer.head.get("transfer-encoding"), Some("chunked"));
        assert!(!answer.head.has("content-length"));
    }
    let seen = backend.seen().pop().unwrap();
    assert_eq!(seen.content.bytes, b"hello");
    assert_eq!(seen.head.get("transfer-encoding"), Some("chunked"));
    assert!(!seen.head.has("content-length"));
}

#[tokio::test]
async fn a_body_of_unknown_length_passes_whatever_the_method() {
    let backend = Backend::replying(|seen| match seen.head.line.starts_with("HEAD ") {
        true => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        false => OK,
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "QUERY", "GET"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (chunks, whole) in [("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"), ("0\r\n\r\n", "")] {
            assert_eq!(client.ask(format!("{head}{chunks}")).await.status(), 200, "{method}");
            let seen = backend.seen().pop().unwrap();
            assert_eq!(String::from_utf8_lossy(&seen.content.bytes), whole, "{method}");
            assert_eq!(seen.head.all("transfer-encoding"), ["chunked"], "{method}");
            assert!(!seen.head.has("content-length"), "{method}");
        }
        assert_eq!(client.ask(format!("{method} /none HTTP/1.1\r\nHost: gate\r\n\r\n")).await.status(), 200);
        let none = backend.seen().pop().unwrap().head;
        assert!(!none.has("transfer-encoding") && !none.has("content-length"), "{none:?}");
    }
    assert_eq!(backend.connections(), 1, "every message ended where its successor began");
}

#[tokio::test]
async fn a_part_of_an_upload_arrives_before_the_next_is_sent() {
    let backend = Backend::start(async |mut peer| {
        peer.request_head().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        // The echo of each piece is what the client waits for before it sends the next.
        while let Some(piece) = peer.exactly(4).await {
            peer.send("4\r\n").await;
            peer.send(&piece).await;
            peer.send("\r\n").await;
            if piece == *b"last" {
                break;
            }
        }
        peer.send("0\r\n\r\n").await;
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 12\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status(), 200);
    for piece in ["one_", "two_", "last"] {
        client.send(piece).await;
        assert_eq!(client.exactly(9).await.unwrap(), format!("4\r\n{piece}\r\n").as_bytes());
    }
    assert_eq!(client.exactly(5).await.unwrap(), b"0\r\n\r\n");
}

/// Writes until nothing more is taken for a while, and returns how much that was.
async fn fill(mut write: impl FnMut(&[u8]) -> usize) -> usize {
    let (block, mut written, mut idle) = (vec![b'x'; 64 * 1024], 0, 0);
    // The stall itself is what is looked for, so there is nothing to be told by: it must hold for many looks in a row.
    eventually("the other side takes no more", || {
        let took = write(&block);
        written += took;
        idle = if took == 0 { idle + 1 } else { 0 };
        assert!(written < 64 * MIB, "{written} bytes were taken, and still no end");
        idle > 60
    })
    .await;
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_read_stops_the_client_not_the_gateway() {
    let read_on = Arc::new(Notify::new());
    let told = read_on.clone();
    let backend = Backend::start(move |mut peer| {
        let read_on = told.clone();
        async move {
            let head = peer.request_head().await.unwrap();
            read_on.notified().await;
            let content = peer.content(&head, false).await.unwrap();
            let length = content.bytes.len().to_string();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len())).await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "max_body = 0\n");
    let mut client = Client::connect(gate.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 67108864\r\n\r\n").await;
    let written = fill(|block| client.send_now(block).unwrap_or(0)).await;
    assert!(written < 48 * MIB, "{written} bytes went somewhere");
    read_on.notify_one();
    client.send(vec![b'x'; 64 * MIB - written]).await;
    assert_eq!(client.answer().await.unwrap().text(), "67108864");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stops_the_backend_not_the_gateway() {
    let sent = Arc::new(AtomicU64::new(0));
    let noted = sent.clone();
    let backend = Backend::start(move |mut peer| {
        let sent = noted.clone();
        async move {
            peer.request_head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n").await;
            for _ in 0..1024 {
                if peer.try_send(vec![b'x'; 64 * 1024]).await.is_err() {
                    return;
                }
                sent.fetch_add(64 * 1024, Ordering::SeqCst);
            }
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let head = client.head().await.unwrap();
    let mut last = 0;
    fill(|_| {
        let now = sent.load(Ordering::SeqCst);
        usize::try_from(now - std::mem::replace(&mut last, now)).unwrap()
    })
    .await;
    assert!(last < 48 * MIB as u64, "{last} bytes went somewhere");
    let content = client.content(&head, false).await.unwrap();
    assert_eq!(content.bytes.len(), 64 * MIB);
}

#[tokio::test]
async fn answers_without_a_body_are_just_that() {
    let backend = Backend::replying(|seen| match seen.head.target() {
        "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n".to_owned(),
        "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "/204" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n".to_owned(),
        "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        _ => OK.to_owned(),
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let head = client.ask("HEAD /head HTTP/1.1\r\nHost: gate\r\n\r\n").await.head;
    assert_eq!((head.status(), head.get("content-length")), (200, Some("12345")));
    let head = client.ask("HEAD /chunked HTTP/1.1\r\nHost: gate\r\n\r\n").await.head;
    assert_eq!((head.status(), head.get("content-length")), (200, None), "the length is not known to be nothing");
    let none = client.get("/204").await.head;
    assert_eq!(none.status(), 204);
    assert!(!none.has("content-length") && !none.has("transfer-encoding"));
    let unchanged = client.get("/304").await.head;
    assert_eq!((unchanged.status(), unchanged.get("etag")), (304, Some("\"x\"")));
    let empty = client.get("/empty").await;
    assert_eq!(empty.head.get("content-length"), Some("0"));
    assert_eq!(client.get("/").await.text(), "ok", "the connection is where it should be");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_passes() {
    let backend = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end").await;
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!(answer.text(), "until the end");
        assert!(answer.head.line.starts_with("HTTP/1.1 200"), "{:?}", answer.head);
    }
    assert_eq!(backend.connections(), 2);
    let old = ask(gate.address(), "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.text(), "until the end");
    assert!(!old.head.has("transfer-encoding"), "HTTP/1.0 does not know it");
}

#[tokio::test]
async fn an_answer_before_the_upload_is_over_gets_through() {
    let backend = Backend::start(async |mut peer| {
        while let Some(head) = peer.request_head().await {
            peer.send(OK).await;
            if head.has("content-length") {
                peer.ended().await;
                return;
            }
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 100000\r\n\r\nbeginning").await;
    let early = within("the early answer", client.answer()).await.unwrap();
    assert_eq!((early.status(), early.text()), (200, "ok".into()));
    client.send(vec![b'x'; 100_000 - 9]).await;
    assert_eq!(ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await.status(), 200);
    assert_eq!(backend.seen()[1].connection, 2, "the first connection is in the middle of an upload");
}

#[tokio::test]
async fn a_body_framed_twice_is_what_its_chunks_say() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let backend = Backend::answering(answer).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        if answer.status() != 502 {
            assert_eq!(answer.text(), "hello");
            assert!(!answer.head.has("content-length"), "{:?}", answer.head);
        }
    }
}
