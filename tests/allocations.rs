//! How often a forwarded request allocates: on a worker's thread, over real sockets, through every layer that a route
//! has by default, the access log included. The counter is per thread, so client, backend and log writer do not count.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are what one runs this for")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tollgate::base::body::Pace;
use tollgate::base::clock;
use tollgate::base::outbox::Outbox;
use tollgate::base::tasks;
use tollgate::config::load;
use tollgate::layers::access_log::{Form, Lines};
use tollgate::layers::request_id::RequestId;
use tollgate::layers::trace::Tracer;
use tollgate::runtime::Live;
use tollgate::runtime::build::{Tools, build};
use tollgate::serve::Limits;
use tollgate::serve::connection::Service;
use tollgate::telemetry::access_log::Target;
use tollgate::telemetry::names;
use tollgate::telemetry::otlp::{Collector, Exporter, Exports};
use tollgate::telemetry::recorder::Recorder;
use tollgate::upstream;
use tollgate::upstream::balance::Sessions;
use tollgate::upstream::lookup::Lookup;

/// Allocations per request, hyper's own on the client's side included: exactly what is measured. It may go down; it goes up only
/// with a line in CHANGELOG.md.
const BUDGET: u64 = 9;
/// Bytes of them, likewise, with some room for the length of what is logged.
const BYTES: u64 = 1_700;

/// What a trace adds that is not recorded, and one that is.
const TRACEPARENT: u64 = 1;
const RECORDED: u64 = 32;

/// Both for a request that is answered from the cache.
const HIT: (u64, u64) = (14, 3_500);

/// Requests before counting: connections are up, the buffers of the log have grown and come back, counters of this route
/// exist.
const WARM: u64 = 2_000;
/// Requests that are counted.
const COUNTED: u64 = 1000;

const REQUEST: &[u8] =
    b"GET /orders/1?page=2 HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: test\r\naccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";

/// Answers every request of every connection with the same bytes.
fn backend(answer: impl AsRef<[u8]>) -> SocketAddr {
    let answer: Arc<[u8]> = answer.as_ref().into();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            std::thread::spawn(move || while read_to(&mut stream, b"\r\n\r\n") && stream.write_all(&answer).is_ok() {});
        }
    });
    address
}

/// Reads until these bytes have come; false at the end of the stream.
fn read_to(stream: &mut TcpStream, last: &[u8]) -> bool {
    let (mut buffer, mut length) = ([0; 4096], 0);
    while !buffer[..length].ends_with(last) {
        match stream.read(&mut buffer[length..]) {
            Ok(read) if read > 0 => length += read,
            _ => return false,
        }
    }
    true
}

fn ask(client: &mut TcpStream, times: u64) {
    for _ in 0..times {
        client.write_all(REQUEST).unwrap();
        assert!(read_to(client, b"hello"));
    }
}

/// A client in a thread of its own: says when it is warm, waits to be told to go on, hands its connection
/// over when it is done, since the end of it would be one of the gateway's events.
fn client(address: SocketAddr) -> (oneshot::Receiver<()>, oneshot::Sender<()>, oneshot::Receiver<TcpStream>) {
    let (warm, warmed) = oneshot::channel();
    let (count, counting) = oneshot::channel();
    let (finish, finished) = oneshot::channel();
    std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        ask(&mut client, WARM);
        warm.send(()).unwrap();
        counting.blocking_recv().unwrap();
        ask(&mut client, COUNTED);
        finish.send(client).unwrap();
    });
    (warmed, count, finished)
}

/// A worker's service for a configuration of one route, with these further keys.
fn service(backend: SocketAddr, route: &str, control: &tokio::runtime::Runtime, traced: Option<f64>) -> Arc<Service> {
    let text = format!("[[routes]]\nprefix = \"/orders\"\nupstream = \"http://{backend}\"\n{route}");
    let config = load::from_text(&text).unwrap().config;
    let recorder = Arc::new(Recorder::default());
    let dropped = recorder.counter(names::ACCESS_LOG_DROPPED, &[]);
    let tools = Tools {
        lines: Some(Arc::new(Lines::start([1], Target::stream(io::sink()), Form::Json, dropped).unwrap())),
        request_id: Arc::new(RequestId::new([1], (clock::now(), Duration::ZERO))),
        upstream: upstream::Tools {
            control: control.handle().clone(),
            workers: 1,
            recorder: recorder.clone(),
            dns: Arc::new(config.dns.clone()),
            lookup: Arc::new(Lookup::from_policy(&config.dns)),
            sessions: Arc::new(Sessions::new((clock::now(), Duration::ZERO)).unwrap()),
        },
        tracer: traced.map(|share| tracer(share, &recorder, control)),
        recorder,
        local: control.handle().clone(),
        parts: Arc::default(),
    };
    let server = &config.server;
    let limits = Limits {
        trusted: Vec::new(),
        max_headers: server.max_headers,
        max_header_bytes: server.max_header_bytes,
        header_read_timeout: server.header_read_timeout,
        keep_alive_timeout: server.keep_alive_timeout,
        pace: Pace { idle: server.body_idle_timeout, min_rate: server.min_body_rate, grace: Duration::from_secs(5) },
        http2_max_streams: server.http2_max_streams,
    };
    Arc::new(Service::new(Live::new(build(&config, &tools).complete(&tools)), Arc::new(limits), 0))
}

