//! What a limit costs a request that passes, and what ten million invented keys cost the gateway.
//! `cargo bench --bench rate_limit` prints both; docs/benchmarks.md has the figures.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that shows figures")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate::base::body::RequestBody;
use tollgate::base::client::Client;
use tollgate::base::clock;
use tollgate::base::exchange::{Exchange, Origin};
use tollgate::base::request::Request;
use tollgate::config::load;
use tollgate::layers::gate::Gate;
use tollgate::layers::rate_limit::answer;
use tollgate::layers::rate_limit::limit::{Bound, Limit};
use tollgate::layers::rate_limit::memory::Memories;
use tollgate::layers::rate_limit::{RateLimit, Standing};
use tollgate::telemetry::recorder::Recorder;

/// Checks in one batch, and batches of which the best counts.
const CHECKS: u32 = 200_000;
const BATCHES: usize = 9;

/// The gate of these limits, in the words of a configuration.
fn gate(limits: &str) -> (RateLimit, Vec<Arc<Limit>>) {
    let config = load::from_text(limits).unwrap().config;
    let memories = Memories::default();
    let limits: Vec<_> = config.rate_limits.iter().map(|policy| Limit::start(policy, &memories, None)).collect();
    let bounds = limits.iter().map(|limit| Bound::new(limit.clone(), 1, "app")).collect();
    let (standing, recorder) = (Standing::Early { alone: true }, Arc::new(Recorder::default()));
    (RateLimit::new(bounds, standing, &"app".into(), &recorder, &Arc::default()), limits)
}

fn request(client: u32) -> Request {
    let (mut head, ()) = http::Request::new(()).into_parts();
    for (name, value) in [("host", "bench"), ("accept", "*/*"), ("x-api-key", "0123456789abcdef")] {
        head.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let peer = IpAddr::from(Ipv4Addr::from_bits(client));
    let origin = Origin { peer: (peer, 1).into(), trusted: false, scheme: "http", worker: 0 };
    let busy = Client::new(peer, Vec::new()).begin(false);
    let exchange = Box::new(Exchange::new(origin, busy, clock::now(), &head));
    Request { head: Box::new(head), body: RequestBody::EMPTY, exchange }
}

/// Nanoseconds for one round of `work`, the least of some batches.
fn nanos(mut work: impl FnMut(u32)) -> f64 {
    let batch = |work: &mut dyn FnMut(u32)| {
        let begun = Instant::now();
        (0..CHECKS).for_each(work);
        begun.elapsed().as_nanos() as f64 / f64::from(CHECKS)
    };
    (0..BATCHES).map(|_| batch(&mut work)).fold(f64::INFINITY, f64::min)
}

/// Fields as an upstream's, beside which others go.
fn response() -> HeaderMap {
    let fields = [("content-type", "text/plain"), ("date", "Thu, 01 Jan 2026 00:00:00 GMT")];
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.into_iter().map(field).collect()
}

/// What the gate costs one request of `clients` in turn: alone, and with the fields of its response.
fn cost(name: &str, limits: &str, clients: u32) {
    let (gate, _) = gate(limits);
    let mut request = request(1);
    let within = nanos(|number| {
        request.exchange.client = IpAddr::from(Ipv4Addr::from_bits(number % clients));
        black_box(gate.check(&mut request)).unwrap();
        request.exchange.met.clear();
    });
    // What the loop around it costs is taken off.
    let around = nanos(|number| {
        request.exchange.client = IpAddr::from(Ipv4Addr::from_bits(number % clients));
        black_box(&mut request);
    });
    // A response each time, since fields that are there already cost more; what making it costs is taken off.
    let (fields, mut answer) = (response(), HeaderMap::new());
    let both = nanos(|number| {
        request.exchange.client = IpAddr::from(Ipv4Addr::from_bits(number % clients));
        black_box(gate.check(&mut request)).unwrap();
        answer = fields.clone();
        answer::tell(&request.exchange.met, &mut answer);
        request.exchange.met.clear();
        black_box(&mut answer);
    });
    let renewed = nanos(|_| {
        answer = fields.clone();
        black_box(&mut answer);
    });
    println!("| {name} | {:.0} | {:.0} |", within - around, both - around - renewed);
}

/// Kilobytes of memory that are resident.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Ten million strangers, and one client among them that asks for what it may: one every ten milliseconds, or ten in all.
fn strangers(rate: &str, steady: bool) {
    const STRANGERS: u32 = 10_000_000;
    let (gate, limits) = gate(&format!("[rate_limits.a]\nrate = \"{rate}\"\nburst = 10\nheaders = \"off\"\n"));
    let (mut request, mut at_first, mut passed) = (request(1), 0, 0);
    let (mut own, mut refused, begun) = (0_u32, 0_u32, Instant::now());
    let client = IpAddr::from([10, 0, 0, 1]);
    for number in 0..STRANGERS {
        request.exchange.client = IpAddr::from(Ipv4Addr::from_bits(0x4000_0000 + number));
        request.exchange.started = clock::now();
        passed += u32::from(gate.check(&mut request).is_ok());
        if number == 1_000_000 {
            at_first = resident();
        }
        let due = if steady { begun.elapsed().as_millis() / 10 } else { u128::from(number / 1_000_000 + 1) };
        if own < u32::try_from(due).unwrap() {
            own += 1;
            request.exchange.client = client;
            refused += u32::from(gate.check(&mut request).is_err());
        }
    }
    let status = limits[0].status();
    println!(
        "{STRANGERS} keys at {rate}: {passed} passed, {} remembered, {} forgotten, {} shared a bucket, in {:.1} s; \
         {} KiB resident after the first million, {} KiB at the end; the client: {refused} of {own} refused",
        status.keys,
        status.evictions,
        status.overflows,
        begun.elapsed().as_secs_f64(),
        at_first,
        resident(),
    );
}

fn main() {
    // Under a test runner there is nothing to be measured.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let limit = |name: &str, keys: &str| format!("[rate_limits.{name}]\nrate = \"1000000000/s\"\n{keys}\n");
    println!("| a request that passes | check, ns | with the fields of its response, ns |\n|---|---|---|");
    cost("by ip, one client", &limit("a", ""), 1);
    cost("by ip, 50,000 clients in turn", &limit("a", ""), 50_000);
    cost("by ip, nobody is told", &limit("a", "headers = \"off\""), 1);
    cost("by header", &limit("a", "key = \"header:x-api-key\""), 1);
    cost("all together", &limit("a", "key = \"global\""), 1);
    let three = [limit("a", ""), limit("b", "key = \"header:x-api-key\""), limit("c", "key = \"global\"")].concat();
    cost("those three together", &three, 1);
    println!("\n{} KiB resident before", resident());
    strangers("100/s", true);
    strangers("100/h", false);
}
