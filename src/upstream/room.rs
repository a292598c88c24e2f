//! The room for connections at one address: how many sockets are open, and how many requests may be there at a time where
//! `max_connections` says so. HTTP/1.1 carries one request on a connection, so the same number bounds both; a socket is
//! counted for itself all the same, since an idle one has no request and one that is being closed has none any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::seat::{Seat, Seats};

/// Of one address.
#[derive(Debug, Default)]
pub struct Room {
    /// Most sockets and most requests; 0 means no limit.
    most: AtomicUsize,
    /// Requests that hold a place. Counted only under a limit.
    places: AtomicUsize,
    /// Sockets that are open or being opened. Always counted, so that a limit may come later.
    sockets: Arc<Seats>,
    /// Those who wait for a socket to close.
    wanted: AtomicUsize,
}

impl Room {
    /// Sets the limit; 0 means none.
    pub fn limit(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// The limit, where there is one.
    pub fn most(&self) -> Option<usize> {
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most > 0)
    }

    /// Takes a place for a request, where one is free.
    pub fn enter(&self, most: usize) -> bool {
        let more = |places: usize| (places < most).then(|| places + 1);
        self.places.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.places.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no request finds a place here.
    pub fn is_taken(&self, most: usize) -> bool {
        self.places.load(Ordering::Relaxed) >= most
    }

    /// Whether there are as many sockets as there may be.
    pub fn is_full(&self) -> bool {
        self.most().is_some_and(|most| self.sockets.taken() >= most)
    }

    /// Whether somebody waits for a socket to close, so that none should be kept idle.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// The right to open a socket, held until it is closed. Where there are too many, `make_room` is called once, to close
    /// one that is idle, and the next one that closes is waited for.
    pub async fn socket(&self, make_room: impl FnOnce()) -> Seat {
        let Some(most) = self.most() else { return self.sockets.take() };
        if let Some(seat) = self.sockets.try_take(most) {
            return seat;
        }
        let _wanting = Wanting::new(&self.wanted);
        make_room();
        self.sockets.take_below(most).await
    }
}

/// Counts somebody who waits.
struct Wanting<'a>(&'a AtomicUsize);

impl<'a> Wanting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn requests_find_a_place_until_all_are_taken() {
        let room = Room::default();
        assert!(room.enter(2) && !room.is_taken(2));
        assert!(room.enter(2) && room.is_taken(2) && !room.enter(2));
        room.leave();
        assert!(room.enter(2));
    }

    #[test]
    fn without_a_limit_every_socket_may_be_opened_and_is_counted() {
        let room = Room::default();
        let open: Vec<_> = (0..5).map(|_| room.socket(|| unreachable!()).now_or_never().unwrap()).collect();
        room.limit(5);
        assert!(room.is_full(), "those from before count");
        drop(open);
        assert!(!room.is_full());
    }

    #[test]
    fn a_socket_too_many_waits_for_another_to_close() {
        let room = Room::default();
        room.limit(1);
        let idle = Cell::new(room.socket(|| unreachable!()).now_or_never());
        let mut next = Box::pin(room.socket(|| ()));
        assert!(next.as_mut().now_or_never().is_none() && room.is_wanted());
        drop(next);
        assert!(!room.is_wanted(), "nobody waits any more");
        assert!(room.socket(|| drop(idle.take())).now_or_never().is_some(), "the idle one makes room");
    }
}
