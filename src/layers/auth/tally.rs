//! What came of the credentials that a policy has judged: its name, its kind, its numbers.

use std::sync::Arc;

use metrics::Counter;

use super::failure::{Failure, OK, RESULTS};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// What a policy judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signed tokens.
    Token,
    /// API keys.
    Key,
    /// Names and passwords.
    Password,
    /// The word of a service.
    Service,
}

/// A policy, as far as its answers and numbers need to know it.
pub struct Tally {
    /// Its name.
    pub name: Arc<str>,
    /// What it judges by.
    pub kind: Kind,
    /// Whether what it has judged goes on to the upstream.
    pub forwards: bool,
    results: [Counter; RESULTS.len()],
}

impl Kind {
    /// The results that there can be.
    const fn results(self) -> &'static [&'static str] {
        match self {
            Self::Token => RESULTS.as_slice().split_at(19).0,
            Self::Key => &["ok", "missing", "ambiguous", "malformed", "insufficient_claims", "credentials"],
            Self::Password => {
                &["ok", "missing", "ambiguous", "malformed", "insufficient_claims", "credentials", "overloaded"]
            }
            Self::Service => &["ok", "insufficient_claims", "overloaded", "denied", "unavailable"],
        }
    }
}

impl Tally {
    /// Fetches the numbers of a policy.
    pub fn new(name: &str, kind: Kind, forwards: bool, recorder: &Recorder) -> Self {
        let counter = |result: &str| match kind.results().contains(&result) {
            true => recorder.counter(names::AUTH, &[name, result]),
            false => Counter::noop(),
        };
        Self { name: name.into(), kind, forwards, results: RESULTS.map(counter) }
    }

    /// Counts what came of a request.
    pub fn count(&self, failure: Option<&Failure>) {
        self.results[failure.map_or(OK, Failure::result)].increment(1);
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tally({})", self.name)
    }
}
