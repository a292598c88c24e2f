//! Responses that break off: wherever the backend is killed, nobody takes a part for the whole, now or later.

use super::gate;
use crate::support::{Backend, Client, Gate, get};

const BODY: &str = "0123456789abcdef";

/// The same response in each framing that has an end of its own.
fn framings() -> [String; 2] {
    let chunks = format!("7\r\n{}\r\n9;x=y\r\n{}\r\n0\r\n\r\n", &BODY[..7], &BODY[7..]);
    [
        format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len()),
        format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"),
    ]
}

#[tokio::test]
async fn a_response_that_is_cut_at_any_byte_is_never_whole() {
    for (framing, whole) in framings().into_iter().enumerate() {
        let length = whole.len();
        // `/3f` is cut behind three bytes, cleanly; `/3r` likewise, by a reset; the second request gets it whole.
        let backend = Backend::start(move |mut peer| {
            let whole = whole.clone();
            async move {
                let Some(seen) = peer.request().await else { return };
                let (cut, way) = seen.head.target()[1..].split_at(seen.head.target().len() - 2);
                let cut: usize = cut.parse().unwrap();
                peer.send(&whole.as_bytes()[..cut]).await;
                if way == "r" {
                    peer.reset();
                }
            }
        })
        .await;
        let gate = gate_without_retries(&backend);
        for cut in 0..length {
            for way in ["f", "r"] {
                let target = format!("/{cut}{way}");
                for time in 0..2 {
                    let mut client = Client::connect(gate.address()).await;
                    client.send(format!("GET {target} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")).await;
                    let answer = client.answer().await;
                    let taken_for_whole = answer.as_ref().is_some_and(|answer| answer.status() == 200);
                    assert!(!taken_for_whole, "framing {framing}, {target}, time {time}: {answer:?}");
                }
            }
        }
        assert_eq!(get(gate.address(), &format!("/{length}f")).await.text(), BODY);
        assert_eq!(get(gate.address(), &format!("/{length}f")).await.text(), BODY);
        gate.counted("tollgate_cache_entries 1").await;
    }
}

fn gate_without_retries(backend: &Backend) -> Gate {
    let address = backend.address();
    Gate::start(&format!(
        "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\ncache = true\n\
         [upstreams.app]\naddresses = [\"{address}\"]\n\
         [upstreams.app.retry]\nattempts = 0\n[upstreams.app.eject]\nmax_share = 0\n"
    ))
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_not_kept() {
    let backend = Backend::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\nperhaps all").await;
        }
    })
    .await;
    let gate = gate(&backend, "true");
    for _ in 0..2 {
        assert_eq!(get(gate.address(), "/").await.text(), "perhaps all");
    }
    assert_eq!(backend.seen().len(), 2);
}

#[tokio::test]
async fn those_who_share_a_response_that_breaks_off_all_hear_of_it() {
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let inside = permits.clone();
    let backend = Backend::start(move |mut peer| {
        let permits = inside.clone();
        async move {
            if peer.request().await.is_some() {
                peer.send("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 10\r\n\r\nbegin").await;
                permits.acquire().await.unwrap().forget();
            }
        }
    })
    .await;
    let gate = gate(&backend, "true");
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(gate.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        client.head().await.unwrap();
        clients.push(client);
    }
    permits.add_permits(1);
    for mut client in clients {
        assert_eq!(client.ended().await, b"begin");
    }
    assert_eq!(backend.seen().len(), 1);
    gate.counted("tollgate_cache_entries 0").await;
}
