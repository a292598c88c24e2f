//! The way back of a connection: with the last byte of a response's body it waits for its next request.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::bound::Bound;
use super::connection::{Connection, Flow};
use super::endpoint::Ticket;
use crate::base::body::{Cause, Meter, ResponseBody, Source};
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
}

impl Checkin {
    /// The body as it goes to the client, for at most `idle` without a byte. Where all of it came with the head, as that
    /// of most small responses does, the connection goes back at once and nothing has to be kept for it. `heard` is when
    /// the head came.
    pub fn into_body(mut self, heard: Instant, idle: impl FnOnce() -> Duration) -> ResponseBody {
        match self.flow.whole() {
            None => ResponseBody::stream(Box::new(self), idle()),
            Some(data) => {
                self.leave(heard);
                if data.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(data) }
            }
        }
    }

    fn leave(self, since: Instant) {
        if let Some(connection) = self.flow.finish() {
            give_back(&self.upstream, &self.ticket, connection, (self.worker, self.body_in.as_deref()), since);
        }
    }
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
        self.leave(clock::now());
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
