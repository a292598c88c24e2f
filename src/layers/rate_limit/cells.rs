//! What is remembered of so many keys and no more. When there is no room for a new key, what is as good as forgotten goes
//! first; where nothing is, new keys share one cell, so that whoever invents keys gains neither memory nor fresh buckets,
//! and those that are known keep theirs. Locks are held for some nanoseconds, by shards, never across an await.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Keys by which a shard is worth having.
const PER_SHARD: usize = 512;
/// Most shards.
const SHARDS: usize = 64;
/// Places that are looked at for one to be freed, when a key comes for which there is no room.
const LOOKED_AT: usize = 16;

/// What stands for a key: 128 bits that are its own, or a digest that nobody outside can aim at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(pub [u64; 2]);

/// What is remembered of a key.
pub trait Value: Copy {
    /// Whether a key without anything remembered would be treated just the same.
    fn is_spare(&self, now: u64) -> bool;
}

/// A bounded map from keys to values.
#[derive(Debug)]
pub struct Cells<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    overflow: Mutex<Option<V>>,
    hasher: RandomState,
    most: AtomicUsize,
    kept: AtomicUsize,
    evicted: AtomicU64,
    overflowed: AtomicU64,
}

#[derive(Debug)]
struct Shard<V> {
    table: HashTable<(Key, V)>,
    /// Where the search for something to forget goes on.
    hand: usize,
}

/// One key's cell, locked.
pub struct Entry<'a, V> {
    cells: &'a Cells<V>,
    place: Place<'a, V>,
}

