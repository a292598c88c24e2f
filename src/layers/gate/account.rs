//! What a gate says, as it is told to a client that may hear of it. Off the way of all other requests.

use super::{Gate, Verdict};
use crate::base::request::Request;

/// Tells what the gate goes by, and remembers what was said before it.
#[cold]
pub(super) fn ask<G: Gate>(gate: &G, request: &mut Request) {
    gate.tell(request);
    let exchange = &mut request.exchange;
    if let Some(account) = &mut exchange.account {
        account.ask(exchange.answer.cause.as_deref());
    }
}

/// Tells what it has said, once it is known.
pub(super) fn hear<G: Gate>(request: &mut Request, verdict: &Verdict<G::Pass>) {
    let exchange = &mut request.exchange;
    let (Some(layer), Some(account)) = (G::NAME, &mut exchange.account) else { return };
    let cause = exchange.answer.cause.as_deref();
    match verdict {
        Verdict::Pass(_) => account.hear(layer, "pass", cause),
        Verdict::Refuse(_) => account.hear(layer, "refuse", cause),
        Verdict::Answer(_) => account.hear(layer, "answer", cause),
        Verdict::Wait(_) | Verdict::Ask(_) => {}
    }
}
