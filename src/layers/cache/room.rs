//! The memory of bodies that are on their way into the store: counted before they are kept, so that the store and what
//! is about to enter it stay within what `[cache]` allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that may be taken.
#[derive(Debug)]
pub struct Room {
    taken: AtomicU64,
    most: AtomicU64,
}

/// Bytes that somebody has taken; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    /// So many bytes.
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { taken: AtomicU64::new(0), most: AtomicU64::new(most) })
    }

    /// So many from now on. What is taken stays so.
    pub fn resize(&self, most: u64) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, if there are as many.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let mut share = Share { room: self.clone(), bytes: 0 };
        share.grow(bytes).then_some(share)
    }
}

impl Share {
    /// Takes more; false, and no more, where there is not as much.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let most = self.room.most.load(Ordering::Relaxed);
        let more = |taken: u64| taken.checked_add(bytes).filter(|&sum| sum <= most);
        let grown = self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Bytes that it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let room = Room::new(10);
        let mut one = room.take(6).unwrap();
        assert!(room.take(5).is_none() && !one.grow(5) && one.grow(3));
        let two = room.take(1).unwrap();
        assert_eq!((room.taken(), one.bytes(), two.bytes()), (10, 9, 1));
        drop(one);
        assert_eq!(room.taken(), 1);
        room.resize(1);
        assert!(room.take(1).is_none());
    }
}
