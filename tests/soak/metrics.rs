//! Metrics of a great many things, and of a great many strangers. `--release`, or the times mean nothing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tollgate::base::tasks;
use tollgate::lab::hello;

use crate::support::steady::Steady;
use crate::support::strangers::Strangers;
use crate::support::{Client, Gate, ask};

/// Routes, each with an upstream of its own, and addresses of each.
const ROUTES: usize = 500;
const ADDRESSES: usize = 50;
/// How long each round takes.
const PERIOD: Duration = Duration::from_secs(5);
/// What a scrape may take, in the median: one in a while waits for whatever else the machine does.
const MOST: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: just soak"]
async fn a_million_strangers_make_no_more_series_than_were_promised() {
    let strangers = Strangers::let_in(1_000_000, 16).await;
    println!("{strangers:?}");
    assert!(strangers.series <= strangers.promised, "{strangers:?}");
    let (early, late) = strangers.memory;
    assert!(late < early + (8 << 20), "{strangers:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, so the machine must have nothing else to do: just soak"]
async fn a_scrape_of_many_routes_and_addresses_is_quick_and_in_nobodys_way() {
    let backend = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = backend.local_addr().unwrap().port();
    let _serving = tasks::spawn(hello::serve(backend, "app".to_owned(), std::future::pending()));
    let gate = Gate::start(&configuration(port));
    let mut client = Client::connect(gate.address()).await;
    for route in 0..ROUTES {
        assert_eq!(client.get(&format!("/r{route}/")).await.status(), 200);
    }
    let load = Steady::start(gate.address(), "/r0/", 16, 2000);
    let (mut alone, mut scraped, mut took) = (Vec::new(), Vec::new(), Vec::new());
    // Without and with scrapes, in turn, so that what else the machine does falls on both.
    for round in 0..8 {
        load.part();
        let until = Instant::now() + PERIOD;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if round % 2 == 1 {
                took.push(scrape(&gate).await);
            }
        }
        let part = load.part();
        assert_eq!(part.bad, 0, "{:?}", part.faults);
        if round % 2 == 1 { &mut scraped } else { &mut alone }.push(part.quantile(0.99));
    }
    load.stop().await;
    took.sort_unstable();
    println!("{} scrapes of {} bytes: {:?} to {:?}", took.len(), took[0].1, took[0].0, took[took.len() - 1].0);
    println!("median {:?}; p99 of requests {alone:?} without, {scraped:?} with two a second", median(&took).0);
    assert!(median(&took).0 < MOST);
    alone.sort_unstable();
    scraped.sort_unstable();
    assert!(median(&scraped) < median(&alone) * 3 / 2 + Duration::from_millis(1), "{alone:?} {scraped:?}");
}

fn median<T: Copy>(sorted: &[T]) -> T {
    sorted[sorted.len() / 2]
}

/// How long the page took that an idle operator would see, and its size.
async fn scrape(gate: &Gate) -> (Duration, usize) {
    let began = Instant::now();
    let answer = ask(gate.admin(), "GET /metrics HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let took = began.elapsed();
    assert_eq!(answer.status(), 200);
    (took, answer.content.bytes.len())
}

fn configuration(port: u16) -> String {
    let mut text = String::new();
    for route in 0..ROUTES {
        let address = |number: usize| format!("'127.{}.{}.{}:{port}'", 1 + route / 250, 1 + route % 250, 1 + number);
        let list: Vec<String> = (0..ADDRESSES).map(address).collect();
        writeln!(text, "[upstreams.u{route}]\naddresses = [{}]", list.join(", ")).unwrap();
        writeln!(text, "[[routes]]\nname = 'r{route}'\nprefix = '/r{route}'\nupstream = 'u{route}'").unwrap();
        writeln!(text, "strip_prefix = true").unwrap();
    }
    text
}
