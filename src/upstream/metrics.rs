//! The numbers of one upstream: handles fetched when it is built.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;

use crate::base::clock;
use crate::telemetry::histogram::Histogram;
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response head with this status.
    Status(u16),
    /// No connection.
    Connect,
    /// The connection closed before the response head.
    Reset,
    /// The response head did not come in time.
    Timeout,
    /// What came is not HTTP.
    Protocol,
    /// The client left, or broke its own request.
    Canceled,
}

/// The words for them.
pub const OUTCOMES: [&str; 10] =
    ["1xx", "2xx", "3xx", "4xx", "5xx", "connect", "reset", "timeout", "protocol", "canceled"];

impl Outcome {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        OUTCOMES[self.index()]
    }

    const fn index(self) -> usize {
        match self {
            Self::Status(100..200) => 0,
            Self::Status(200..300) => 1,
            Self::Status(300..400) => 2,
            Self::Status(400..500) => 3,
            Self::Status(_) => 4,
            Self::Connect => 5,
            Self::Reset => 6,
            Self::Timeout => 7,
            Self::Protocol => 8,
            Self::Canceled => 9,
        }
    }
}

/// Why another try is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The connection could not be had.
    Connect,
    /// A connection had been closed while it was idle.
    Stale,
    /// The connection broke before the response head.
    Reset,
    /// The response head did not come in time.
    Timeout,
    /// What came was not HTTP.
    Protocol,
    /// The status is one that is tried again.
    Status,
}

/// The words for them.
pub const RETRIES: [&str; 6] = ["connect", "stale", "reset", "timeout", "protocol", "status"];

impl Retry {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        RETRIES[self as usize]
    }
}

/// Why another try is not made, though the policy wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// The request may have been acted on, and must not be twice.
    Unsafe,
    /// Its body is gone.
    Body,
    /// There is no other address.
    Address,
    /// Its time is over.
    Deadline,
    /// The upstream bears no more.
    Budget,
}

/// The words for them.
pub const SKIPPED: [&str; 5] = ["unsafe", "body", "address", "deadline", "budget"];

/// The numbers of one upstream.
pub struct UpstreamMetrics {
    outcomes: [Counter; OUTCOMES.len()],
    retries: [Counter; RETRIES.len()],
    skipped: [Counter; SKIPPED.len()],
    duration: Arc<Histogram>,
    ejections: Counter,
}

impl std::fmt::Debug for UpstreamMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamMetrics")
    }
}

impl UpstreamMetrics {
    /// Fetches the handles of an upstream.
    pub fn new(upstream: &str, recorder: &Recorder) -> Self {
        Self {
            outcomes: OUTCOMES.map(|outcome| recorder.counter(names::UPSTREAM_REQUESTS, &[upstream, outcome])),
            retries: RETRIES.map(|reason| recorder.counter(names::UPSTREAM_RETRIES, &[upstream, reason])),
            skipped: SKIPPED.map(|reason| recorder.counter(names::UPSTREAM_RETRIES_SKIPPED, &[upstream, reason])),
            duration: recorder.histogram(names::UPSTREAM_DURATION, &[upstream]),
            ejections: recorder.counter(names::UPSTREAM_EJECTIONS, &[upstream]),
        }
    }

    /// A try ended; where a response head came, it took this time.
    pub fn ended(&self, outcome: Outcome, took: Option<Duration>) {
        if let Some(took) = took {
            self.duration.record(took);
        }
        self.outcomes[outcome.index()].increment(1);
    }

    /// A try took this time to its response head, and its trace can be looked up.
    pub fn example(&self, took: Duration, trace: u128) {
        self.duration.example(took, trace, clock::since_1970());
    }

    /// An address was ejected.
    pub fn ejected(&self) {
        self.ejections.increment(1);
    }

    /// Another try follows.
    pub fn retried(&self, reason: Retry) {
        self.retries[reason as usize].increment(1);
    }

    /// Another try was wanted, and is not made.
    pub fn skipped(&self, reason: Skipped) {
        self.skipped[reason as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_label() {
        let recorder = Recorder::default();
        let metrics = UpstreamMetrics::new("u", &recorder);
        metrics.ended(Outcome::Status(404), Some(Duration::ZERO));
        metrics.ended(Outcome::Canceled, None);
        metrics.retried(Retry::Stale);
        metrics.retried(Retry::Status);
        metrics.skipped(Skipped::Budget);
        let page = recorder.render();
        for line in [
            "tollgate_upstream_requests_total{upstream=\"u\",outcome=\"4xx\"} 1",
            "tollgate_upstream_requests_total{upstream=\"u\",outcome=\"canceled\"} 1",
            "tollgate_upstream_retries_total{upstream=\"u\",reason=\"stale\"} 1",
            "tollgate_upstream_retries_total{upstream=\"u\",reason=\"status\"} 1",
            "tollgate_upstream_retries_skipped_total{upstream=\"u\",reason=\"budget\"} 1",
            "tollgate_upstream_duration_seconds_count{upstream=\"u\"} 1",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
