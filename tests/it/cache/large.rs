//! Large bodies from the store, which go out from where they lie: whole and in order, whatever the pace of who reads them.

use super::{gate, replying, response, status};
use crate::support::{Backend, Client, Gate, get};

/// Sizes on either side of where bodies stop being copied, and some that no socket takes at once.
const SIZES: [usize; 8] = [2, 1_000, 7_000, 9_000, 65_536, 30, 524_288, 1_000_000];

/// A body in which no piece can be taken for another.
fn content(size: usize) -> String {
    (0..).flat_map(|number: u32| format!("{number:x},").into_bytes()).take(size).map(char::from).collect()
}

/// A backend that answers `/N` with so many bytes, and a gateway that has fetched all of them.
async fn warm(cache: &str) -> (Backend, Gate) {
    let backend = replying(|seen, _| {
        let size = seen.head.target()[1..].parse().unwrap();
        response("cache-control: max-age=60\r\n", &content(size))
    });
    let backend = backend.await;
    let gate = gate(&backend, cache);
    for size in SIZES {
        assert_eq!(get(gate.address(), &format!("/{size}")).await.text(), content(size));
    }
    (backend, gate)
}

fn request(size: usize) -> String {
    format!("GET /{size} HTTP/1.1\r\nHost: gate\r\n\r\n")
}

#[tokio::test]
async fn answers_of_every_size_come_whole_and_in_order_to_one_who_asks_for_all_at_once() {
    let (_backend, gate) = warm("true").await;
    let asked: Vec<_> = (0..48).map(|number| SIZES[number * 5 % SIZES.len()]).collect();
    for mut client in [Client::connect(gate.address()).await, Client::connect_narrow(gate.address()).await] {
        client.send(asked.iter().map(|&size| request(size)).collect::<String>()).await;
        for &size in &asked {
            let answer = client.answer().await.unwrap();
            assert_eq!(status(&answer), "tollgate; hit", "{size}");
            assert!(answer.text() == content(size), "{size} bytes");
        }
    }
}

#[tokio::test]
async fn forwarded_ones_do_too() {
    let (backend, gate) = warm("false").await;
    let asked: Vec<_> = (0..24).map(|number| SIZES[number * 5 % SIZES.len()]).collect();
    let mut client = Client::connect_narrow(gate.address()).await;
    client.send(asked.iter().map(|&size| request(size)).collect::<String>()).await;
    for &size in &asked {
        assert!(client.answer().await.unwrap().text() == content(size), "{size} bytes");
    }
    assert_eq!(backend.seen().len(), SIZES.len() + asked.len());
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_leaves_nothing_behind_and_others_get_the_same_body() {
    let (_backend, gate) = warm("true").await;
    let mut leaving = Vec::new();
    for _ in 0..8 {
        // More than any buffer between the two takes.
        let mut client = Client::connect_narrow(gate.address()).await;
        client.send(request(1_000_000).repeat(16)).await;
        client.head().await.unwrap();
        leaving.push(client);
    }
    let mut patient = Client::connect(gate.address()).await;
    for (number, client) in leaving.into_iter().enumerate() {
        match number % 2 {
            0 => client.reset(),
            _ => drop(client),
        }
        assert!(patient.get("/1000000").await.text() == content(1_000_000));
    }
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    assert_eq!(status(&patient.get("/65536").await), "tollgate; hit");
}