/// Traces of which this share is recorded, for a collector that is not there.
fn tracer(share: f64, recorder: &Recorder, control: &tokio::runtime::Runtime) -> Arc<Tracer> {
    let collector = Collector { url: "http://127.0.0.1:9".to_owned(), headers: Vec::new(), resource: Vec::new() };
    let exporter = Exporter::start(collector, &Exports::new(recorder), control.handle());
    Arc::new(Tracer::new([1], share, false, exporter))
}

/// Allocations of a request through such a route, in hundredths, and their bytes.
fn measured(route: &str, traced: Option<f64>) -> (u64, u64) {
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let service = service(backend(ANSWER), route, &control, traced);
    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (warmed, count, finished) = client(address);
    let (stream, peer) = listener.accept().unwrap();
    let (_draining, drain) = watch::channel(false);
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = {
        let _within = worker.enter();
        tokio::net::TcpStream::from_std(stream).unwrap()
    };
    let outbox = Arc::<Outbox>::default();
    let _emptying = {
        let _within = worker.enter();
        tasks::spawn(outbox.clone().serve())
    };
    let mut serving = Box::pin(service.serve(stream, peer, Vec::new(), Some(outbox), drain));
    worker.block_on(async {
        tokio::select! {
            _ = &mut serving => panic!("the connection ended"),
            told = warmed => told.unwrap(),
        }
    });
    let counted = allocation_counter::measure(|| {
        count.send(()).unwrap();
        worker.block_on(async {
            tokio::select! {
                _ = &mut serving => panic!("the connection ended"),
                told = finished => drop(told.unwrap()),
            }
        });
    });
    (counted.count_total * 100 / COUNTED, counted.bytes_total / COUNTED)
}

/// Bytes that are allocated for a connection and the only request on it, which is answered from the cache with a body of
/// this length.
fn first_hit(length: usize) -> u64 {
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let answer = [head.into_bytes(), vec![b'x'; length]].concat();
    let service = service(backend(answer), "cache = { ttl = \"1h\" }", &control, None);
    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _within = worker.enter();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let outbox = Arc::<Outbox>::default();
    let _emptying = tasks::spawn(outbox.clone().serve());
    let (_draining, drain) = watch::channel(false);
    let once = || {
        let reading = std::thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"GET /orders/1 HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n").unwrap();
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all)
        });
        let (stream, peer) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let (service, outbox, drain) = (service.clone(), outbox.clone(), drain.clone());
        let serving = service.serve(stream, peer, Vec::new(), Some(outbox), drain);
        let counted = allocation_counter::measure(|| drop(worker.block_on(serving)));
        let read = reading.join().unwrap().unwrap();
        assert!(read.ends_with(&vec![b'x'; length]));
        counted.bytes_total
    };
    once();
    once()
}

fn check(what: &str, (hundredths, bytes): (u64, u64), (budget, most): (u64, u64)) {
    println!("{}.{:02} allocations and {bytes} bytes per {what}", hundredths / 100, hundredths % 100);
    // Below one in a request are rare events, such as a timer that is set anew.
    assert!(hundredths / 100 <= budget, "more than {budget} allocations per {what}");
    assert!(bytes <= most, "{bytes} bytes per {what}; the budget is {most}");
}

#[test]
fn a_forwarded_request_stays_within_its_budget() {
    check("forwarded request", measured("", None), (BUDGET, BYTES));
}

#[test]
fn a_trace_that_is_not_recorded_takes_the_field_for_the_upstream() {
    check("request of a trace", measured("", Some(0.0)), (BUDGET + TRACEPARENT, BYTES));
}

#[test]
fn a_trace_that_is_recorded_stays_within_its_budget() {
    check("recorded request", measured("", Some(1.0)), (BUDGET + RECORDED, 3 * BYTES));
}

#[test]
fn a_hit_stays_within_its_budget() {
    check("hit", measured("cache = { ttl = \"1h\" }", None), HIT);
}

#[test]
fn a_large_hit_is_not_copied() {
    let (small, large) = (first_hit(100), first_hit(512 * 1024));
    println!("{small} bytes for a connection and a hit of 100 bytes, {large} for one of 512 KiB");
    // Nowhere to copy it to.
    assert!(large < small + 8 * 1024, "{large} bytes, {small} with a small one");
}
