//! The open connections of an address, counted, and how they are cut off: they have no task that could be ended, so the
//! task that waits for one is woken and told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// One connection's end of it; counted while it lives.
#[derive(Debug)]
pub struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    waiting: AtomicWaker,
}

/// All connections of an address.
#[derive(Debug, Default)]
pub struct Lines(Mutex<Vec<Weak<State>>>);

impl Line {
    /// Whether it was cut off.
    pub fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }

    /// Wakes this task when the line is cut off. Look at [`Self::is_cut`] afterwards.
    pub fn watch(&self, waker: &Waker) {
        self.0.waiting.register(waker);
    }
}

impl Lines {
    /// Adds one.
    pub fn open(&self) -> Line {
        let state = Arc::<State>::default();
        let mut lines = self.lock();
        if lines.len() == lines.capacity() {
            lines.retain(|line| line.strong_count() > 0);
        }
        lines.push(Arc::downgrade(&state));
        Line(state)
    }

    /// Those that are open.
    pub fn len(&self) -> usize {
        self.lock().iter().filter(|line| line.strong_count() > 0).count()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts all off that are open now.
    pub fn cut(&self) {
        let open: Vec<Arc<State>> = self.lock().drain(..).filter_map(|line| line.upgrade()).collect();
        for state in open {
            state.cut.store(true, Ordering::Release);
            state.waiting.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<State>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_while_they_live_and_know_that_they_are_cut() {
        let lines = Lines::default();
        let kept = lines.open();
        for _ in 0..100 {
            drop(lines.open());
        }
        assert_eq!(lines.len(), 1);
        assert!(!kept.is_cut());
        lines.cut();
        assert!(kept.is_cut());
        assert!(!lines.open().is_cut(), "only those that were open");
    }
}
