//! Whether it is worth asking. One answer that does not come in time opens the breaker for everybody, so that requests
//! wait for a Redis that is gone at most once a second; only the background task, which tries all the while, closes it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the breaker stays open at least.
pub(super) const REST: Duration = Duration::from_secs(1);

/// Open or closed, and until when it is open at least.
#[derive(Debug)]
pub(super) struct Breaker {
    /// What times are counted from.
    origin: Instant,
    /// Zero while it is closed, else the earliest time at which it may close, in microseconds.
    open_until: AtomicU64,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(now: Instant) -> Self {
        Self { origin: now, open_until: AtomicU64::new(0) }
    }

    /// Whether nobody should ask.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Acquire) != 0
    }

    /// Opens it. Tells whether it was closed.
    pub(super) fn open(&self, now: Instant) -> bool {
        self.open_until.swap(self.micros(now + REST).max(1), Ordering::AcqRel) == 0
    }

    /// Closes it, unless that is too early. Tells whether it was open and is not any more.
    pub(super) fn close(&self, now: Instant) -> bool {
        let until = self.open_until.load(Ordering::Acquire);
        let rested = until != 0 && self.micros(now) >= until;
        rested && self.open_until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn it_rests_for_a_second_after_each_failure() {
        let now = clock::now();
        let at = |millis| now + Duration::from_millis(millis);
        let breaker = Breaker::new(now);
        assert!(!breaker.is_open() && !breaker.close(at(0)), "there is nothing to close");
        assert!(breaker.open(at(10)) && breaker.is_open());
        assert!(!breaker.open(at(500)), "it was open already");
        assert!(!breaker.close(at(1400)) && breaker.is_open(), "a second after the last failure");
        assert!(breaker.close(at(1500)) && !breaker.is_open());
        assert!(!breaker.close(at(9000)));
    }
}
