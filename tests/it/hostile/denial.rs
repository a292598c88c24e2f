//! Clients that want the gateway to run out of something: each must end by a limit, leave nothing behind, and not keep
//! others from being served.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tollgate::base::clock;

use crate::support::frames::{CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, block, frame};
use crate::support::raw::{Recorder, responses, talk};
use crate::support::{Gate, eventually};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn serves(gate: SocketAddr) -> bool {
    responses(&talk(gate, REQUEST, 1), false).is_some_and(|all| all.len() == 1 && all[0].status == 200)
}

fn gateway(server: &str, backend: SocketAddr) -> Gate {
    Gate::start(&format!(
        "[server]\nworkers = 1\nshutdown_grace = \"1s\"\n{server}\n\
         [[routes]]\nname = \"all\"\nprefix = \"/\"\nupstream = \"http://{backend}\""
    ))
}

/// The sum of a metric's samples that have all these labels.
fn metric(admin: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains(name), "no {name} in {page}");
    let lines = page.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A backend that takes requests and never answers.
struct Silent {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Silent {
    fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        std::thread::spawn(move || {
            for mut stream in socket.incoming().map_while(Result::ok) {
                let count = count.clone();
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    if stream.read(&mut bytes).unwrap_or(0) > 0 {
                        count.fetch_add(1, Ordering::Relaxed);
                        while stream.read(&mut bytes).unwrap_or(0) > 0 {}
                        count.fetch_sub(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { address, open }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

#[test]
fn heads_that_never_end_are_ended() {
    let backend = Recorder::start();
    let gate = gateway("header_read_timeout = \"500ms\"", backend.address);
    let began = clock::now();
    let mut dripping: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(gate.address()).unwrap()).collect();
    for stream in &mut dripping {
        stream.write_all(b"GET /").unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    let mut rounds = 0;
    while let Some(first) = dripping.first() {
        assert!(began.elapsed() < Duration::from_secs(20), "{} heads are still waited for", dripping.len());
        first.set_nonblocking(false).unwrap();
        first.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let _ = (&*first).read(&mut [0]); // the pace
        first.set_nonblocking(true).unwrap();
        dripping.retain_mut(|stream| {
            let _ = stream.write(b"x");
            matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        rounds += 1;
    }
    assert!(rounds > 1 && began.elapsed() >= Duration::from_millis(500), "ended before the time was over");
    assert!(serves(gate.address()));
    assert_eq!(backend.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_aborts_leave_nothing_behind() {
    let backend = Silent::start();
    let gate = gateway("", backend.address);
    for _ in 0..4 {
        let clients: Vec<TcpStream> = (0..250)
            .map(|_| {
                let mut stream = TcpStream::connect(gate.address()).unwrap();
                stream.write_all(REQUEST).unwrap();
                stream
            })
            .collect();
        eventually("every request is at the backend", || backend.open() == 250).await;
        assert_eq!(metric(gate.admin(), "tollgate_requests_in_flight{", &["all"]), 250.0);
        drop(clients);
        eventually("the backend is left alone", || backend.open() == 0).await;
    }
    eventually("nothing is in flight", || metric(gate.admin(), "tollgate_requests_in_flight{", &["all"]) == 0.0).await;
    eventually("no connection is counted", || metric(gate.admin(), "tollgate_connections{", &[]) == 0.0).await;
    eventually("no connection is busy", || metric(gate.admin(), "tollgate_upstream_connections{", &["busy"]) == 0.0)
        .await;
}

fn sound_head() -> Vec<u8> {
    block(&[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/x")])
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_reset_streams_leave_nothing_behind() {
    let backend = Silent::start();
    let gate = gateway("", backend.address);
    let head = sound_head();
    let (mut reset, mut connections) = (0, 0);
    while reset < 10_000 {
        let mut frames = Frames::connect(gate.address());
        connections += 1;
        assert!(connections <= 5_000, "connections end before they begin");
        let mut id = 1;
        while reset < 10_000 {
            let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, id, &head);
            bytes.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
            if !frames.send(&bytes) {
                break;
            }
            reset += 1;
            id += 2;
        }
    }
    eventually("the backend is left alone", || backend.open() == 0).await;
    eventually("nothing is in flight", || metric(gate.admin(), "tollgate_requests_in_flight{", &[]) == 0.0).await;
    eventually("no connection is counted", || metric(gate.admin(), "tollgate_connections{", &[]) == 0.0).await;
}

#[test]
fn a_head_of_endless_continuations_is_ended() {
    let backend = Recorder::start();
    let gate = gateway("", backend.address);
    let mut frames = Frames::connect(gate.address());
    frames.send(&frame(HEADERS, END_STREAM, 1, &sound_head()));
    let more = block(&[(b"x-a", &[b'b'; 16_000])]);
    let sent = (0..5_000).take_while(|_| frames.send(&frame(CONTINUATION, 0, 1, &more))).count();
    assert!(sent < 5_000, "80 MB of one head were taken");
    assert!(serves(gate.address()));
    assert_eq!(backend.take().len(), 1);
}

#[test]
fn a_flood_of_empty_continuations_is_ended() {
    let backend = Recorder::start();
    let gate = gateway("", backend.address);
    let mut frames = Frames::connect(gate.address());
    frames.send(&frame(HEADERS, END_STREAM, 1, &sound_head()));
    let sent = (0..200_000).take_while(|_| frames.send(&frame(CONTINUATION, 0, 1, &[]))).count();
    assert!(sent < 200_000, "200,000 frames of one head were taken");
    assert!(serves(gate.address()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_given_up() {
    const LENGTH: usize = 32 * 1024 * 1024;
    static ANSWER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + LENGTH, b'x');
        answer
    });
    let backend = Recorder::answering(&ANSWER);
    let gate = gateway("body_idle_timeout = \"300ms\"", backend.address);
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("it is in flight", || metric(gate.admin(), "tollgate_requests_in_flight{", &["all"]) == 1.0).await;
    eventually("nothing is in flight", || metric(gate.admin(), "tollgate_requests_in_flight{", &["all"]) == 0.0).await;
    eventually("no connection is counted", || metric(gate.admin(), "tollgate_connections{", &[]) == 0.0).await;
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!((1..LENGTH).contains(&got.len()), "{} bytes", got.len());
}
