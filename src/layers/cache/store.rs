//! What is kept: responses by their keys, within a number of bytes. Beside them what is known of URLs that have changed
//! and of keys whose responses cannot be shared, and what is under way. One for all routes.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use metrics::Counter;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use serde::Serialize;

use super::entry::Entry;
use super::flight::Flights;
use super::freshness::{Clock, Moment};
use super::key::Key;
use super::policy::CachePolicy;
use super::room::Room;
use super::tier::{Mark, Tier};
use crate::base::tasks::Group;
use crate::layers::redis::Redis;
use crate::telemetry::names;
use crate::telemetry::page::Samples;
use crate::telemetry::recorder::Recorder;

/// Most responses under one key.
pub const VARIANTS: usize = 16;
/// URLs whose changes are told apart; others share a place, and lose what is stored a little too often.
const STAMPS: usize = 1 << 16;
/// Keys whose responses cannot be shared, that are remembered, and for how long.
const UNSHARED: usize = 8192;
const UNSHARED_FOR: Duration = Duration::from_secs(30);
/// What a key takes beside its bytes: its places in lists, the allocator's share.
const OVERHEAD: usize = 256;
/// Of the memory, in hundredths: what is stored, and what is on its way into it. The rest is for what nobody counts.
const STORED: u64 = 90;
const ON_THE_WAY: u64 = 15;

type Hasher = foldhash::fast::RandomState;

/// The store of one gateway.
pub struct Store {
    items: Cache<Box<[u8]>, Arc<Item>, Weight, Hasher, Evictions>,
    /// Held while an item is replaced by one that has more in it.
    writing: [Mutex<()>; 64],
    /// For each URL, how often it has changed.
    stamps: Box<[AtomicU32]>,
    /// Counts what was taken out as a whole: what was asked for before that does not come in.
    purges: AtomicU64,
    memory: AtomicU64,
    unshared: Cache<u64, Instant>,
    hasher: Hasher,
    /// Memory of what is on its way in.
    pub room: Arc<Room>,
    /// What is being asked for.
    pub flights: Arc<Flights>,
    /// Work that no client waits for alone.
    pub tasks: Group,
    clock: Clock,
    /// What other gateways share with this one.
    tier: ArcSwapOption<Tier>,
}

/// The responses under one key, the newest last.
#[derive(Debug)]
pub struct Item {
    entries: Vec<Entry>,
    size: usize,
}

/// What is stored for a request.
#[derive(Debug)]
pub enum Found {
    /// A response.
    Entry(Entry),
    /// Responses to others only.
    Others,
    /// Nothing.
    Nothing,
}

/// The store at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CacheStatus {
    /// Bytes that are in use.
    pub bytes: u64,
    /// Bytes that may be.
    pub memory: u64,
    /// Keys that have responses.
    pub entries: usize,
    /// Bytes of bodies that are on their way in.
    pub filling_bytes: u64,
    /// Requests under way that others wait for.
    pub fetching: usize,
}

impl CacheStatus {
    /// The same for the page of metrics.
    pub fn measure(&self, samples: &mut Samples) {
        samples.add(names::CACHE_BYTES, &[], self.bytes);
        samples.add(names::CACHE_ENTRIES, &[], self.entries);
    }
}

/// When a request went: what it brings is stored only if nothing was taken out since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The state of its URL.
    pub stamp: u32,
    purges: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<Item>> for Weight {
    fn weight(&self, key: &Box<[u8]>, item: &Arc<Item>) -> u64 {
        (OVERHEAD + key.len() + item.size) as u64
    }
}

#[derive(Clone)]
struct Evictions(Counter);

impl Lifecycle<Box<[u8]>, Arc<Item>> for Evictions {
    type RequestState = Vec<Arc<Item>>;

    fn on_evict(&self, out: &mut Self::RequestState, _: Box<[u8]>, item: Arc<Item>) {
        self.0.increment(1);
        // Freed when the lock is given back.
        out.push(item);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} of {} bytes)", self.items.weight(), self.items.capacity())
    }
}

impl Store {
    /// An empty store.
    pub fn new(policy: &CachePolicy, recorder: &Recorder) -> Arc<Self> {
        Self::with_clock(policy, recorder, Box::new(Moment::now))
    }

