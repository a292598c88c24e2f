//! Many requests for the same at the same time: one goes, and nobody is worse off for having waited.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{gate, response, status};
use crate::support::client::Answer;
use crate::support::{Backend, Client, Gate, eventually, get};

const CLIENTS: usize = 1000;

/// A backend that answers the requests of all connections only as permits come, with this `Cache-Control` and with what
/// the request says in `X-Number`.
async fn held(control: &'static str, permits: &Arc<Semaphore>) -> Backend {
    let permits = permits.clone();
    Backend::start(move |mut peer| {
        let permits = permits.clone();
        async move {
            while let Some(seen) = peer.request().await {
                permits.acquire().await.unwrap().forget();
                let number = seen.head.get("x-number").unwrap_or("none").to_owned();
                peer.send(response(&format!("cache-control: {control}\r\n"), &number)).await;
            }
        }
    })
    .await
}

/// A backend whose answers may be stored, and stand still behind their beginning until a permit comes.
async fn halting(beginning: &'static str, rest: Vec<u8>, permits: &Arc<Semaphore>) -> Backend {
    let permits = permits.clone();
    let length = beginning.len() + rest.len();
    let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {length}\r\n\r\n");
    Backend::start(move |mut peer| {
        let (head, rest, permits) = (head.clone(), rest.clone(), permits.clone());
        async move {
            while peer.request().await.is_some() {
                peer.send(format!("{head}{beginning}")).await;
                permits.acquire().await.unwrap().forget();
                peer.send(&rest).await;
            }
        }
    })
    .await
}

/// Asks from so many clients at once, each by its number, and waits until so many requests are in flight.
async fn crowd(gate: &Gate, count: usize, in_flight: usize) -> Vec<JoinHandle<Answer>> {
    let crowd = (0..count).map(|number| tokio::spawn(numbered(gate.address(), number))).collect();
    gate.counted(&format!("tollgate_requests_in_flight{{route=\"app\"}} {in_flight}")).await;
    crowd
}

async fn numbered(address: SocketAddr, number: usize) -> Answer {
    Client::connect(address).await.ask(format!("GET / HTTP/1.1\r\nHost: gate\r\nX-Number: {number}\r\n\r\n")).await
}

#[tokio::test]
async fn a_thousand_clients_of_a_cold_key_are_one_request() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held("max-age=60", &permits).await;
    let gate = gate(&backend, "true");
    let crowd = crowd(&gate, CLIENTS, CLIENTS).await;
    permits.add_permits(CLIENTS);
    let mut collapsed = 0;
    let first = backend.only().head.get("x-number").unwrap().to_owned();
    for asking in crowd {
        let answer = asking.await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, first.clone()));
        collapsed += usize::from(status(&answer).contains("collapsed"));
    }
    assert_eq!((backend.seen().len(), collapsed), (1, CLIENTS - 1));
    gate.counted(&format!("tollgate_cache_requests_total{{route=\"app\",result=\"collapsed\"}} {}", CLIENTS - 1)).await;
}

#[tokio::test]
async fn a_thousand_clients_of_what_is_private_are_a_thousand_requests_and_none_is_mixed_up() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held("private, max-age=60", &permits).await;
    let gate = gate(&backend, "true");
    let crowd = crowd(&gate, CLIENTS, CLIENTS).await;
    permits.add_permits(CLIENTS);
    for (number, asking) in crowd.into_iter().enumerate() {
        let answer = asking.await.unwrap();
        assert_eq!((answer.status(), answer.text()), (200, number.to_string()));
    }
    assert_eq!(backend.seen().len(), CLIENTS);
    // The next ones do not wait for each other any more.
    let again = self::crowd(&gate, 10, 10).await;
    eventually("all of them have gone", || backend.seen().len() == CLIENTS + 10).await;
    permits.add_permits(10);
    for asking in again {
        assert_eq!(asking.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn when_the_one_that_goes_leaves_another_goes() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held("max-age=60", &permits).await;
    let gate = gate(&backend, "true");
    let mut leader = Client::connect(gate.address()).await;
    leader.send("GET / HTTP/1.1\r\nHost: gate\r\nX-Number: leader\r\n\r\n").await;
    eventually("it has gone", || backend.seen().len() == 1).await;
    let crowd = crowd(&gate, 20, 21).await;
    leader.reset();
    eventually("another has gone", || backend.seen().len() == 2).await;
    permits.add_permits(2);
    for asking in crowd {
        let answer = asking.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.text(), "leader");
    }
    assert_eq!(backend.seen().len(), 2);
}

#[tokio::test]
async fn nobody_waits_longer_than_the_route_allows() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = held("max-age=60", &permits).await;
    let gate = Gate::before(&backend, "cache = true\ntimeout = \"300ms\"\n");
    let crowd = crowd(&gate, 5, 5).await;
    for asking in crowd {
        assert_eq!(asking.await.unwrap().refusal(), (504, "deadline_exceeded".into()));
    }
}

#[tokio::test]
async fn a_body_is_read_by_all_while_it_comes_and_a_slow_one_holds_up_nobody() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = halting("begins", vec![b'x'; 600_000], &permits).await;
    let gate = gate(&backend, "true");
    let mut slow = Client::connect_narrow(gate.address()).await;
    slow.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let head = slow.head().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..10 {
        let mut other = Client::connect(gate.address()).await;
        other.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        let head = other.head().await.unwrap();
        assert!(head.get("cache-status").unwrap().contains("collapsed"), "{head:?}");
        assert_eq!(other.exactly(6).await.unwrap(), b"begins", "before the rest has come");
        others.push((other, head));
    }
    permits.add_permits(1);
    for (mut other, _) in others {
        assert_eq!(other.exactly(600_000).await.unwrap().len(), 600_000);
    }
    assert_eq!(get(gate.address(), "/").await.content.bytes.len(), 600_006);
    assert_eq!(slow.content(&head, false).await.unwrap().bytes.len(), 600_006);
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_to_the_store_when_its_client_leaves() {
    let permits = Arc::new(Semaphore::new(0));
    let backend = halting("begin", b"s ok!".to_vec(), &permits).await;
    let gate = gate(&backend, "true");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    client.head().await.unwrap();
    client.reset();
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    permits.add_permits(1);
    assert_eq!(get(gate.address(), "/").await.text(), "begins ok!");
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn what_is_larger_than_allowed_streams_through_whole() {
    const LENGTH: usize = 3 << 20;
    let backend = Backend::replying(|seen| {
        let body = vec![b'x'; LENGTH];
        let head = match seen.head.target() {
            "/known" => format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {LENGTH}\r\n\r\n"),
            _ => format!(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n{LENGTH:x}\r\n"
            ),
        };
        let end: &[u8] = if seen.head.target() == "/known" { b"" } else { b"\r\n0\r\n\r\n" };
        [head.as_bytes(), &body, end].concat()
    })
    .await;
    let gate = gate(&backend, "true");
    for target in ["/known", "/known", "/unknown", "/unknown"] {
        let answer = tokio::time::timeout(Duration::from_secs(20), get(gate.address(), target)).await.unwrap();
        assert_eq!(answer.content.bytes.len(), LENGTH, "{target}");
    }
    assert_eq!(backend.seen().len(), 4);
    gate.counted("tollgate_cache_entries 0").await;
}
