//! Runs the circuit breaker of an upstream: one load where it is closed, a lock for a moment where it is not. Where no
//! `[circuit]` is configured nobody asks it anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::circuit::{Change, Circuit, Permit, Phase, verdict};
use super::metrics::Outcome;
use super::policy::CircuitPolicy;
use crate::base::clock;
use crate::base::reject::{Reason, Reject};

/// In place of a round where the breaker is not closed.
const NOT_CLOSED: u64 = u64::MAX;

/// A breaker that runs. It outlives its policy, which is passed in.
#[derive(Debug, Default)]
pub struct Breaker {
    /// The round of the circuit while it is closed.
    closed: AtomicU64,
    circuit: Mutex<Circuit>,
}

/// What a try was let through as; a probe is over when this is dropped.
#[derive(Debug)]
pub struct Pass {
    round: u64,
    probe: Option<Arc<Breaker>>,
}

impl Breaker {
    /// Lets a try through where that takes no thought.
    pub fn pass(&self) -> Option<Pass> {
        let round = self.closed.load(Ordering::Relaxed);
        (round != NOT_CLOSED).then_some(Pass { round, probe: None })
    }

    /// Lets a try through if it may.
    ///
    /// # Errors
    /// The refusal, with the time after which another attempt is worth it.
    pub fn admit(self: &Arc<Self>) -> Result<Pass, Reject> {
        let admitted = self.change(|circuit| circuit.admit(clock::now()));
        match admitted {
            Ok(Permit { round, is_probe }) => Ok(Pass { round, probe: is_probe.then(|| self.clone()) }),
            Err(left) => Err(Reject::new(Reason::CircuitOpen, "too many requests to the upstream have failed")
                .because("the circuit breaker is open")
                .retry_after(whole_seconds(left))),
        }
    }

    /// Whether a pass that was given a while ago still holds.
    pub fn honours(&self, pass: &Pass) -> bool {
        pass.probe.is_some() || self.closed.load(Ordering::Relaxed) == pass.round
    }

    /// Hears what came of a try.
    pub fn hear(&self, policy: &CircuitPolicy, upstream: &str, pass: &Pass, outcome: Outcome) {
        let Some(good) = verdict(outcome) else { return };
        match self.change(|circuit| circuit.hear(policy, pass.round, good, clock::now())) {
            Some(Change::Opened) => tracing::warn!(upstream, "the circuit breaker opens: too many requests fail"),
            Some(Change::Closed) => tracing::info!(upstream, "the circuit breaker closes: requests pass again"),
            None => {}
        }
    }

    /// What it does now.
    pub fn phase(&self) -> Phase {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner).phase(clock::now())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut circuit);
        self.closed.store(circuit.closed_round().unwrap_or(NOT_CLOSED), Ordering::Relaxed);
        changed
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(breaker) = self.probe.take() {
            breaker.change(|circuit| circuit.give_back(self.round));
        }
    }
}

/// In full seconds, and at least one: a client that comes back earlier comes in vain.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (9999, 10)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[test]
    fn a_probe_that_is_dropped_makes_room_for_another() {
        let policy = CircuitPolicy { min_requests: 1, open_for: Duration::ZERO, ..CircuitPolicy::default() };
        let breaker = Arc::<Breaker>::default();
        let pass = breaker.pass().expect("it is closed");
        breaker.hear(&policy, "u", &pass, Outcome::Canceled);
        assert!(breaker.honours(&pass), "a client that left says nothing about the upstream");
        breaker.hear(&policy, "u", &pass, Outcome::Reset);
        assert!(breaker.pass().is_none() && !breaker.honours(&pass));
        let probes: Vec<_> = std::iter::from_fn(|| breaker.admit().ok()).take(100).collect();
        assert!(probes.len() < 100 && breaker.honours(&probes[0]), "only a few at a time");
        let refused = breaker.admit().unwrap_err();
        assert_eq!(refused.reason, Reason::CircuitOpen);
        drop(probes);
        assert!(breaker.admit().is_ok());
    }
}
