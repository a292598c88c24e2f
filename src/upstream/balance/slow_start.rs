//! `slow_start`: an address that is new, or back, gets its share little by little.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::Search;
use super::set::Circle;
use crate::upstream::endpoint::Endpoint;

/// The least part of what the warmest gets: without a request nothing ever warms up.
const LEAST: f64 = 0.01;

/// How long the share of an address takes to be whole; zero means none.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowStart(pub(super) Duration);

/// Since when an address takes requests.
#[derive(Debug)]
pub struct Warmth {
    epoch: Instant,
    /// In microseconds since the epoch.
    since: AtomicU64,
}

impl Warmth {
    /// From now on.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, since: AtomicU64::new(0) }
    }

    /// From now on again: it was away.
    pub fn restart(&self, now: Instant) {
        self.since.store(self.micros(now), Ordering::Relaxed);
    }

    /// How long it has taken requests.
    pub fn age(&self, now: Instant) -> Duration {
        Duration::from_micros(self.micros(now).saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }
}

impl SlowStart {
    pub(super) fn is_off(self) -> bool {
        self.0.is_zero()
    }

    /// Whether an address whose turn it is gets it: as often as its part is to the largest part there is, so that
    /// addresses which begin together share evenly from the first request on.
    pub(super) fn admits(self, endpoint: &Endpoint, circle: Circle<'_>, search: Search<'_>, dice: &mut Rng) -> bool {
        if self.is_off() {
            return true;
        }
        // The part of its share that an address gets.
        let part = |endpoint: &Endpoint| endpoint.warmth.age(search.wanted.now).div_duration_f64(self.0).min(1.0);
        let own = part(endpoint);
        if own >= 1.0 {
            return true;
        }
        let others = circle.members.iter().filter(|other| search.allows(other));
        let largest = others.map(|other| part(other)).fold(own, f64::max);
        dice.f64() * largest <= own.max(largest * LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, address};
    use super::*;
    use crate::upstream::policy::{Balance, WeightedAddress};

    const WHOLE: Duration = Duration::from_secs(10);

    /// The share of the last of three, which joined so long after the others, each method for itself.
    fn shares(age: Duration) -> Vec<f64> {
        [Balance::RoundRobin, Balance::Random, Balance::LeastRequest, Balance::PeakEwma]
            .into_iter()
            .map(|method| {
                let mut trial = Trial::starting_slowly(method, &[1, 1], WHOLE);
                trial.advance(WHOLE * 3);
                trial.update(&[1, 2, 3].map(|last| WeightedAddress::new(address(last))));
                trial.advance(age);
                for at in 0..3 {
                    let latency = &trial.endpoint(at).latency;
                    latency.tried(crate::upstream::metrics::Outcome::Status(200), Some(WHOLE / 1000), trial.now());
                }
                trial.counts(6000)[2] as f64 / 6000.0
            })
            .collect()
    }

    #[test]
    fn the_share_of_a_new_one_grows_with_its_age() {
        for (age, expected) in [(0.0, 0.005), (0.25, 0.111), (0.5, 0.2), (1.0, 0.333), (9.0, 0.333)] {
            for share in shares(WHOLE.mul_f64(age)) {
                assert!((share - expected).abs() < 0.04, "{share} at {age}");
            }
        }
    }

    #[test]
    fn those_that_begin_together_share_evenly() {
        let trial = Trial::starting_slowly(Balance::RoundRobin, &[1, 1, 1], WHOLE);
        assert_eq!(trial.counts(300), [100, 100, 100]);
    }

    #[test]
    fn one_that_is_back_begins_anew() {
        let mut trial = Trial::starting_slowly(Balance::RoundRobin, &[1, 1], WHOLE);
        trial.advance(WHOLE * 2);
        assert_eq!(trial.counts(100), [50, 50]);
        trial.endpoint(0).warmth.restart(trial.now());
        trial.advance(WHOLE / 10);
        let counts = trial.counts(1100);
        assert!(counts[0].abs_diff(100) < 50, "{counts:?}");
    }

    #[test]
    fn a_new_one_that_is_alone_gets_everything() {
        let trial = Trial::starting_slowly(Balance::RoundRobin, &[1, 1], WHOLE);
        let tried = [trial.endpoint(0).address];
        (0..20).for_each(|seed| assert!(trial.pick(&tried, seed).is_some()));
    }
}