enum Place<'a, V> {
    Known(MutexGuard<'a, Shard<V>>, usize),
    New(MutexGuard<'a, Shard<V>>, Key, u64),
    Overflow(MutexGuard<'a, Option<V>>),
}

impl<V: Value> Cells<V> {
    /// Room for at most so many keys.
    pub fn new(most: usize) -> Self {
        let shards = (most / PER_SHARD).next_power_of_two().clamp(1, SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard { table: HashTable::new(), hand: 0 })).collect(),
            overflow: Mutex::new(None),
            hasher: RandomState::default(),
            most: AtomicUsize::new(most),
            kept: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// Has room for so many from now on; what is too many goes when it would go anyway.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys that were forgotten to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How often a key had to share the cell of those for which there is no room.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// The key's cell, for this thread alone until it is let go of. Whoever locks several cells at a time does so in one
    /// order of their owners.
    pub fn lock(&self, key: Key, now: u64) -> Entry<'_, V> {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        if let Some(at) = shard.table.find_bucket_index(hash, |(known, _)| *known == key) {
            return Entry { cells: self, place: Place::Known(shard, at) };
        }
        let full = self.len() >= self.most.load(Ordering::Relaxed);
        if full && !self.forget_one(&mut shard, now) {
            drop(shard);
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return self.overflow();
        }
        Entry { cells: self, place: Place::New(shard, key, hash) }
    }

    /// The cell that keys share for which there is no room.
    pub fn overflow(&self) -> Entry<'_, V> {
        let cell = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        Entry { cells: self, place: Place::Overflow(cell) }
    }

    /// What is remembered of a key itself.
    pub fn known(&self, key: Key) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).table.find(hash, |(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// What is remembered of a key, or would be held against it. Changes nothing.
    pub fn peek(&self, key: Key) -> Option<V> {
        let known = self.known(key);
        if known.is_some() || self.len() < self.most.load(Ordering::Relaxed) {
            return known;
        }
        *self.overflow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<V>> {
        // The table takes the low bits and the highest seven.
        let at = usize::try_from(hash >> 40).unwrap_or_default() & (self.shards.len() - 1); // a power of two
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for something that may go, a few places further each time, so that no request pays for all of them.
    fn forget_one(&self, shard: &mut Shard<V>, now: u64) -> bool {
        let places = shard.table.num_buckets();
        for _ in 0..LOOKED_AT.min(places) {
            shard.hand = (shard.hand + 1) % places;
            if shard.table.get_bucket(shard.hand).is_some_and(|(_, value)| value.is_spare(now))
                && let Ok(spare) = shard.table.get_bucket_entry(shard.hand)
            {
                spare.remove();
                self.kept.fetch_sub(1, Ordering::Relaxed);
                self.evicted.fetch_add(1, Ordering::Relaxed);
                return true;
            }
        }
        false
    }
}

impl<V: Value> Entry<'_, V> {
    /// What is remembered.
    pub fn get(&self) -> Option<V> {
        match &self.place {
            Place::Known(shard, at) => shard.table.get_bucket(*at).map(|(_, value)| *value),
            Place::New(..) => None,
            Place::Overflow(cell) => **cell,
        }
    }

    /// Whether the cell is shared by keys for which there was no room.
    pub fn is_overflow(&self) -> bool {
        matches!(self.place, Place::Overflow(_))
    }

    /// Remembers this from now on.
    pub fn set(self, value: V) {
        match self.place {
            Place::Known(mut shard, at) => {
                if let Some((_, kept)) = shard.table.get_bucket_mut(at) {
                    *kept = value;
                }
            }
            Place::New(mut shard, key, hash) => {
                let hasher = &self.cells.hasher;
                shard.table.insert_unique(hash, (key, value), |(key, _)| hasher.hash_one(key));
                self.cells.kept.fetch_add(1, Ordering::Relaxed);
            }
            Place::Overflow(mut cell) => *cell = Some(value),
        }
    }

    /// Forgets what is remembered.
    pub fn clear(self) {
        match self.place {
            Place::Known(mut shard, at) => {
                if let Ok(known) = shard.table.get_bucket_entry(at) {
                    known.remove();
                    self.cells.kept.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Place::New(..) => {}
            Place::Overflow(mut cell) => *cell = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until when it counts.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Until(u64);

    impl Value for Until {
        fn is_spare(&self, now: u64) -> bool {
            self.0 <= now
        }
    }

    fn key(number: u64) -> Key {
        Key([number, 0])
    }

    #[test]
    fn there_are_never_more_than_there_may_be_and_what_counts_is_kept() {
        let cells = Cells::new(1000);
        for number in 0..1000 {
            cells.lock(key(number), 0).set(Until(if number < 500 { 10 } else { 1000 }));
        }
        assert_eq!((cells.len(), cells.evicted()), (1000, 0));
        // Nothing is spare yet: strangers share a cell.
        for number in 1000..5000 {
            let entry = cells.lock(key(number), 5);
            assert!(entry.is_overflow());
            entry.set(Until(number));
            assert_eq!(cells.peek(key(9999)), Some(Until(number)), "it is held against every stranger");
        }
        assert_eq!((cells.len(), cells.evicted(), cells.overflowed()), (1000, 0, 4000));
        // Half of them are: some strangers find room, nobody who counts has to go.
        for number in 5000..6000 {
            cells.lock(key(number), 20).set(Until(2000));
            assert!(cells.len() <= 1000);
        }
        assert!(cells.evicted() >= 400, "{}", cells.evicted());
        for number in 500..1000 {
            assert_eq!(cells.lock(key(number), 20).get(), Some(Until(1000)), "{number}");
        }
    }

    #[test]
    fn what_is_cleared_makes_room() {
        let cells = Cells::new(2);
        for number in 0..100 {
            assert!(!cells.lock(key(number), 0).is_overflow(), "{number}");
            cells.lock(key(number), 0).set(Until(9));
            cells.lock(key(number), 0).clear();
            cells.lock(key(number), 0).clear();
        }
        assert!(cells.is_empty());
        assert_eq!(cells.peek(key(1)), None);
    }

    #[test]
    fn fewer_or_more_may_be_allowed_later() {
        let cells = Cells::new(10);
        (0..10).for_each(|number| cells.lock(key(number), 0).set(Until(9)));
        cells.set_most(12);
        assert!(!cells.lock(key(10), 0).is_overflow());
        cells.set_most(5);
        assert!(cells.lock(key(10), 0).is_overflow() && !cells.lock(key(3), 0).is_overflow());
    }

    #[test]
    fn many_threads_lose_nothing() {
        let cells = Cells::new(100_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..20_000 {
                        let entry = cells.lock(key(number % 1000), 0);
                        let Until(before) = entry.get().unwrap_or(Until(0));
                        entry.set(Until(before + 1));
                    }
                });
            }
        });
        assert!((0..1000).all(|number| cells.peek(key(number)) == Some(Until(80))));
    }
}
