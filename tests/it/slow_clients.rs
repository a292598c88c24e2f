//! Clients that take their time, thousands of them: with their heads, with their bodies, with what they were answered; and
//! clients that leave in the middle. Each ends by a limit on the whole, since none of them ever stands still for long.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body::Body;
use tokio::time::Interval;
use tollgate::base::clock;

use crate::support::client::text;
use crate::support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM, SETTINGS, block, frame,
};
use crate::support::scrape::scrape;
use crate::support::{Backend, Client, Client2, Gate, OK, Peer, eventually, eventually_async, get};

const WINDOW_UPDATE: u8 = 8;

/// As many as this process may open, with `each` files for one: half of its limit is left to others.
fn many(wanted: usize, each: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limit: usize = line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    wanted.min(limit / 2 / each)
}

fn gate(backend: &Backend, server: &str) -> Gate {
    Gate::before(backend, &format!("[server]\nworkers = 2\nshutdown_grace = \"1s\"\n{server}\n"))
}

/// The sum of a metric's samples.
async fn sum(gate: &Gate, name: &str, labels: &[(&str, &str)]) -> f64 {
    scrape(gate.admin()).await.value(name, labels).unwrap_or(0.0)
}

async fn nothing_is_left(gate: &Gate) {
    eventually_async("nothing is in flight", async || {
        sum(gate, "tollgate_requests_in_flight", &[]).await == 0.0
            && sum(gate, "tollgate_upstream_connections", &[("state", "busy")]).await == 0.0
    })
    .await;
    let status: serde_json::Value = serde_json::from_str(&get(gate.admin(), "/api/v1/status").await.text()).unwrap();
    assert_eq!(status["upstreams"][0]["addresses"][0]["in_flight"], 0, "{status}");
}

/// A head that is never complete, and what it goes on with.
enum Dripping {
    Http1,
    Http2,
}

