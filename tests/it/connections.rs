//! `max_connections` of an upstream: never more sockets than that, whatever is asked; who finds no room waits for it, in
//! order, and not for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tollgate::base::clock;

use crate::support::{Backend, Client, Gate, OK, Peer, ask, eventually, eventually_async, get};

const GET: &str = "GET / HTTP/1.1\r\nHost: gate\r\n\r\n";

fn gate(backends: &[&Backend], workers: usize, upstream: &str) -> Gate {
    let addresses: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.address())).collect();
    Gate::start(&format!(
        "[server]\nworkers = {workers}\n[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n\
         [upstreams.app]\naddresses = [{}]\n{upstream}",
        addresses.join(", ")
    ))
}

/// A backend that answers once there is a permit, checks of its health at once, and counts how many ask at a time.
struct Busy {
    backend: Backend,
    permits: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Busy {
    async fn start(permits: usize) -> Self {
        let permits = Arc::new(Semaphore::new(permits));
        let (inside, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let shared = (permits.clone(), inside.clone(), most.clone());
        let backend = Backend::start(move |mut peer: Peer| {
            let (permits, inside, most) = shared.clone();
            async move {
                while let Some(seen) = peer.request().await {
                    if seen.head.target() == "/up" {
                        peer.send(OK).await;
                        continue;
                    }
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    permits.acquire().await.unwrap().forget();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    peer.send(OK).await;
                }
            }
        })
        .await;
        Self { backend, permits, inside, most }
    }

    async fn holds(&self, count: usize) {
        eventually("so many are inside", || self.inside.load(Ordering::SeqCst) == count).await;
    }
}

async fn upstream(admin: SocketAddr) -> Value {
    let status: Value = serde_json::from_str(&get(admin, "/api/v1/status").await.text()).unwrap();
    status["upstreams"][0].clone()
}

/// So many wait in the gateway.
async fn waiting(gate: &Gate, count: usize) {
    eventually_async("so many wait", async || upstream(gate.admin()).await["waiting"] == count).await;
}

async fn asking(gate: &Gate, request: &str) -> Client {
    let mut client = Client::connect(gate.address()).await;
    client.send(request).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_sockets_than_allowed_and_all_of_them_are_used_by_every_worker() {
    const CAP: usize = 3;
    let busy = Busy::start(Semaphore::MAX_PERMITS).await;
    let gate = gate(&[&busy.backend], 4, &format!("max_connections = {CAP}\nconnect_timeout = \"20s\"\n"));
    // As many as are served and as many as may wait. Bodies go over connections of another kind.
    let one = |number: usize| {
        let gate = &gate;
        async move {
            let mut client = Client::connect(gate.address()).await;
            for round in 0..50 {
                let request = match (number + round) % 3 {
                    0 => "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi",
                    _ => GET,
                };
                let answer = client.ask(request).await;
                assert_eq!(answer.text(), "ok", "{number} {round}: {answer:?}");
            }
        }
    };
    join_all((0..2 * CAP).map(one)).await;
    assert!(busy.most.load(Ordering::SeqCst) <= CAP);
    // None was closed to make room for another.
    assert!(busy.backend.connections() <= CAP, "{} connections", busy.backend.connections());
    let status = upstream(gate.admin()).await;
    assert!(status["addresses"][0]["connections"].as_u64().unwrap() <= CAP as u64, "{status}");
    assert_eq!((&status["waiting"], &status["addresses"][0]["in_flight"]), (&0.into(), &0.into()), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_lies_idle_at_one_worker_serves_the_others() {
    let backend = Backend::answering(OK).await;
    let gate = gate(&[&backend], 2, "max_connections = 1\n");
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(gate.address()).await);
    }
    for _ in 0..25 {
        for client in &mut clients {
            assert_eq!(client.get("/").await.text(), "ok");
        }
    }
    assert_eq!((backend.connections(), backend.seen().len()), (1, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_anothers_connection_is_finished_when_the_gateway_goes_down() {
    let busy = Busy::start(1).await;
    let gate = gate(&[&busy.backend], 2, "max_connections = 1\n");
    let mut first = Client::connect(gate.address()).await;
    assert_eq!(first.get("/").await.text(), "ok", "the connection was opened by one worker");
    let mut second = asking(&gate, GET).await;
    busy.holds(1).await;
    assert_eq!(busy.backend.connections(), 1, "and is used by the other");
    drop(first);
    let admin = gate.admin();
    let down = tokio::task::spawn_blocking(move || gate.shutdown());
    eventually_async("it goes down", async || get(admin, "/readyz").await.status() == 503).await;
    let began = clock::now();
    eventually("the first worker has had time to end", || began.elapsed() > Duration::from_millis(300)).await;
    busy.permits.add_permits(1);
    assert_eq!(second.answer().await.expect("a request in flight was lost").text(), "ok");
    down.await.unwrap();
}

#[tokio::test]
async fn who_finds_no_room_waits_in_order() {
    let busy = Busy::start(0).await;
    let gate = gate(&[&busy.backend], 1, "max_connections = 2\nconnect_timeout = \"20s\"\n");
    let mut inside = vec![asking(&gate, GET).await];
    busy.holds(1).await;
    inside.push(asking(&gate, GET).await);
    busy.holds(2).await;
    let mut queued = Vec::new();
    for number in 0..2 {
        queued.push(asking(&gate, &format!("GET /{number} HTTP/1.1\r\nHost: gate\r\n\r\n")).await);
        waiting(&gate, number + 1).await;
    }
    gate.counted("tollgate_upstream_waiting{upstream=\"app\"} 2").await;
    let refused = ask(gate.address(), GET).await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()), "no more than can be served may wait");
    assert_eq!(refused.head.get("retry-after"), Some("1"));
    busy.permits.add_permits(2);
    eventually("the first of them is sent", || busy.backend.seen().len() >= 3).await;
    busy.permits.add_permits(2);
    for client in inside.iter_mut().chain(&mut queued) {
        assert_eq!(client.answer().await.unwrap().text(), "ok");
    }
    let targets: Vec<_> = busy.backend.seen().iter().map(|seen| seen.head.target().to_owned()).collect();
    assert_eq!(&targets[2..], ["/0", "/1"]);
    assert_eq!(busy.backend.connections(), 2);
    gate.counted("tollgate_upstream_waiting{upstream=\"app\"} 0").await;
}

#[tokio::test]
async fn nobody_waits_longer_than_for_a_connection_or_than_the_route_allows() {
    for (route, upstream) in [("timeout = \"300ms\"", "connect_timeout = \"20s\""), ("", "connect_timeout = \"300ms\"")]
    {
        let busy = Busy::start(0).await;
        let gate = Gate::start(&format!(
            "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n[[routes]]\nname = \"brief\"\nprefix = \"/brief\"\n\
             upstream = \"app\"\n{route}\n[upstreams.app]\naddresses = [\"{}\"]\nmax_connections = 1\n{upstream}\n",
            busy.backend.address()
        ));
        let mut inside = asking(&gate, GET).await;
        busy.holds(1).await;
        let refused = get(gate.address(), "/brief").await;
        assert_eq!(refused.refusal(), (503, "overloaded".into()));
        waiting(&gate, 0).await;
        busy.permits.add_permits(1);
        assert_eq!(inside.answer().await.unwrap().text(), "ok");
        assert_eq!(busy.backend.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_makes_room_in_it() {
    let busy = Busy::start(0).await;
    let gate = gate(&[&busy.backend], 1, "max_connections = 1\nconnect_timeout = \"20s\"\n");
    let mut inside = asking(&gate, GET).await;
    busy.holds(1).await;
    let leaving = asking(&gate, GET).await;
    waiting(&gate, 1).await;
    leaving.reset();
    waiting(&gate, 0).await;
    let mut next = asking(&gate, "GET /next HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    waiting(&gate, 1).await;
    busy.permits.add_permits(2);
    assert_eq!(inside.answer().await.unwrap().text(), "ok");
    assert_eq!(next.answer().await.unwrap().text(), "ok");
    assert_eq!(busy.backend.seen().len(), 2);
}

#[tokio::test]
async fn an_address_with_room_is_preferred_to_one_without() {
    let (stuck, well) = (Busy::start(0).await, Busy::start(Semaphore::MAX_PERMITS).await);
    let gate = gate(&[&stuck.backend, &well.backend], 1, "max_connections = 2\n");
    let mut held = Vec::new();
    eventually_async("one address is full", async || {
        let mut client = asking(&gate, GET).await;
        let answered = tokio::time::timeout(Duration::from_millis(200), client.answer()).await.is_ok();
        if !answered {
            held.push(client);
        }
        held.len() == 2
    })
    .await;
    stuck.holds(2).await;
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..40 {
        assert_eq!(client.get("/").await.text(), "ok", "nobody waits while the other has room");
    }
    stuck.permits.add_permits(2);
    for client in &mut held {
        assert_eq!(client.answer().await.unwrap().text(), "ok");
    }
}

#[tokio::test]
async fn an_address_that_is_full_is_not_unwell() {
    let busy = Busy::start(0).await;
    let checks = "[upstreams.app.health]\npath = \"/up\"\ninterval = \"50ms\"\ntimeout = \"200ms\"\nunhealthy = 1\n";
    let gate = gate(&[&busy.backend], 1, &format!("max_connections = 1\nconnect_timeout = \"20s\"\n{checks}"));
    let mut inside = asking(&gate, GET).await;
    busy.holds(1).await;
    let checked = || busy.backend.seen().iter().filter(|seen| seen.head.target() == "/up").count();
    let state = async || upstream(gate.admin()).await["addresses"][0]["state"].clone();
    let before = checked();
    eventually("it is checked while it is full", || checked() > before + 5).await;
    assert_eq!(state().await, "healthy");
    busy.permits.add_permits(1);
    assert_eq!(inside.answer().await.unwrap().text(), "ok");
}

#[tokio::test]
async fn tunnels_and_broken_connections_give_their_place_back() {
    let go = Arc::<Notify>::default();
    let told = go.clone();
    let backend = Backend::start(move |mut peer: Peer| {
        let go = told.clone();
        async move {
            let head = peer.request_head().await;
            match head.as_ref().map(|head| head.target().to_owned()).as_deref() {
                Some("/ws") => {
                    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                        .await;
                    peer.ended().await;
                }
                Some("/reset") => peer.reset(),
                Some("/half") => {
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
                    go.notified().await;
                }
                Some(_) => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await,
                None => {}
            }
        }
    })
    .await;
    let gate = gate(&[&backend], 1, "max_connections = 1\nconnect_timeout = \"20s\"\n");
    for _ in 0..5 {
        let mut tunnel =
            asking(&gate, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        assert_eq!(tunnel.head().await.unwrap().status(), 101);
        let mut next = asking(&gate, GET).await;
        waiting(&gate, 1).await;
        drop(tunnel);
        assert_eq!(next.answer().await.unwrap().text(), "ok");
        assert_eq!(get(gate.address(), "/reset").await.status(), 502);
        let mut half = asking(&gate, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n").await;
        half.head().await.unwrap();
        drop(half);
        assert_eq!(get(gate.address(), "/").await.text(), "ok");
        go.notify_one();
    }
    let status = upstream(gate.admin()).await;
    assert_eq!(status["addresses"][0]["in_flight"], 0, "{status}");
}
