//! The cache over real sockets: what is answered from it, and what never is.

mod authorized;
mod broken;
mod collapsing;
mod large;
mod memory;
mod poisoning;
mod purging;
mod serving;
mod shared;
mod stale;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::backend::Seen;
use crate::support::client::Answer;
use crate::support::{Backend, Gate, ask};

/// A response with these fields, each with its line end, and this body.
fn response(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len())
}

/// A backend that answers with these fields, and with the number of the request as its body.
async fn counting(fields: &'static str) -> Backend {
    replying(move |_, number| response(fields, &number.to_string())).await
}

/// A backend that answers with what `reply` makes of each request and its number, from 1.
async fn replying(reply: impl Fn(&Seen, usize) -> String + Send + Sync + 'static) -> Backend {
    let count = Arc::new(AtomicUsize::new(0));
    Backend::replying(move |seen| reply(seen, count.fetch_add(1, Ordering::SeqCst) + 1)).await
}

/// A gateway with this value of its only route's `cache`.
fn gate(backend: &Backend, cache: &str) -> Gate {
    Gate::before(backend, &format!("cache = {cache}\n"))
}

/// A GET with these fields, each with its line end.
async fn get_with(gate: &Gate, target: &str, fields: &str) -> Answer {
    send(gate, "GET", target, fields).await
}

/// The same by another method.
async fn send(gate: &Gate, method: &str, target: &str, fields: &str) -> Answer {
    ask(gate.address(), format!("{method} {target} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await
}

/// What `Cache-Status` says, without the time.
fn status(answer: &Answer) -> String {
    let text = answer.head.get("cache-status").unwrap_or("none");
    text.split("; ttl=").next().unwrap_or_default().to_owned()
}
