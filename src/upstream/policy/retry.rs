//! What is tried again, checked: `[upstreams.NAME.retry]`.

use std::time::Duration;

/// What is tried again: `[upstreams.NAME.retry]`, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries beyond the first, each on another address.
    pub attempts: u32,
    /// How many retries the upstream bears.
    pub allowance: Allowance,
    /// The failures that are tried again.
    pub on: Vec<Condition>,
    /// Time to the response head, per try; zero means none. A try that takes longer is tried again.
    pub per_try_timeout: Duration,
}

/// A failure that may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// No connection: nothing was sent.
    Connect,
    /// The connection broke before the response head, or what came is not HTTP.
    Reset,
    /// No response head within `response_timeout`.
    Timeout,
    /// A response with this status.
    Status(u16),
}

/// How many retries an upstream bears: the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Retries per request.
    pub share: f64,
    /// Retries a second that are allowed however few requests there are.
    pub min_per_second: u32,
}

impl RetryPolicy {
    /// Whether a response with this status is a failure.
    pub fn takes_status(&self, status: u16) -> bool {
        status >= 400 && self.on.contains(&Condition::Status(status))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let statuses = [502, 503, 504].map(Condition::Status);
        Self {
            attempts: 2,
            allowance: Allowance { share: 0.2, min_per_second: 10 },
            on: [Condition::Connect, Condition::Reset].into_iter().chain(statuses).collect(),
            per_try_timeout: Duration::ZERO,
        }
    }
}
