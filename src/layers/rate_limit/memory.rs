//! What a limit remembers, whatever its settings are: it is found again by the limit's name and lives on over reloads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::bucket::{State, nanos};
use super::cells::{Cells, Key, Value};
use super::key::Seeds;
use crate::base::clock;
use crate::base::exchange::Kept;
use crate::base::mode::Mode;

/// What one limit remembers.
#[derive(Debug)]
pub struct Memory {
    /// The limit's name.
    pub name: Arc<str>,
    /// Its place among all: locks are taken in this order.
    pub order: u64,
    /// What times are counted from.
    origin: Instant,
    /// How full the buckets are, of keys that are not full.
    pub cells: Cells<State>,
    /// Requests inside, of keys that have any.
    pub inside: Cells<Inside>,
    /// What keys are made with.
    pub seeds: Seeds,
    /// What was decided.
    pub counts: Counts,
}

/// Requests of a key that are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside(pub u32);

/// What was decided, since the limit has its name.
#[derive(Debug, Default)]
pub struct Counts {
    /// While refusals are refusals.
    pub enforced: Decided,
    /// While they are not.
    pub observed: Decided,
    /// Decisions without Redis.
    pub store_errors: AtomicU64,
}

/// Decisions by what they were.
#[derive(Debug, Default)]
pub struct Decided {
    /// Requests that passed and were counted.
    pub allowed: AtomicU64,
    /// Requests that did not pass, or would not have.
    pub refused: AtomicU64,
}

/// All that limits remember, by name.
#[derive(Debug)]
pub struct Memories {
    origin: Instant,
    made: AtomicU64,
    all: Mutex<BTreeMap<String, Weak<Memory>>>,
}

/// A place inside, given back when it is dropped.
#[derive(Debug)]
pub struct Stay {
    memory: Arc<Memory>,
    key: Key,
    /// Whether it is counted with those for which there was no room.
    overflow: bool,
}

impl Default for Memories {
    fn default() -> Self {
        Self { origin: clock::now(), made: AtomicU64::default(), all: Mutex::default() }
    }
}

impl Memories {
    /// What a limit of this name remembers; nothing yet, if it is new.
    pub fn get(&self, name: &str, max_keys: usize) -> Arc<Memory> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, memory| memory.strong_count() > 0);
        if let Some(known) = all.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let memory = Arc::new(Memory {
            name: name.into(),
            order: self.made.fetch_add(1, Ordering::Relaxed),
            origin: self.origin,
            cells: Cells::new(max_keys),
            inside: Cells::new(max_keys),
            seeds: Seeds::default(),
            counts: Counts::default(),
        });
        all.insert(name.to_owned(), Arc::downgrade(&memory));
        memory
    }
}

impl Memory {
    /// The moment as it is counted here.
    pub fn time(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.origin))
    }

    /// Remembers at most so many keys from now on.
    pub fn set_max_keys(&self, most: usize) {
        self.cells.set_most(most);
        self.inside.set_most(most);
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.cells.len() + self.inside.len()
    }
}

impl Counts {
    /// The decisions in one mode.
    pub fn of(&self, mode: Mode) -> &Decided {
        match mode {
            Mode::Enforce => &self.enforced,
            Mode::Observe => &self.observed,
        }
    }
}

impl Stay {
    /// A place that has just been counted.
    pub fn new(memory: &Arc<Memory>, key: Key, overflow: bool) -> Self {
        Self { memory: memory.clone(), key, overflow }
    }
}

impl Kept for Stay {}

impl Drop for Stay {
    fn drop(&mut self) {
        let inside = &self.memory.inside;
        let entry = if self.overflow { inside.overflow() } else { inside.lock(self.key, 0) };
        match entry.get() {
            Some(Inside(more)) if more > 1 => entry.set(Inside(more - 1)),
            _ => entry.clear(),
        }
    }
}

impl Value for State {
    fn is_spare(&self, now: u64) -> bool {
        self.full_at <= now
    }
}

impl Value for Inside {
    fn is_spare(&self, _: u64) -> bool {
        self.0 == 0
    }
}
