//! How long a try may take to its response head. One timer for both limits, armed only when there is something to wait
//! for, and no time is charged while the client is still sending: a slow upload is not a slow upstream.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::base::body::Meter;
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::Exchange;
use crate::base::reject::{Reason, Reject};

/// The limits of one try.
#[derive(Debug)]
pub struct Limit {
    began: Instant,
    deadline: Option<Instant>,
    /// The upstream's own limit, and when the try began.
    response: Option<(Instant, Duration)>,
    /// When the request began, and its body.
    upload: Option<(Instant, Arc<Meter>)>,
}

/// Which limit ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The route's, over all tries.
    Deadline,
    /// The upstream's, for this try.
    Response,
}

impl Limit {
    /// The limits of a try that begins now.
    pub fn new(exchange: &Exchange, response_timeout: Duration, now: Instant) -> Self {
        Self {
            began: now,
            deadline: exchange.deadline,
            response: (!response_timeout.is_zero()).then_some((now, response_timeout)),
            upload: exchange.body_in.as_ref().map(|meter| (exchange.started, meter.clone())),
        }
    }

    /// When the try is late, as far as is known now. While the client keeps everybody waiting, no time passes.
    fn due(&self, now: Instant) -> Option<(Instant, Late)> {
        let progress = self.upload.as_ref().map(|(started, meter)| {
            let so_far = if meter.is_waiting() { now.saturating_duration_since(*started) } else { meter.progress() };
            (*started, so_far)
        });
        let deadline =
            self.deadline.map(|due| (due + progress.map_or(Duration::ZERO, |(_, after)| after), Late::Deadline));
        let response = self.response.map(|(began, timeout)| {
            let sent = progress.map_or(began, |(started, after)| began.max(started + after));
            (sent + timeout, Late::Response)
        });
        match (deadline, response) {
            (Some(one), Some(other)) => Some(if one.0 <= other.0 { one } else { other }),
            (one, other) => one.or(other),
        }
    }

    /// Waits for `work`, but not beyond the limits. The connection keeps the time where it can.
    ///
    /// # Errors
    /// The limit that ran out.
    pub async fn wait<T>(&self, client: &Client, work: impl Future<Output = T>) -> Result<T, Late> {
        let mut work = pin!(work);
        if client.is_timed() {
            let mut expecting = Expecting { client, set: false };
            return poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Ok(done)),
                Poll::Pending if expecting.set && !client.has_rung() => Poll::Pending,
                Poll::Pending => self.expect(&mut expecting).map_or(Poll::Pending, |late| Poll::Ready(Err(late))),
            })
            .await;
        }
        loop {
            let Some((due, late)) = self.due(clock::now()) else {
                return Ok(work.await);
            };
            if let Ok(done) = tokio::time::timeout_at(due.into(), work.as_mut()).await {
                return Ok(done);
            }
            // The body may have moved on since the timer was set.
            let now = clock::now();
            if self.due(now).is_none_or(|(due, _)| due <= now) {
                return Err(late);
            }
        }
    }

    /// Has the connection ring when it is time to look again; what is late already is told at once.
    fn expect(&self, expecting: &mut Expecting<'_>) -> Option<Late> {
        // At first nothing can be late, and while nothing is uploaded the time does not matter.
        let first = !expecting.set && self.upload.is_none();
        let now = if first { None } else { Some(clock::now()) };
        let due = self.due(now.unwrap_or(self.began));
        expecting.set = true;
        match (due, now) {
            (Some((due, late)), Some(now)) if due <= now => return Some(late),
            (due, _) => expecting.client.expect_by(due.map(|(due, _)| due)),
        }
        None
    }
}

/// Takes the expectation back when nobody waits any more.
struct Expecting<'a> {
    client: &'a Client,
    set: bool,
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        if self.set {
            self.client.expect_by(None);
        }
    }
}

impl Late {
    /// What the client is told.
    pub fn reject(self) -> Reject {
        match self {
            Self::Deadline => Reject::new(Reason::DeadlineExceeded, "no answer within the time that this route allows"),
            Self::Response => Reject::new(Reason::UpstreamTimeout, "the upstream did not answer in time"),
        }
    }
}
