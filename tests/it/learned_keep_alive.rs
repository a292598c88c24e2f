//! A connection that the upstream is about to close carries no request that could not be repeated: what the upstream says
//! of idle connections is believed, and what it does is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, OK, eventually, eventually_some, get};

const POST: &str = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\norder";

/// A backend that closes a connection which has been idle for so long.
async fn closing_after(idle: Duration) -> Backend {
    Backend::start(move |mut peer| async move {
        while let Ok(Some(_)) = tokio::time::timeout(idle, peer.request()).await {
            peer.send(OK).await;
        }
    })
    .await
}

async fn let_pass(time: Duration) {
    let began = Instant::now();
    eventually("time passes", || began.elapsed() > time).await;
}

#[tokio::test]
async fn what_the_upstream_says_is_believed() {
    let backend =
        Backend::answering("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2, max=100\r\nContent-Length: 2\r\n\r\nok").await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    let mut client = Client::connect(gate.address()).await;
    client.get("/").await;
    let_pass(Duration::from_millis(1200)).await;
    let answer = client.get("/").await;
    assert_eq!((answer.text(), answer.head.has("keep-alive")), ("ok".into(), false));
    assert_eq!(backend.connections(), 2, "a second is left for the way");
    assert_eq!(learned(&gate).await, 1000);
}

#[tokio::test]
async fn without_a_word_connections_are_kept_as_long_as_configured() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    let mut client = Client::connect(gate.address()).await;
    client.get("/").await;
    let_pass(Duration::from_millis(1200)).await;
    client.get("/").await;
    assert_eq!(backend.connections(), 1);
    assert_eq!(learned(&gate).await, serde_json::Value::Null);
}

/// What the gateway's only address has taught, in milliseconds.
async fn learned(gate: &Gate) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&get(gate.admin(), "/api/v1/status").await.text()).unwrap();
    status["upstreams"][0]["addresses"][0]["keep_alive_ms"].clone()
}

#[tokio::test]
async fn what_the_upstream_does_is_remembered() {
    let backend = closing_after(Duration::from_millis(1500)).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    get(gate.address(), "/").await;
    let within = eventually_some("a lesson", async || learned(&gate).await.as_u64()).await;
    assert!((500..=1500).contains(&within), "closed after 1500 ms, looked at once a second: {within}");
}

/// The time is a fifth of what servers usually have, and so are the gaps: a hundred clients make their thousand requests
/// just as their connections are being closed.
#[tokio::test]
async fn a_thousand_orders_at_the_moment_of_closing_lose_nothing() {
    const CLIENTS: u64 = 100;
    const ORDERS: u64 = 10;
    let backend = closing_after(Duration::from_secs(1)).await;
    let gate = Gate::before_upstream(&backend, "max_idle = 1000\nkeep_alive = \"60s\"\n");
    let good = Arc::new(AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(async |number| {
        let mut client = Client::connect(gate.address()).await;
        for order in 0..ORDERS {
            let answer = client.ask(POST).await;
            assert_eq!(answer.status(), 200, "{} of client {number}: {}", order, answer.text());
            good.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(980 + (number * 7 + order * 13) % 41)).await;
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(good.load(Ordering::SeqCst), 1000);
    assert_eq!(backend.seen().len(), 1000, "each was sent once");
}

/// What follows at once goes over the connection that is there.
#[tokio::test]
async fn short_gaps_reuse_connections() {
    let backend = closing_after(Duration::from_secs(60)).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..20 {
        assert_eq!(client.ask(POST).await.status(), 200);
    }
    assert_eq!(backend.connections(), 1);
}

/// What others have survived is long enough for a request that cannot be repeated.
#[tokio::test]
async fn what_has_proved_to_be_kept_is_used_for_orders_too() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 1\n");
    let mut client = Client::connect(gate.address()).await;
    assert_eq!(client.ask(POST).await.status(), 200);
    let_pass(Duration::from_millis(3500)).await;
    assert_eq!(client.ask(POST).await.status(), 200);
    let before = backend.connections();
    assert!(before <= 2, "the first gap was not known to be survived, or just");
    for _ in 0..2 {
        let_pass(Duration::from_millis(1200)).await;
        assert_eq!(client.ask(POST).await.status(), 200);
    }
    assert_eq!(backend.connections(), before);
}
