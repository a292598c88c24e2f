//! What one address is worth: what the balancer reads of it for each request, and what is known behind that. Knows no
//! other address and no clock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::eject::{Case, Phase, Sign};
use super::health::Verdict;
use crate::base::tasks::Task;

/// Requests may go there, and nothing is known against it.
const OPEN: u8 = 0;
/// Requests may go there, although something is known against it.
const NOTED: u8 = 1;
/// One request may go there, to see whether it is well.
const TRIAL: u8 = 2;
/// No request may go there.
const SHUT: u8 = 3;

/// A response head has come since somebody looked.
const HEARD: u8 = 1;
/// A good one.
const GOOD: u8 = 2;

/// The standing of an address.
#[derive(Debug, Default)]
pub struct Standing {
    gate: AtomicU8,
    /// The requests that it had been given when its trial began.
    trial: AtomicU64,
    /// Failures since the last good answer.
    failures: AtomicU32,
    /// What has come since somebody looked.
    signs: AtomicU8,
    /// Whether it gets nothing at all, whatever becomes of the others.
    closed: AtomicBool,
    record: Mutex<Record>,
}

/// What is known of an address. Changed only by whoever holds the lock of its upstream's ward.
#[derive(Debug, Default)]
pub struct Record {
    /// What its requests say.
    pub case: Case,
    /// What its checks say, where there are checks.
    pub verdict: Option<Verdict>,
    /// What checks it.
    pub checking: Option<Task>,
    /// Why the last check was bad.
    pub complaint: Option<String>,
    /// Whether an operator has taken it out.
    pub drained: bool,
    /// When it was last seen to have sent a response head.
    pub heard: Option<Instant>,
    /// When it was last seen to have sent a good one.
    pub good: Option<Instant>,
    /// The requests that it had been given when it was last seen to answer.
    pub answered: u64,
    /// Since when it has been given more and answers none.
    pub silent: Option<Instant>,
}

/// What an address is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Every request.
    Open,
    /// Every request, though something is known against it.
    Noted,
    /// One request.
    Trial,
    /// None.
    Shut,
}

impl Standing {
    /// Whether a request may go to the address, which has been given so many.
    pub fn admits(&self, given: impl FnOnce() -> u64) -> bool {
        match self.gate.load(Ordering::Relaxed) {
            OPEN | NOTED => true,
            TRIAL => given() == self.trial.load(Ordering::Relaxed),
            _ => false,
        }
    }

    /// Whether the address gets nothing at all: it is drained, or was never checked.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes in what a try says of the address, which came with a response head or without. Returns whether somebody has
    /// to look at it more closely; `failures` in a row are too many.
    pub fn note(&self, sign: Sign, headed: bool, failures: u32) -> bool {
        match sign {
            Sign::Good => self.note_good(),
            Sign::Bad(_) => self.note_bad(headed) >= failures,
            Sign::None => self.gate.load(Ordering::Relaxed) == TRIAL,
        }
    }

