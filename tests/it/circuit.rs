//! The circuit breaker: what fails too often is left alone for a while, and tried again with care.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Backend, Client, Gate, OK, Peer, eventually_async, get};

const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad";
const ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops";

/// A backend that answers as it is told to: 0 well, 1 with a gateway's error, 2 with its own, 3 not at all.
async fn moody() -> (Backend, Arc<AtomicUsize>) {
    let mood = Arc::new(AtomicUsize::new(0));
    let told = mood.clone();
    let backend = Backend::start(move |mut peer: Peer| {
        let mood = told.clone();
        async move {
            while peer.request().await.is_some() {
                match mood.load(Ordering::SeqCst) {
                    0 => peer.send(OK).await,
                    1 => peer.send(BAD).await,
                    2 => peer.send(ERROR).await,
                    _ => return,
                }
            }
        }
    })
    .await;
    (backend, mood)
}

fn gate(backend: &Backend, circuit: &str) -> Gate {
    Gate::before_upstream(backend, &format!("retry = {{ attempts = 0 }}\n{circuit}"))
}

async fn circuit(gate: &Gate) -> Value {
    let status: Value = serde_json::from_str(&get(gate.admin(), "/api/v1/status").await.text()).unwrap();
    status["upstreams"][0]["circuit"].clone()
}

#[tokio::test]
async fn what_fails_too_often_is_refused_and_tried_again_later() {
    for mood_of_failure in [1, 3] {
        let (backend, mood) = moody().await;
        let gate = gate(&backend, "[upstreams.app.circuit]\nmin_requests = 4\nopen_for = \"3s\"\n");
        let mut client = Client::connect(gate.address()).await;
        for _ in 0..4 {
            assert_eq!(client.get("/").await.status(), 200);
        }
        assert_eq!(circuit(&gate).await["state"], "closed");
        gate.counted("tollgate_upstream_circuit_state{upstream=\"app\"} 0").await;
        mood.store(mood_of_failure, Ordering::SeqCst);
        for _ in 0..4 {
            assert!(client.get("/").await.status() >= 502);
        }
        let asked = backend.seen().len();
        for _ in 0..20 {
            let refused = client.get("/").await;
            assert_eq!(refused.refusal(), (503, "circuit_open".into()));
            let seconds: u32 = refused.head.get("retry-after").unwrap().parse().unwrap();
            assert!((1..=3).contains(&seconds), "{seconds}");
        }
        assert_eq!(backend.seen().len(), asked, "it is left alone");
        let status = circuit(&gate).await;
        assert_eq!(status["state"], "open", "{status}");
        assert!((0.0..=3.0).contains(&status["open_for_seconds"].as_f64().unwrap()), "{status}");
        gate.counted("tollgate_upstream_circuit_state{upstream=\"app\"} 2").await;
        gate.counted("tollgate_refusals_total{route=\"app\",code=\"circuit_open\",mode=\"enforce\"} 20").await;
        mood.store(0, Ordering::SeqCst);
        eventually_async("requests pass again", async || client.get("/").await.status() == 200).await;
        for _ in 0..20 {
            assert_eq!(client.get("/").await.status(), 200, "a few good ones close it");
        }
        assert_eq!(circuit(&gate).await["state"], "closed");
    }
}

#[tokio::test]
async fn while_it_still_fails_only_a_few_find_out() {
    let (backend, mood) = moody().await;
    let gate = gate(&backend, "[upstreams.app.circuit]\nmin_requests = 2\nopen_for = \"150ms\"\n");
    mood.store(1, Ordering::SeqCst);
    let mut client = Client::connect(gate.address()).await;
    let began = std::time::Instant::now();
    let mut refused = 0;
    eventually_async("a second passes", async || {
        let answer = client.get("/").await;
        refused += usize::from(answer.head.has("x-request-id") && answer.text().contains("circuit_open"));
        began.elapsed().as_secs() >= 1
    })
    .await;
    // Two that open it, then one in each pause of 150 ms.
    let (asked, passed) = (backend.seen().len(), began.elapsed());
    assert!((3..=3 + usize::try_from(passed.as_millis() / 150).unwrap()).contains(&asked), "{asked} were sent");
    assert!(refused > asked, "{refused} were refused, {asked} sent");
}

#[tokio::test]
async fn an_applications_own_errors_open_nothing() {
    let (backend, mood) = moody().await;
    let gate = gate(&backend, "[upstreams.app.circuit]\nmin_requests = 1\nfailure_rate = 0.01\n");
    mood.store(2, Ordering::SeqCst);
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status(), 500);
    }
    assert_eq!(circuit(&gate).await["state"], "closed");
}

#[tokio::test]
async fn without_the_table_there_is_none() {
    let (backend, mood) = moody().await;
    let gate = gate(&backend, "");
    mood.store(1, Ordering::SeqCst);
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..50 {
        let answer = client.get("/").await;
        assert_eq!((answer.status(), answer.text()), (503, "bad".into()), "the upstream's own answer");
    }
    assert_eq!(circuit(&gate).await, Value::Null);
    assert!(!gate.metrics().await.contains("tollgate_upstream_circuit_state{"));
}