    /// The same, with a clock of its own.
    pub fn with_clock(policy: &CachePolicy, recorder: &Recorder, clock: Clock) -> Arc<Self> {
        let capacity = policy.memory / 100 * STORED;
        // A body of the largest size must fit into a shard many times over.
        let shards = (capacity / (policy.max_object.max(1) * 8)).clamp(1, 16);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(usize::try_from(capacity / 4096).unwrap_or(usize::MAX).max(256));
        options.weight_capacity(capacity).shards(usize::try_from(shards).unwrap_or(1));
        let evictions = Evictions(recorder.counter(names::CACHE_EVICTIONS, &[]));
        let hasher = Hasher::default();
        // All that is needed is given: this cannot fail.
        let items = match options.build() {
            Ok(options) => Cache::with_options(options, Weight, hasher.clone(), evictions),
            Err(_) => Cache::with(256, capacity, Weight, hasher.clone(), evictions),
        };
        Arc::new(Self {
            items,
            writing: std::array::from_fn(|_| Mutex::default()),
            stamps: (0..STAMPS).map(|_| AtomicU32::new(0)).collect(),
            purges: AtomicU64::new(0),
            memory: AtomicU64::new(policy.memory),
            unshared: Cache::new(UNSHARED),
            hasher,
            room: Room::new(policy.memory / 100 * ON_THE_WAY),
            flights: Arc::default(),
            tasks: Group::default(),
            clock,
            tier: ArcSwapOption::empty(),
        })
    }

    /// What other gateways share with this one, if any do.
    pub fn tier(&self) -> Option<Arc<Tier>> {
        self.tier.load_full()
    }

    /// Shares from now on through this Redis, or with nobody.
    pub fn share_through(self: &Arc<Self>, redis: Option<&Arc<Redis>>) {
        let same = match (&*self.tier.load(), redis) {
            (Some(tier), Some(redis)) => tier.is_through(redis),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.tier.store(redis.map(|redis| Tier::start(redis, self)));
        }
    }

    /// A URL has changed, here: whatever is stored under it, for whomever, is void, here and elsewhere.
    pub fn change(&self, worker: usize, url: Vec<u8>) {
        self.invalidate(&url);
        if let Some(tier) = self.tier() {
            self.tasks.spawn(async move { tier.changed(worker, &url).await });
        }
    }

