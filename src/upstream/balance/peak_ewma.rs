//! `peak_ewma`: of two drawn at random, the one that answers sooner and is less busy. The time to the response head is
//! averaged with exponential decay, but a slower answer than the average counts at once and in full: an address that
//! becomes slow is left at the first sign of it, and found again as the memory of it fades.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::upstream::endpoint::Endpoint;
use crate::upstream::metrics::Outcome;

/// After this time what was measured counts for 1/e.
const DECAY: Duration = Duration::from_secs(10);
/// A failure counts as an answer that took this long: whoever fails fast must not look fast.
const PENALTY: f64 = 1.0;
/// A memory below this, in seconds, is none.
const FORGOTTEN: f64 = 1e-6;
/// How much of the other's cost is worth a change: smaller differences are noise, and then the weights decide.
const CLEARLY: f64 = 0.75;

/// How soon an address answers, by memory. Without locks: two tries that end at the same moment may lose a little of
/// one of them.
#[derive(Debug)]
pub struct Latency {
    epoch: Instant,
    /// When the average was true, in microseconds since the epoch.
    at: AtomicU64,
    /// The average in seconds, as the bits of an `f64`; none is 0.
    seconds: AtomicU64,
}

impl Latency {
    /// Nothing known.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, at: AtomicU64::new(0), seconds: AtomicU64::new(0) }
    }

    /// What an answer is expected to take, in seconds; 0 where nothing is known or remembered.
    pub fn expected(&self, now: Instant) -> f64 {
        let idle = self.since(now).saturating_sub(self.at.load(Ordering::Relaxed));
        let expected = f64::from_bits(self.seconds.load(Ordering::Relaxed)) * kept(idle);
        if expected < FORGOTTEN { 0.0 } else { expected }
    }

    /// Takes in how a try ended. That the client left says something only where it had waited longer than expected.
    pub fn tried(&self, outcome: Outcome, took: Option<Duration>, now: Instant) {
        let took = took.map(|took| took.as_secs_f64());
        let expected = self.expected(now);
        match outcome {
            Outcome::Canceled => took.filter(|took| *took > expected).into_iter().for_each(|took| self.add(took, now)),
            Outcome::Status(500 | 502..=504)
            | Outcome::Connect
            | Outcome::Reset
            | Outcome::Timeout
            | Outcome::Protocol => self.add(took.unwrap_or_default().max(PENALTY).max(expected), now),
            Outcome::Status(_) => took.into_iter().for_each(|took| self.add(took, now)),
        }
    }

    /// Knows nothing any more: who was out of service may be another by now.
    pub fn forget(&self) {
        self.seconds.store(0, Ordering::Relaxed);
    }

    fn add(&self, seconds: f64, now: Instant) {
        let at = self.since(now);
        let before = self.at.fetch_max(at, Ordering::Relaxed);
        let weight = kept(at.saturating_sub(before));
        let _ = self.seconds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            let old = f64::from_bits(bits);
            let known = old > 0.0;
            let new = if seconds > old || !known { seconds } else { old * weight + seconds * (1.0 - weight) };
            Some(new.to_bits())
        });
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }
}

/// How much of a memory is left after so many microseconds.
fn kept(micros: u64) -> f64 {
    (-(micros as f64) / 1e6 / DECAY.as_secs_f64()).exp()
}

