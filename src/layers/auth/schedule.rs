//! When keys are fetched again: before they are old, sooner after a failure, and once more for a key id that nobody
//! knows, though not as often as somebody makes one up. Pure: time and chance are passed in.

use std::time::{Duration, Instant};

/// What a `Cache-Control` is taken for at least and at most.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Time to the next try after a first failure, and after many.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// The times of the fetches of one key set.
#[derive(Clone, Debug)]
pub struct Schedule {
    refresh: Duration,
    cooldown: Duration,
    due: Instant,
    extra_from: Instant,
    failures: u32,
}

impl Schedule {
    /// The first fetch is due at once.
    pub fn new(refresh: Duration, cooldown: Duration, now: Instant) -> Self {
        Self { refresh, cooldown, due: now, extra_from: now, failures: 0 }
    }

    /// When the next fetch is due in any case.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// From when on an unknown key id may cause one.
    pub fn extra_from(&self) -> Instant {
        self.extra_from
    }

    /// A fetch for an unknown key id begins.
    pub fn extra(&mut self, now: Instant) {
        self.extra_from = now + self.cooldown;
    }

    /// Keys have come, which their sender says are good for `max_age`. `chance` is between 0 and 1.
    pub fn succeeded(&mut self, now: Instant, max_age: Option<Duration>, chance: f64) {
        self.failures = 0;
        let period = max_age.map_or(self.refresh, |age| age.clamp(SHORTEST, LONGEST));
        // A tenth sooner by chance: many gateways do not ask at one moment.
        self.due = now + period.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 10.0);
    }

    /// None have come.
    pub fn failed(&mut self, now: Instant, chance: f64) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(LAST_RETRY).min(self.refresh);
        self.due = now + wait.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_sender_is_heeded_within_bounds() {
        let now = clock::now();
        let mut schedule = Schedule::new(600 * S, 30 * S, now);
        assert_eq!(schedule.due(), now);
        for (max_age, expected) in [(None, 600), (Some(0), 60), (Some(300), 300), (Some(10_000_000), 86400)] {
            schedule.succeeded(now, max_age.map(Duration::from_secs), 0.0);
            assert_eq!(schedule.due() - now, expected * S);
        }
        schedule.succeeded(now, None, 1.0);
        assert_eq!(schedule.due() - now, 540 * S);
    }

    #[test]
    fn failures_space_out_and_are_forgotten() {
        let now = clock::now();
        let mut schedule = Schedule::new(600 * S, 30 * S, now);
        let mut waits = Vec::new();
        for _ in 0..9 {
            schedule.failed(now, 0.0);
            waits.push((schedule.due() - now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        schedule.succeeded(now, None, 0.0);
        schedule.failed(now, 0.0);
        assert_eq!(schedule.due() - now, S);
    }

    #[test]
    fn unknown_ids_wait_for_each_other() {
        let now = clock::now();
        let mut schedule = Schedule::new(600 * S, 30 * S, now);
        assert_eq!(schedule.extra_from(), now);
        schedule.extra(now);
        assert_eq!(schedule.extra_from() - now, 30 * S);
    }
}
