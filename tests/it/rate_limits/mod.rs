//! How much may pass, over real sockets: by whom it is counted, what clients are told, several limits together, and over
//! several gateways with a real Redis.

mod answers;
mod encrypted;
mod keys;
mod latency;
mod memory;
mod model;
mod outages;
mod reload;
mod shared;
mod together;
mod topologies;

use crate::support::client::Answer;
use crate::support::{Backend, Client, Gate, OK, ask};

/// A gateway with one route, whose `rate_limit` has this value; `tables` are those of the limits and whatever else.
async fn gate(rate_limit: &str, tables: &str) -> (Gate, Backend) {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, &format!("rate_limit = {rate_limit}\n{tables}"));
    (gate, backend)
}

/// A request with these fields, each with its line end.
async fn with(gate: &Gate, fields: &str) -> Answer {
    ask(gate.address(), format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await
}

/// How many of so many requests with these fields pass; the others are refused by a limit.
async fn passing(gate: &Gate, requests: usize, fields: &str) -> usize {
    let mut client = Client::connect(gate.address()).await;
    let mut passed = 0;
    for _ in 0..requests {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await;
        match answer.status() {
            200 => passed += 1,
            _ => assert_eq!(answer.refusal(), (429, "rate_limited".to_owned())),
        }
    }
    passed
}

/// A gateway's own account of its limits.
async fn status(gate: &Gate) -> serde_json::Value {
    let page = crate::support::get(gate.admin(), "/api/v1/status").await.text();
    serde_json::from_str(&page).unwrap()
}
