//! Places that are counted: taken when something begins, given back when it is dropped, so that nobody can forget to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many places are taken.
#[derive(Debug, Default)]
pub struct Seats {
    taken: AtomicUsize,
    empty: Notify,
}

/// A taken place.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

impl Seats {
    /// Takes a place.
    pub fn take(self: &Arc<Self>) -> Seat {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until no place is taken.
    pub async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            if self.taken() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}
