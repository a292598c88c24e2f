//! What clients have asked for and do not take, response by response. On HTTP/1 a client that does not read stops its whole
//! connection, which its socket sees. On HTTP/2 it can stop one response and go on with others (RFC 9113 §5.2): nobody
//! asks such a body for more, so nothing of it runs that could notice.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// A response that its client may leave unread.
pub trait Debt: Send + Sync {
    /// Since when the client has not taken what is there for it; nothing while it does.
    fn since(&self) -> Option<Instant>;

    /// Gives it up: whatever is held for it is free.
    fn write_off(&self);
}

/// All of one connection.
#[derive(Default)]
pub struct Debts(Mutex<Vec<Weak<dyn Debt>>>);

impl Debts {
    /// Adds one; it is forgotten when it is over.
    pub fn add(&self, debt: &Arc<impl Debt + 'static>) {
        let weak = Arc::downgrade(debt);
        let mut debts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if debts.len() == debts.capacity() {
            debts.retain(|debt| debt.strong_count() > 0);
        }
        debts.push(weak);
    }

    /// Gives up those that have stood still since then, or longer.
    pub fn write_off_before(&self, then: Instant) {
        let all: Vec<_> = {
            let debts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            debts.iter().filter_map(Weak::upgrade).collect()
        };
        for debt in all {
            if debt.since().is_some_and(|since| since <= then) {
                debt.write_off();
            }
        }
    }
}

impl std::fmt::Debug for Debts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Debts")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::base::clock;

    struct One {
        since: Option<Instant>,
        off: AtomicBool,
    }

    impl Debt for One {
        fn since(&self) -> Option<Instant> {
            self.since
        }

        fn write_off(&self) {
            self.off.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_what_has_stood_still_for_too_long_is_given_up() {
        let (debts, now) = (Debts::default(), clock::now());
        let all = [None, Some(now), Some(now + Duration::from_secs(2))]
            .map(|since| Arc::new(One { since, off: AtomicBool::new(false) }));
        all.iter().for_each(|one| debts.add(one));
        for _ in 0..100 {
            debts.add(&Arc::new(One { since: Some(now), off: AtomicBool::new(false) }));
        }
        debts.write_off_before(now + Duration::from_secs(1));
        assert_eq!(all.map(|one| one.off.load(Ordering::Relaxed)), [false, true, false]);
        assert!(debts.0.lock().unwrap().len() < 20, "those that are over are forgotten");
    }
}