impl Dripping {
    fn begin(&self, gate: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(gate).unwrap();
        stream.set_nodelay(true).unwrap();
        let begin = match self {
            Self::Http1 => b"GET / HTTP/1.1\r\nHost: gate\r\nX: ".to_vec(),
            Self::Http2 => {
                let mut head = block(&[(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]);
                // A field of many bytes, of which one comes at a time.
                head.extend([0, 1, b'x', 127, 0x80, 0x80, 1]);
                let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
                bytes.extend(frame(SETTINGS, 0, 0, &[]));
                bytes.extend(frame(HEADERS, END_STREAM, 1, &head));
                bytes
            }
        };
        stream.write_all(&begin).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn more(&self) -> Vec<u8> {
        match self {
            Self::Http1 => vec![b'x'],
            Self::Http2 => frame(CONTINUATION, 0, 1, b"x"),
        }
    }
}

/// Whether the other side still keeps the connection open.
fn is_open(mut stream: &TcpStream) -> bool {
    let mut sink = [0; 4096];
    loop {
        match stream.read(&mut sink) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_heads_that_come_byte_by_byte_end_and_nobody_else_waits() {
    let backend = Backend::answering(OK).await;
    let gate = gate(&backend, "header_read_timeout = \"1500ms\"\nkeep_alive_timeout = \"60s\"");
    let (count, began) = (many(2000, 2), clock::now());
    let mut clients: Vec<(Dripping, TcpStream)> = (0..count)
        .map(|number| if number % 2 == 0 { Dripping::Http1 } else { Dripping::Http2 })
        .map(|kind| {
            let stream = kind.begin(gate.address());
            (kind, stream)
        })
        .collect();
    let mut polite = Client::connect(gate.address()).await;
    let mut rounds = 0;
    while !clients.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "{} heads are still waited for", clients.len());
        // A byte in a sixth of the limit: a limit between two reads would never be reached.
        tokio::time::sleep(Duration::from_millis(250)).await;
        clients.retain_mut(|(kind, stream)| stream.write_all(&kind.more()).is_ok() && is_open(stream));
        assert_eq!(polite.get("/").await.text(), "ok");
        rounds += 1;
    }
    assert!(rounds > 3, "they were ended before their time");
    drop(polite);
    eventually_async("no connection is counted", async || sum(&gate, "tollgate_connections", &[]).await == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_byte_by_byte_end_by_their_rate() {
    let backend = Backend::start(async |mut peer: Peer| {
        peer.request().await;
    })
    .await;
    let gate = gate(&backend, "body_idle_timeout = \"60s\"\nmin_body_rate = \"1KiB/s\"");
    let one = async |_| {
        let mut client = Client::connect(gate.address()).await;
        client.send("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 100000\r\n\r\n").await;
        let began = clock::now();
        loop {
            assert!(began.elapsed() < Duration::from_secs(25), "still waited for");
            client.send("x").await;
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(500), client.answer()).await {
                return answer.expect("it is told why").refusal();
            }
        }
    };
    let streams = join_all((0..2).map(|_| dripping_streams(gate.address())));
    let (refusals, streams) = tokio::join!(join_all((0..many(2000, 4)).map(one)), streams);
    assert!(refusals.iter().all(|refusal| *refusal == (408, "body_timeout".to_owned())), "{refusals:?}");
    let refused = |(status, body): &(u16, String)| *status == 408 && body.contains("\"body_timeout\"");
    assert!(streams.iter().flatten().all(refused), "{streams:?}");
    nothing_is_left(&gate).await;
}

/// A body of which a byte comes now and then.
struct Drip(Interval);

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0.poll_tick(cx).map(|_| Some(Ok(http_body::Frame::data(Bytes::from_static(b"x")))))
    }
}

/// Fifty streams on one connection, each with a body that drips, and the refusal of each.
async fn dripping_streams(gate: SocketAddr) -> Vec<(u16, String)> {
    let client = Client2::connect(gate).await;
    let one = |_| {
        let mut client = client.clone();
        async move {
            let drip = Drip(tokio::time::interval(Duration::from_millis(300)));
            let response = client.send(http::Request::post("http://gate/").body(drip).unwrap()).await.unwrap();
            (response.status().as_u16(), text(response).await)
        }
    };
    join_all((0..50).map(one)).await
}

/// A backend whose answers have no end.
async fn endless(open: &Arc<AtomicUsize>) -> Backend {
    let count = open.clone();
    Backend::start(move |mut peer: Peer| {
        let open = count.clone();
        async move {
            let Some(seen) = peer.request().await else { return };
            if seen.head.target() == "/short" {
                return peer.send(OK).await;
            }
            open.fetch_add(1, Ordering::SeqCst);
            peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let blocks = async { while peer.try_send(vec![b'x'; 16 * 1024]).await.is_ok() {} };
            // Who is not read for long has been forgotten.
            let forgotten = tokio::time::timeout(Duration::from_secs(15), blocks).await.is_err();
            assert!(!forgotten, "the gateway keeps a connection that nobody reads");
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_too_slowly_are_given_up() {
    let open = Arc::<AtomicUsize>::default();
    let backend = endless(&open).await;
    let gate = gate(&backend, "body_idle_timeout = \"60s\"\nmin_body_rate = \"1MiB/s\"");
    let began = clock::now();
    let one = async |_| {
        let mut client = Client::connect_narrow(gate.address()).await;
        client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        // 20 KiB a second, never still: only a rate can tell.
        while client.exactly(2 * 1024).await.is_some() {
            assert!(began.elapsed() < Duration::from_secs(30), "still served");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let clients = join_all((0..20).map(one));
    let served = async {
        eventually("all are served", || open.load(Ordering::SeqCst) == 20).await;
        eventually("the backend is left alone", || open.load(Ordering::SeqCst) == 0).await;
    };
    tokio::join!(clients, served);
    assert!(began.elapsed() > Duration::from_secs(4), "the first five seconds are free");
    nothing_is_left(&gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_whose_client_does_not_read_are_given_up_one_by_one() {
    let open = Arc::<AtomicUsize>::default();
    let backend = endless(&open).await;
    let gate = gate(&backend, "body_idle_timeout = \"700ms\"");
    let address = gate.address();
    let head =
        |path: &[u8]| block(&[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)]);
    let mut frames = tokio::task::spawn_blocking(move || {
        let mut frames = Frames::connect(address);
        // SETTINGS_INITIAL_WINDOW_SIZE: nothing may be sent before the client says so.
        frames.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
        for number in 0..40 {
            frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head(b"/")));
        }
        frames
    })
    .await
    .unwrap();
    eventually("all are under way", || open.load(Ordering::SeqCst) == 40).await;
    eventually("the backend is left alone", || open.load(Ordering::SeqCst) == 0).await;
    nothing_is_left(&gate).await;
    let later = tokio::task::spawn_blocking(move || {
        let window = 1000u32.to_be_bytes();
        frames.send(&frame(WINDOW_UPDATE, 0, 1, &window));
        let gone = |frame: &Frame| frame.kind == RST_STREAM && frame.stream == 1;
        while !gone(&frames.next().expect("it hears that the answer is gone")) {}
        // The connection is as good as before.
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1001, &head(b"/short")));
        frames.send(&frame(WINDOW_UPDATE, 0, 1001, &window));
        frames.finish(1001)
    });
    assert_eq!(later.await.unwrap(), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifteen_hundred_aborts_at_once_leave_nothing_behind() {
    let open = Arc::<AtomicUsize>::default();
    let count = open.clone();
    let backend = Backend::start(move |mut peer: Peer| {
        let open = count.clone();
        async move {
            peer.request_head().await;
            open.fetch_add(1, Ordering::SeqCst);
            peer.ended().await;
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let gate = gate(&backend, "");
    let count = many(1500, 4);
    let one = async |number: usize| {
        let mut client = Client::connect(gate.address()).await;
        let request = match number % 2 {
            0 => "GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
            _ => "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 10\r\n\r\nhalf",
        };
        client.send(request).await;
        client
    };
    let clients = join_all((0..count).map(one)).await;
    eventually("every request is at the backend", || open.load(Ordering::SeqCst) == count).await;
    assert_eq!(sum(&gate, "tollgate_requests_in_flight", &[]).await, count as f64);
    let left = clock::now();
    for (number, client) in clients.into_iter().enumerate() {
        match number % 3 {
            0 => client.reset(),
            _ => drop(client),
        }
    }
    eventually("the backend is left alone", || open.load(Ordering::SeqCst) == 0).await;
    assert!(left.elapsed() < Duration::from_secs(5), "after {:?}", left.elapsed());
    nothing_is_left(&gate).await;
    eventually_async("no connection is counted", async || sum(&gate, "tollgate_connections", &[]).await == 0.0).await;
}