    /// Hands a response that was stored here on to others.
    pub fn hand_on(&self, worker: usize, key: &Key, mark: Option<Mark>, entry: &Entry) {
        let (Some(tier), Some(mark)) = (self.tier(), mark) else { return };
        let (key, entry, now) = (key.clone(), entry.clone(), self.now());
        self.tasks.spawn(async move { tier.keep(worker, &key, mark, &entry, now).await });
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Another number of bytes from now on.
    pub fn resize(&self, policy: &CachePolicy) {
        self.memory.store(policy.memory, Ordering::Relaxed);
        self.items.set_capacity(policy.memory / 100 * STORED);
        self.room.resize(policy.memory / 100 * ON_THE_WAY);
    }

    /// Bytes that are in use.
    pub fn bytes(&self) -> u64 {
        self.items.weight()
    }

    /// How it is.
    pub fn status(&self) -> CacheStatus {
        CacheStatus {
            bytes: self.bytes(),
            memory: self.memory.load(Ordering::Relaxed),
            entries: self.len(),
            filling_bytes: self.room.taken(),
            fetching: self.flights.len(),
        }
    }

    /// Keys that have responses.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What is stored for a request with these fields.
    pub fn find(&self, key: &Key, request: &HeaderMap) -> Found {
        let Some(item) = self.items.get(key.bytes()) else { return Found::Nothing };
        let stamp = self.stamp(key.url());
        let mut valid = item.entries.iter().rev().filter(|entry| entry.meta.stamp == stamp).peekable();
        if valid.peek().is_none() {
            return Found::Nothing;
        }
        let mut matching = valid.filter(|entry| entry.meta.variant.matches(request));
        matching.next().map_or(Found::Others, |entry| Found::Entry(entry.clone()))
    }

    /// What the newest response under a key depends on, as the place of such a request among them.
    pub fn place(&self, key: &Key, request: &HeaderMap) -> Vec<u8> {
        let item = self.items.peek(key.bytes());
        let newest = item.as_ref().and_then(|item| item.entries.last());
        newest.map(|entry| entry.meta.variant.place(request)).unwrap_or_default()
    }

    /// A request goes now.
    pub fn ticket(&self, key: &Key) -> Ticket {
        Ticket { stamp: self.stamp(key.url()), purges: self.purges.load(Ordering::Acquire) }
    }

    /// Stores a response in place of the one that it stands for, and of that which is told here.
    pub fn put(&self, key: &[u8], ticket: Ticket, entry: Entry, instead: Option<&Entry>) {
        let _writing = self.write(key);
        if self.purges.load(Ordering::Acquire) != ticket.purges {
            return;
        }
        let stamp = ticket.stamp;
        let before = self.items.peek(key);
        let mut entries: Vec<Entry> = before.iter().flat_map(|item| &item.entries).cloned().collect();
        let stays = |old: &Entry| {
            let replaced = instead.is_some_and(|instead| Arc::ptr_eq(&instead.meta, &old.meta));
            !replaced && old.meta.variant != entry.meta.variant && old.meta.stamp == stamp
        };
        entries.retain(stays);
        entries.push(entry);
        let surplus = entries.len().saturating_sub(VARIANTS);
        entries.drain(..surplus);
        // One key must not be more than a shard can hold.
        let most = usize::try_from(self.items.shard_capacity() / 2).unwrap_or(usize::MAX);
        let size = |entries: &[Entry]| entries.iter().map(Entry::size).sum::<usize>();
        while entries.len() > 1 && size(&entries) > most {
            entries.remove(0);
        }
        let item = Item { size: size(&entries), entries };
        self.items.insert(key.into(), Arc::new(item));
    }

    /// Takes a response out.
    pub fn remove(&self, key: &[u8], entry: &Entry) {
        self.rebuild(key, |old| !Arc::ptr_eq(&old.meta, &entry.meta));
    }

    /// A URL has changed: whatever is stored under it, for whomever, is void.
    pub fn invalidate(&self, url: &[u8]) {
        self.slot(url).fetch_add(1, Ordering::AcqRel);
    }

    /// Takes out what `matches`, by key and entry, and how many responses that were. `soft` only makes them stale.
    pub fn purge(&self, matches: impl Fn(&[u8], &Entry) -> bool, soft: Option<Instant>) -> usize {
        if soft.is_none() {
            self.purges.fetch_add(1, Ordering::AcqRel);
            // Whoever has not seen that yet comes in before it is looked through.
            self.writing.iter().for_each(|writing| drop(writing.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        let mut count = 0;
        for (key, item) in self.items.iter() {
            let hit: Vec<&Entry> = item.entries.iter().filter(|entry| matches(&key, entry)).collect();
            count += hit.len();
            match soft {
                Some(now) => hit.iter().for_each(|entry| entry.meta.expire(now)),
                None if hit.is_empty() => {}
                None => self.rebuild(&key, |entry| !matches(&key, entry)),
            }
        }
        count
    }

    /// Whether the responses under a key were not to be shared when they were last seen.
    pub fn is_unshared(&self, key: &[u8], now: Instant) -> bool {
        self.unshared.get(&self.hasher.hash_one(key)).is_some_and(|until| now < until)
    }

    /// Remembers whether the responses under a key can be shared.
    pub fn note_shared(&self, key: &[u8], shared: bool, now: Instant) {
        let hash = self.hasher.hash_one(key);
        if shared {
            self.unshared.remove(&hash);
        } else {
            self.unshared.insert(hash, now + UNSHARED_FOR);
        }
    }

    fn rebuild(&self, key: &[u8], stays: impl Fn(&Entry) -> bool) {
        let _writing = self.write(key);
        let Some(item) = self.items.peek(key) else { return };
        let entries: Vec<Entry> = item.entries.iter().filter(|entry| stays(entry)).cloned().collect();
        if entries.is_empty() {
            self.items.remove(key);
        } else if entries.len() < item.entries.len() {
            let size = entries.iter().map(Entry::size).sum();
            self.items.insert(key.into(), Arc::new(Item { entries, size }));
        }
    }

    fn write(&self, key: &[u8]) -> std::sync::MutexGuard<'_, ()> {
        let at = usize::try_from(self.hasher.hash_one(key) % self.writing.len() as u64).unwrap_or_default();
        self.writing[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self, url: &[u8]) -> u32 {
        self.slot(url).load(Ordering::Acquire)
    }

    fn slot(&self, url: &[u8]) -> &AtomicU32 {
        &self.stamps[usize::try_from(self.hasher.hash_one(url) % STAMPS as u64).unwrap_or_default()]
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
