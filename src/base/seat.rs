//! Places that are counted: taken when something begins, given back when it is dropped, so that nobody can forget to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many places are taken.
#[derive(Debug, Default)]
pub struct Seats {
    taken: AtomicUsize,
    freed: Notify,
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

    /// Takes a place if fewer than `most` are taken.
    pub fn try_take(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let more = |taken: usize| (taken < most).then(|| taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Seat(self.clone()))
    }

    /// Takes a place as soon as fewer than `most` are taken. Of those that wait, the first gets it.
    pub async fn take_below(self: &Arc<Self>, most: usize) -> Seat {
        loop {
            let freed = self.freed.notified();
            if let Some(seat) = self.try_take(most) {
                // Of two places that were freed at once only one may have woken somebody.
                if self.taken() < most {
                    self.freed.notify_one();
                }
                return seat;
            }
            freed.await;
        }
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
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn no_more_places_are_taken_than_there_are() {
        let seats = Arc::<Seats>::default();
        let first = seats.try_take(2).unwrap();
        let _second = seats.try_take(2).unwrap();
        assert!(seats.try_take(2).is_none());
        drop(first);
        assert!(seats.try_take(2).is_some(), "and given back at once");
        assert_eq!(seats.taken(), 1);
    }

    #[test]
    fn whoever_waits_gets_the_place_that_is_freed() {
        let seats = Arc::<Seats>::default();
        let (one, two) = (seats.take(), seats.take());
        let mut first = Box::pin(seats.take_below(2));
        let mut second = Box::pin(seats.take_below(2));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop((one, two));
        let taken = first.as_mut().now_or_never().expect("a place is free");
        assert!(second.as_mut().now_or_never().is_some(), "both were freed before anybody looked");
        drop(taken);
    }
}