/// Whether `other` would answer clearly sooner than `first`.
pub(super) fn is_quicker(other: &Endpoint, first: &Endpoint, now: Instant) -> bool {
    let idle = other.in_flight() == 0 && first.in_flight() == 0;
    let cost = |endpoint: &Endpoint| {
        let waiting = endpoint.in_flight() as f64;
        let expected = match endpoint.latency.expected(now) {
            // One request finds out; until it has, nothing is known to be quick.
            0.0 if waiting > 0.0 => PENALTY,
            expected => expected,
        };
        // While both are idle `first` stays unless it is slower: it was drawn by weight.
        if idle { expected } else { expected * (waiting + 1.0) / f64::from(endpoint.weight()) }
    };
    cost(other) < cost(first) * CLEARLY
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use super::*;
    use crate::base::clock;
    use crate::upstream::policy::Balance;

    const OK: Outcome = Outcome::Status(200);
    const MILLI: Duration = Duration::from_millis(1);

    /// Measures all endpoints a few times: this many milliseconds each.
    fn measured(trial: &Trial, millis: &[u32]) {
        for (at, &millis) in millis.iter().enumerate() {
            (0..5).for_each(|_| trial.endpoint(at).latency.tried(OK, Some(MILLI * millis), trial.now()));
        }
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let t = clock::now();
        let latency = Latency::new(t);
        assert_eq!(latency.expected(t), 0.0);
        latency.tried(OK, Some(MILLI), t);
        latency.tried(OK, Some(MILLI * 200), t);
        assert!((latency.expected(t) - 0.2).abs() < 1e-9);
        latency.tried(OK, Some(MILLI), t);
        assert!((latency.expected(t) - 0.2).abs() < 1e-9, "no time has passed");
        let later = t + DECAY;
        assert!((latency.expected(later) - 0.2 / std::f64::consts::E).abs() < 1e-9);
        latency.tried(OK, Some(MILLI), later);
        assert!(
            (latency.expected(later) - (0.2 / std::f64::consts::E + 0.001 * (1.0 - 1.0 / std::f64::consts::E))).abs()
                < 1e-9
        );
        assert_eq!(latency.expected(later + DECAY * 20), 0.0, "forgotten");
        latency.tried(OK, Some(MILLI), t);
        assert!(latency.expected(later) > 0.0, "what ended earlier does not turn the time back");
    }

    #[test]
    fn failures_are_slow_however_fast_they_come() {
        let t = clock::now();
        for failure in [Outcome::Connect, Outcome::Reset, Outcome::Timeout, Outcome::Protocol, Outcome::Status(503)] {
            let latency = Latency::new(t);
            latency.tried(failure, Some(MILLI), t);
            assert!(latency.expected(t) >= PENALTY, "{failure:?}");
        }
        let latency = Latency::new(t);
        latency.tried(OK, Some(MILLI * 5000), t);
        latency.tried(Outcome::Timeout, None, t + DECAY / 10);
        assert!(latency.expected(t + DECAY / 10) > 4.5, "a failure never makes it look better");
        let latency = Latency::new(t);
        latency.tried(Outcome::Status(404), Some(MILLI), t);
        latency.tried(Outcome::Canceled, None, t);
        assert!((latency.expected(t) - 0.001).abs() < 1e-9);
        latency.tried(Outcome::Canceled, Some(MILLI * 300), t);
        assert!((latency.expected(t) - 0.3).abs() < 1e-9, "it was at least so slow");
    }

    #[test]
    fn a_slow_one_is_left_while_the_others_share() {
        let trial = Trial::new(Balance::PeakEwma, &[1, 1, 1]);
        measured(&trial, &[101, 1, 1]);
        let counts = trial.counts(3000);
        assert_eq!(counts[0], 0, "{counts:?}");
        assert!(counts[1].abs_diff(1500) < 150, "{counts:?}");
    }

    #[test]
    fn equally_quick_ones_share_by_weight() {
        let trial = Trial::new(Balance::PeakEwma, &[5, 1, 1]);
        measured(&trial, &[10, 11, 9]);
        let counts = trial.counts(7000);
        assert!(counts[0].abs_diff(5000) < 300 && counts[1].abs_diff(1000) < 200, "{counts:?}");
    }

    #[test]
    fn a_busy_one_costs_more_than_its_latency() {
        let trial = Trial::new(Balance::PeakEwma, &[1, 1]);
        measured(&trial, &[10, 15]);
        let busy: Vec<_> = (0..3).map(|_| crate::upstream::endpoint::Ticket::take(trial.endpoint(0))).collect();
        assert_eq!(trial.counts(100), [0, 100]);
        drop(busy);
    }

    #[test]
    fn only_one_request_finds_out_about_an_unknown_one() {
        let trial = Trial::new(Balance::PeakEwma, &[1, 1]);
        trial.endpoint(1).latency.tried(OK, Some(MILLI), trial.now());
        let first = trial.pick(&[], 1).unwrap();
        assert_eq!(first.endpoint().address, trial.endpoint(0).address, "it is unknown, so it is tried");
        assert_eq!(trial.counts(50), [0, 50]);
        drop(first);
    }

    #[test]
    fn many_at_once_lose_no_order_of_magnitude() {
        let latency = Latency::new(clock::now());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2000).for_each(|_| latency.tried(OK, Some(MILLI), clock::now())));
            }
        });
        assert!((0.0005..=0.001_001).contains(&latency.expected(clock::now())), "{latency:?}");
    }
}
