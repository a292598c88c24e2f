//! The way back of a connection: with the last byte of a response's body it waits for its next request.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::bound::Bound;
use super::connection::{Connection, Flow};
use super::endpoint::Ticket;
use crate::base::body::{Cause, Meter, Source};
use crate::base::clock;

/// A response's body. Brings the connection back when it has ended, whole.
pub struct Checkin {
    /// Whose connection it is.
    pub upstream: Arc<Bound>,
    /// The place that the request has, until then.
    pub ticket: Ticket,
    /// The body.
    pub flow: Flow,
    /// Whose turn the connection is.
    pub worker: usize,
    /// The body of the request.
    pub body_in: Option<Arc<Meter>>,
    /// When the body had come, if that is known already.
    pub whole: Option<Instant>,
}

impl Source for Checkin {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        self.flow.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.flow.size_hint()
    }

    fn is_framed(&self) -> bool {
        self.flow.is_framed()
    }

    fn release(self: Box<Self>) {
        if let Some(connection) = self.flow.finish() {
            let since = self.whole.unwrap_or_else(clock::now);
            give_back(&self.upstream, &self.ticket, connection, (self.worker, self.body_in.as_deref()), since);
        }
    }
}

/// Keeps a connection that has carried a response whole. A request that was answered before it was sent leaves it in the
/// middle of a message, though.
pub fn give_back(
    upstream: &Bound,
    ticket: &Ticket,
    connection: Connection,
    (worker, body_in): (usize, Option<&Meter>),
    since: Instant,
) {
    if body_in.is_none_or(Meter::is_done) {
        ticket.endpoint().keep_idle(worker, connection, upstream.idle_per_worker, since);
    }
}
