//! Which name servers are asked last: those that have stopped answering, each of which would cost its whole timeout
//! again and again. Told the time; asks nobody.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a silent server is asked last, before it gets another chance. Shorter than it takes to give a name up: the
/// one that is asked instead may not know the name.
const SET_BACK: Duration = Duration::from_secs(10);

/// What is remembered of one server.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When a question first went unanswered, with no answer since.
    since: Option<Instant>,
    /// Until when it is asked last.
    until: Option<Instant>,
}

impl Silence {
    /// It has answered, whatever it said.
    pub(super) fn broken(&self) {
        *self.state() = State::default();
    }

    /// It has not answered what it was asked at `asked`. Questions that were under way together count as one: a moment
    /// of silence is no reason.
    pub(super) fn lasts(&self, asked: Instant, now: Instant) {
        let mut state = self.state();
        match state.since {
            Some(since) if asked >= since => state.until = now.checked_add(SET_BACK),
            Some(_) => {}
            None => state.since = Some(now),
        }
    }

    /// Whether it is to be asked last.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        self.state().until.is_some_and(|until| now < until)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn only_lasting_silence_sets_a_server_back_and_not_for_long() {
        let (t, second) = (clock::now(), Duration::from_secs(1));
        let silence = Silence::default();
        (0..20).for_each(|_| silence.lasts(t, t + second));
        assert!(!silence.is_long(t + second), "asked at one time");
        silence.lasts(t + second * 2, t + second * 3);
        assert!(silence.is_long(t + second * 3) && silence.is_long(t + second * 12));
        assert!(!silence.is_long(t + second * 13), "it gets another chance");
        silence.lasts(t + second * 13, t + second * 14);
        assert!(silence.is_long(t + second * 14), "and does not take it");
        silence.broken();
        assert!(!silence.is_long(t + second * 14));
        silence.lasts(t + second * 15, t + second * 16);
        assert!(!silence.is_long(t + second * 16));
    }
}