    /// A good answer has come. Returns whether something is known against the address.
    fn note_good(&self) -> bool {
        // Read before written: what many workers write in turn is slow to read for all of them.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.signs.load(Ordering::Relaxed) != HEARD | GOOD {
            self.signs.store(HEARD | GOOD, Ordering::Relaxed);
        }
        self.gate.load(Ordering::Relaxed) != OPEN
    }

    /// A try has failed, with a response or without one. Returns the failures in a row.
    fn note_bad(&self, headed: bool) -> u32 {
        if headed {
            self.signs.fetch_or(HEARD, Ordering::Relaxed);
        }
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether the trial of the address has been given a request, of so many.
    pub fn is_being_tried(&self, given: u64) -> bool {
        given != self.trial.load(Ordering::Relaxed)
    }

    /// Whether a good answer has come since somebody looked.
    pub fn has_good_sign(&self) -> bool {
        self.signs.load(Ordering::Relaxed) & GOOD != 0
    }

    /// Whether a response head, and whether a good one, has come since the last call.
    pub fn take_signs(&self) -> (bool, bool) {
        // Mostly there is nothing to take.
        if self.signs.load(Ordering::Relaxed) == 0 {
            return (false, false);
        }
        let signs = self.signs.swap(0, Ordering::Relaxed);
        (signs & HEARD != 0, signs & GOOD != 0)
    }

    /// Lets one more request through, of an address that has been given so many; a single failure is one too many.
    pub fn begin_trial(&self, given: u64, failures: u32) {
        self.failures.store(failures, Ordering::Relaxed);
        self.trial.store(given, Ordering::Relaxed);
    }

    /// Opens or shuts the address.
    pub fn set(&self, gate: Gate, closed: bool) {
        let gate = match gate {
            Gate::Open => OPEN,
            Gate::Noted => NOTED,
            Gate::Trial => TRIAL,
            Gate::Shut => SHUT,
        };
        self.closed.store(closed, Ordering::Release);
        self.gate.store(gate, Ordering::Relaxed);
    }

    /// What is known.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Whether the address gets nothing at all.
    pub fn is_closed(&self) -> bool {
        self.drained || self.verdict == Some(Verdict::Unchecked)
    }

    /// Whether nothing is known against it.
    pub fn is_sound(&self) -> bool {
        !self.is_closed() && self.case.phase == Phase::Serving && !self.is_unhealthy()
    }

    /// Whether its checks say that it is not well.
    pub fn is_unhealthy(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Unhealthy { .. }))
    }

    /// What it is open for; in a `panic` for everything, because no address is sound.
    pub fn gate(&self, panic: bool) -> Gate {
        match self.case.phase {
            _ if self.is_closed() => Gate::Shut,
            _ if self.is_unhealthy() && !panic => Gate::Shut,
            Phase::Serving => Gate::Open,
            Phase::Suspect(_) => Gate::Noted,
            _ if panic => Gate::Noted,
            Phase::Trial { .. } => Gate::Trial,
            Phase::Ejected { .. } => Gate::Shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_lets_one_request_through() {
        let standing = Standing::default();
        standing.begin_trial(7, 3);
        standing.set(Gate::Trial, false);
        assert!(standing.admits(|| 7) && !standing.admits(|| 8));
        assert!(standing.is_being_tried(8) && !standing.is_being_tried(7));
        assert_eq!(standing.note_bad(false), 4, "the first failure is one too many");
        standing.set(Gate::Shut, false);
        assert!(!standing.admits(|| 7));
    }

    #[test]
    fn signs_are_taken_once_and_a_good_answer_ends_the_row() {
        let standing = Standing::default();
        assert_eq!((standing.note_bad(true), standing.note_bad(false)), (1, 2));
        assert_eq!((standing.take_signs(), standing.take_signs()), ((true, false), (false, false)));
        assert!(!standing.note_good() && standing.has_good_sign());
        assert_eq!((standing.failures(), standing.take_signs()), (0, (true, true)));
        standing.set(Gate::Noted, false);
        assert!(standing.note_good() && standing.admits(|| 0));
    }

    #[test]
    fn a_panic_opens_what_fails_and_never_what_is_closed() {
        let unhealthy = Record { verdict: Some(Verdict::Unhealthy { good: 0, proven: true }), ..Record::default() };
        assert_eq!((unhealthy.gate(false), unhealthy.gate(true)), (Gate::Shut, Gate::Open));
        let drained = Record { drained: true, ..Record::default() };
        let unchecked = Record { verdict: Some(Verdict::Unchecked), ..Record::default() };
        for closed in [drained, unchecked] {
            assert_eq!((closed.gate(false), closed.gate(true)), (Gate::Shut, Gate::Shut));
            assert!(closed.is_closed() && !closed.is_sound());
        }
    }
}
