//! How long an idle connection of one address may be used again: learned from what the server says (`Keep-Alive:
//! timeout=N`), and from when idle connections were still open or had been closed. A request that meets a closing
//! connection can be repeated where that is safe; one that cannot must not meet it, so it gets only what is known to
//! stay open for longer. [`Learned`] is pure; [`KeepAlive`] makes its two answers readable without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No server is expected to close a connection that has been idle for less, as long as nothing else is known.
const USUAL: Duration = Duration::from_millis(500);
/// The least that closed connections can teach: more often, a server has been restarted.
const LEAST: Duration = Duration::from_millis(50);
/// After this time without an early close twice as much is tried: what closed the connections may have been something
/// else, or the server has been given another time.
const RELAX: Duration = Duration::from_secs(10);
/// Beyond this, what was learned is forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// What is known of one address.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// What the server says, less a second: its clock has been running for longer than ours.
    said: Option<Duration>,
    /// What closed connections have shown, and when.
    closed: Option<(Duration, Instant)>,
    /// Longest idle time after which a connection was seen open.
    open: Duration,
}

impl Learned {
    /// The server says that it keeps idle connections for so long.
    pub fn said(&mut self, timeout: Duration) {
        let second = Duration::from_secs(1);
        self.said = Some(if timeout > second { timeout.saturating_sub(second) } else { timeout / 2 });
    }

    /// A connection was seen open when it had been idle for so long.
    pub fn seen_open(&mut self, idle: Duration) {
        self.open = self.open.max(idle);
    }

    /// A connection was found closed when it had been idle for `found`; it had last been seen open at `open`. The server
    /// closes somewhere between the two.
    pub fn seen_closed(&mut self, open: Duration, found: Duration, now: Instant) {
        self.open = self.open.min(open);
        if self.longest().is_none_or(|longest| found <= longest) {
            self.closed = Some((open.max(found / 2).max(LEAST), now));
        }
    }

    /// Time has passed: tries more where it has been quiet.
    pub fn relax(&mut self, now: Instant) {
        if let Some((time, at)) = self.closed
            && now.saturating_duration_since(at) >= RELAX
        {
            self.closed = Some((time * 2, now)).filter(|(time, _)| *time <= FORGET);
        }
    }

    /// For how long an idle connection is of use; `None` where nothing is known.
    pub fn longest(&self) -> Option<Duration> {
        match (self.said, self.closed) {
            (Some(said), Some((closed, _))) => Some(said.min(closed)),
            (said, closed) => said.or(closed.map(|(time, _)| time)),
        }
    }

    /// The same for a request that cannot be repeated: a tenth less than what others have been seen to survive.
    pub fn surest(&self) -> Duration {
        let known = (self.open / 10 * 9).max(self.said.unwrap_or(USUAL)).max(USUAL);
        self.longest().map_or(known, |longest| longest.min(known))
    }
}

/// What is known of one address, for many threads.
#[derive(Debug)]
pub struct KeepAlive {
    longest: AtomicU64,
    surest: AtomicU64,
    /// What the server said last, to see at a glance that it says the same again.
    said: AtomicU64,
    learned: Mutex<Learned>,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            longest: AtomicU64::new(u64::MAX),
            surest: AtomicU64::new(millis(USUAL)),
            said: AtomicU64::new(u64::MAX),
            learned: Mutex::default(),
        }
    }
}

impl KeepAlive {
    /// For how long an idle connection is of use; far beyond any limit where nothing is known.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }

    /// The same in milliseconds, where anything is known.
    pub fn learned(&self) -> Option<u64> {
        Some(self.longest.load(Ordering::Relaxed)).filter(|millis| *millis != u64::MAX)
    }

    /// For how long it is of use to a request, which can be repeated or not.
    pub fn for_request(&self, repeatable: bool) -> Duration {
        if repeatable { self.longest() } else { Duration::from_millis(self.surest.load(Ordering::Relaxed)) }
    }

