//! How long a try may take to its response head. One timer for both limits, armed only when there is something to wait
//! for, and no time is charged while the client is still sending: a slow upload is not a slow upstream.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::body::Meter;
use crate::base::clock;
use crate::base::exchange::Exchange;
use crate::base::reject::{Reason, Reject};

/// The limits of one try.
#[derive(Debug)]
pub struct Limit {
    deadline: Option<Instant>,
    /// The try's own limit, and since when it counts.
    response: Option<(Instant, Duration)>,
    /// When the request began, and its body.
    upload: Option<(Instant, Arc<Meter>)>,
}

/// Which limit ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The route's, over all tries.
    Deadline,
    /// That of this try.
    Response,
}

impl Limit {
    /// The limits of a try that has this time from then on, where it has any of its own.
    pub fn new(exchange: &Exchange, response: Option<(Instant, Duration)>) -> Self {
        Self {
            deadline: exchange.deadline,
            response,
            upload: exchange.body_in.as_ref().map(|meter| (exchange.started, meter.clone())),
        }
    }

    /// When the try is late, as far as is known now. While the client keeps everybody waiting, no time passes.
    pub fn due(&self, now: Instant) -> Option<(Instant, Late)> {
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

    /// Waits for `work`, but not beyond the limits.
    ///
    /// # Errors
    /// The limit that ran out.
    pub async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Late> {
        let mut work = pin!(work);
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
