//! More requests than there is room for: the rest is refused at once, and those inside notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tollgate::base::clock;

use crate::support::log::Log;
use crate::support::{Backend, Client, Client2, Gate, Peer, ask, eventually, eventually_async};

const GET: &str = "GET / HTTP/1.1\r\nHost: gate\r\n\r\n";

/// A backend that answers when it is told to, and knows how many wait at a time.
struct Held {
    backend: Backend,
    go: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
}

impl Held {
    /// Sends the head at once and the rest on the word, or nothing before.
    async fn start(at_once: &'static str, then: &'static str) -> Self {
        let (go, inside) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
        let (told, count) = (go.clone(), inside.clone());
        let backend = Backend::start(move |mut peer: Peer| {
            let (go, inside) = (told.clone(), count.clone());
            async move {
                while peer.request().await.is_some() {
                    inside.fetch_add(1, Ordering::SeqCst);
                    peer.send(at_once).await;
                    tokio::select! {
                        permit = go.acquire() => permit.unwrap().forget(),
                        _ = peer.ended() => {
                            inside.fetch_sub(1, Ordering::SeqCst);
                            return;
                        }
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    peer.send(then).await;
                }
            }
        })
        .await;
        Self { backend, go, inside }
    }

    async fn holds(&self, count: usize) {
        eventually("so many are inside", || self.inside.load(Ordering::SeqCst) == count).await;
    }
}

/// Both limits, as the keys of a route and of an upstream.
fn gates(backend: &Backend, most: usize) -> [Gate; 2] {
    let limit = format!("max_in_flight = {most}\n");
    [Gate::before(backend, &limit), Gate::before_upstream(backend, &limit)]
}

async fn is_refused(gate: &Gate) {
    let refused = ask(gate.address(), GET).await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    assert_eq!(refused.head.get("retry-after"), Some("1"));
}

#[tokio::test]
async fn one_too_many_is_refused_until_another_is_over() {
    let held = Held::start("", crate::support::OK).await;
    for gate in gates(&held.backend, 3) {
        let mut clients = Vec::new();
        for count in 1..=3 {
            let mut client = Client::connect(gate.address()).await;
            client.send(GET).await;
            clients.push(client);
            held.holds(count).await;
        }
        is_refused(&gate).await;
        assert_eq!(held.inside.load(Ordering::SeqCst), 3);
        held.go.add_permits(3);
        for client in &mut clients {
            assert_eq!(client.answer().await.unwrap().text(), "ok");
        }
        let mut again = Client::connect(gate.address()).await;
        again.send(GET).await;
        held.holds(1).await;
        held.go.add_permits(1);
        assert_eq!(again.answer().await.unwrap().text(), "ok");
        gate.counted("tollgate_refusals_total{route=\"app\",code=\"overloaded\",mode=\"enforce\"} 1").await;
        gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    }
}

#[tokio::test]
async fn a_place_is_held_until_the_body_ends_or_the_client_leaves() {
    let held = Held::start("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha", "lf").await;
    for gate in gates(&held.backend, 1) {
        let mut client = Client::connect(gate.address()).await;
        client.send(GET).await;
        let head = client.head().await.unwrap();
        is_refused(&gate).await;
        held.holds(1).await;
        held.go.add_permits(1);
        assert_eq!(client.content(&head, false).await.unwrap().bytes, b"half");
        let mut leaving = Client::connect(gate.address()).await;
        eventually_async("the place is free", async || {
            leaving.send(GET).await;
            let head = leaving.head().await.unwrap();
            match head.status() {
                200 => true,
                _ => leaving.content(&head, false).await.is_none(),
            }
        })
        .await;
        is_refused(&gate).await;
        leaving.reset();
        held.holds(0).await;
        let mut last = Client2::connect(gate.address()).await;
        let request = || http::Request::get("http://gate/").body(http_body_util::Full::default()).unwrap();
        let mut kept = None;
        eventually_async("the place is free again", async || {
            let response = last.send(request()).await.unwrap();
            let taken = response.status() == 200;
            kept = Some(response);
            taken
        })
        .await;
        is_refused(&gate).await;
        drop(kept); // resets the stream
        held.holds(0).await;
        gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
    }
}

/// Asks again and again until `until`, pausing after a refusal; how long answers took, the good ones and the others.
async fn client(gate: &Gate, until: Instant) -> (Vec<Duration>, usize) {
    let (mut took, mut refused) = (Vec::new(), 0);
    let mut client = Client::connect(gate.address()).await;
    while clock::now() < until {
        let began = clock::now();
        let answer = client.get("/").await;
        if answer.status() == 200 {
            took.push(began.elapsed());
        } else {
            assert_eq!(answer.refusal(), (503, "overloaded".into()));
            assert_eq!(answer.head.get("retry-after"), Some("1"));
            refused += 1;
            tokio::time::sleep(WORK).await;
        }
    }
    (took, refused)
}

/// How long the backend works on a request.
const WORK: Duration = Duration::from_millis(100);
/// How many requests it may be given at a time.
const CAPACITY: usize = 8;

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap());
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn at_ten_times_the_capacity_the_rest_is_refused_at_once_and_nobody_inside_waits() {
    let (inside, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counts = (inside.clone(), most.clone());
    let backend = Backend::start(move |mut peer: Peer| {
        let (inside, most) = counts.clone();
        async move {
            while peer.request().await.is_some() {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(WORK).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                peer.send(crate::support::OK).await;
            }
        }
    })
    .await;
    let log = Log::new();
    let gate = Gate::before_upstream(&backend, &format!("max_in_flight = {CAPACITY}\n{}", log.table()));
    let crowd = async |count: usize, time: Duration| {
        let until = clock::now() + time;
        let (took, refused): (Vec<_>, Vec<_>) =
            join_all((0..count).map(|_| client(&gate, until))).await.into_iter().unzip();
        (took.concat(), refused.iter().sum::<usize>())
    };
    let (alone, refused) = crowd(CAPACITY, Duration::from_secs(1)).await;
    assert_eq!(refused, 0);
    let (crowded, refused) = crowd(10 * CAPACITY, Duration::from_secs(3)).await;
    assert_eq!(most.load(Ordering::SeqCst), CAPACITY, "as many as allowed, and never more");
    assert!(refused > 5 * crowded.len(), "{refused} were refused, {} not", crowded.len());
    let (alone, crowded) = (median(alone), median(crowded));
    assert!(crowded < alone * 2, "those inside wait: {crowded:?}, not {alone:?}");
    let text = std::fs::read_to_string(log.path()).unwrap();
    let lines = text.lines().map_while(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let refusals = lines.filter(|line| line["code"] == "overloaded");
    let times: Vec<f64> = refusals.map(|line| line["duration_ms"].as_f64().unwrap()).collect();
    assert!(times.len() > refused / 2, "{} lines", times.len());
    let typical = median(times);
    assert!(typical < 1.0, "a refusal takes {typical} ms");
}