    /// The server says that it keeps idle connections for so long.
    pub fn said(&self, timeout: Duration) {
        if self.said.load(Ordering::Relaxed) != millis(timeout) {
            self.said.store(millis(timeout), Ordering::Relaxed);
            self.learn(|learned| learned.said(timeout));
        }
    }

    /// Takes what somebody has seen.
    pub fn learn(&self, lesson: impl FnOnce(&mut Learned)) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        lesson(&mut learned);
        self.longest.store(learned.longest().map_or(u64::MAX, millis), Ordering::Relaxed);
        self.surest.store(millis(learned.surest()), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_not_known_is_not_limited_but_not_trusted_either() {
        let learned = Learned::default();
        assert_eq!((learned.longest(), learned.surest()), (None, USUAL));
        let shared = KeepAlive::default();
        assert!(shared.longest() > ms(1000 * 60 * 60 * 24 * 365));
        assert_eq!(shared.for_request(false), USUAL);
    }

    #[test]
    fn what_the_server_says_is_kept_to_with_a_second_to_spare() {
        for (said, longest) in [(ms(5000), ms(4000)), (ms(2000), ms(1000)), (ms(1000), ms(500)), (ms(0), ms(0))] {
            let mut learned = Learned::default();
            learned.said(said);
            assert_eq!(learned.longest(), Some(longest), "{said:?}");
            assert_eq!(learned.surest(), longest, "{said:?}");
        }
        let shared = KeepAlive::default();
        shared.said(ms(5000));
        shared.said(ms(5000));
        assert_eq!((shared.longest(), shared.for_request(false)), (ms(4000), ms(4000)));
        shared.said(ms(9000));
        assert_eq!(shared.longest(), ms(8000));
    }

    #[test]
    fn only_what_others_have_survived_is_trusted() {
        let mut learned = Learned::default();
        for idle in [900, 1900, 2900, 100] {
            learned.seen_open(ms(idle));
        }
        assert_eq!((learned.longest(), learned.surest()), (None, ms(2610)));
        learned.seen_closed(ms(1900), ms(2100), clock::now());
        assert_eq!((learned.longest(), learned.surest()), (Some(ms(1900)), ms(1710)));
    }

    /// A server that closes after 5 s, looked at once a second: no request that cannot be repeated gets a connection
    /// that is about to close, at no time.
    #[test]
    fn a_constant_time_is_never_met_by_what_cannot_be_repeated() {
        let (limit, start) = (ms(5000), clock::now());
        for offset in (0..1000).step_by(37) {
            let mut learned = Learned::default();
            for round in 0..20u32 {
                let began = start + ms(7000) * round;
                let mut last = ms(0);
                for look in (offset..7000).step_by(1000) {
                    let idle = ms(look);
                    if idle < limit {
                        learned.seen_open(idle);
                        last = idle;
                    } else {
                        learned.seen_closed(last, idle, began + idle);
                        break;
                    }
                    learned.relax(began + idle);
                    assert!(learned.surest() <= limit / 10 * 9, "{learned:?} after {idle:?}");
                }
            }
            assert!(learned.longest().unwrap() >= ms(3500), "{learned:?}");
        }
    }

    #[test]
    fn a_restart_teaches_nothing_for_long() {
        let (mut learned, start) = (Learned::default(), clock::now());
        learned.seen_open(ms(40_000));
        learned.seen_closed(ms(0), ms(10), start);
        assert_eq!((learned.longest(), learned.surest()), (Some(LEAST), LEAST));
        for second in 0..200 {
            learned.relax(start + ms(1000) * second);
        }
        assert_eq!((learned.longest(), learned.surest()), (None, USUAL));
    }

    #[test]
    fn a_close_that_was_to_be_expected_teaches_nothing() {
        let (mut learned, now) = (Learned::default(), clock::now());
        learned.seen_closed(ms(4000), ms(4500), now);
        learned.seen_closed(ms(3900), ms(4400), now);
        assert_eq!(learned.longest(), Some(ms(4000)));
        learned.seen_closed(ms(3000), ms(3800), now);
        assert_eq!(learned.longest(), Some(ms(3000)));
    }
}
