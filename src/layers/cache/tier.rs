//! The second tier: what several gateways share through Redis, behind the memory of each. Redis is asked when one request
//! goes for all others, never on a hit, and not waited for when something is stored. Without it each gateway has its own
//! memory and goes on.
//!
//! A response is valid while the generation of its URL is the one that it was asked under, and no purge since has named
//! it: both are counted in Redis. Purges and changed URLs are published, so that the memory of every gateway follows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::blob::{self, Blob};
use super::entry::Entry;
use super::freshness::Moment;
use super::key::Key;
use super::policy::RouteCachePolicy;
use super::purge::{Order, Purge};
use super::store::{Store, Ticket};
use crate::base::tasks::Task;
use crate::layers::redis::{CONTROL, Heard, Redis, RedisError, Script, Value, cmd};

/// Longest that anything is kept, in milliseconds; and that the generation of a URL is, which must outlive that.
const LONGEST: u64 = 24 * 3600 * 1000;
const GENERATION: u64 = 2 * LONGEST;
/// Purges that are remembered. What was asked for before the first of them is void.
const PURGES: usize = 1024;

/// Counts a purge, remembers it and tells everybody. The answer is its number.
const ORDER: &str = "
local number = redis.call('INCR', KEYS[1])
redis.call('RPUSH', KEYS[2], number .. ' ' .. ARGV[1])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
redis.call('PUBLISH', ARGV[3], cjson.encode({purge = number, order = ARGV[1]}))
return number
";

/// The second tier of one gateway.
pub struct Tier {
    redis: Arc<Redis>,
    order: Script,
    purges: Arc<Mutex<Purges>>,
    _hearing: Task,
}

/// The state of things when a response was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How often its URL had changed.
    pub generation: u64,
    /// The last purge that was known.
    pub seen: u64,
}

/// What a look has brought.
#[derive(Debug)]
pub struct Looked {
    /// What is stored there.
    pub entry: Option<Entry>,
    /// What will hold for what is fetched now.
    pub mark: Mark,
}

/// The purges that are known, the last ones with what they say.
#[derive(Debug, Default)]
struct Purges {
    last: u64,
    known: VecDeque<(u64, Purge)>,
}

/// What gateways tell each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Message {
    Purge { purge: u64, order: String },
    Changed { url: String },
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tier")
    }
}

impl Tier {
    /// Shares what this store has through this Redis.
    pub fn start(redis: &Arc<Redis>, store: &Arc<Store>) -> Arc<Self> {
        let purges = Arc::<Mutex<Purges>>::default();
        let (heard, kept) = (purges.clone(), Arc::downgrade(store));
        let asking = Arc::downgrade(redis);
        let hearing = redis.subscribe(redis.key("cache"), move |said| hear(&said, &heard, &kept, &asking));
        Arc::new(Self { redis: redis.clone(), order: Script::new(ORDER), purges, _hearing: hearing })
    }

    /// Whether it shares through this Redis.
    pub fn is_through(&self, redis: &Arc<Redis>) -> bool {
        Arc::ptr_eq(&self.redis, redis)
    }

    /// What is stored for a request with these fields. None while Redis gives no answer: then nothing is stored either.
    pub async fn look(
        &self,
        worker: usize,
        key: &Key,
        request: &HeaderMap,
        policy: &RouteCachePolicy,
        (ticket, now): (Ticket, Moment),
    ) -> Option<Looked> {
        let seen = lock(&self.purges).last;
        let names = Names::of(&self.redis, key.url());
        let (found, generation) = self.get(worker, &names.entry(key.bytes()), &names.generation).await.ok()?;
        let mark = Mark { generation, seen };
        let read = |bytes: Option<Vec<u8>>, key: &[u8]| blob::read(bytes?, key, policy, ticket.stamp, now);
        let found = match read(found, key.bytes()) {
            Some(Blob::Pointer(names_of)) => {
                let own = [key.bytes(), &names_of.place(request)].concat();
                let (found, _) = self.get(worker, &names.entry(&own), &names.generation).await.ok()?;
                read(found, &own)
            }
            found => found,
        };
        let entry = match found {
            Some(Blob::Entry(entry, of)) if of.generation == generation && entry.meta.variant.matches(request) => {
                lock(&self.purges).allows(of.seen, key.bytes(), &entry, now).then_some(entry)
            }
            _ => None,
        };
        Some(Looked { entry, mark })
    }

    async fn get(&self, worker: usize, entry: &str, generation: &str) -> Result<(Option<Vec<u8>>, u64), RedisError> {
        let answer = self.redis.ask(worker, cmd("MGET").arg(entry).arg(generation)).await?;
        let Value::Array(mut both) = answer else { return Ok((None, 0)) };
        let generation = match both.pop() {
            Some(Value::BulkString(text)) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let bytes = match both.pop() {
            Some(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        };
        Ok((bytes, generation.unwrap_or(0)))
    }

    /// Stores a response for all.
    pub async fn keep(&self, worker: usize, key: &Key, mark: Mark, entry: &Entry, now: Moment) {
        let meta = &entry.meta;
        let left = (meta.lifetime.fresh + meta.lifetime.while_revalidate.max(meta.lifetime.if_error))
            .saturating_sub(meta.age(now.instant));
        let millis = u64::try_from(left.as_millis()).unwrap_or(LONGEST).min(LONGEST);
        if meta.is_always_asked() || millis == 0 {
            return;
        }
        let names = Names::of(&self.redis, key.url());
        let mut own = key.bytes().to_vec();
        if !meta.variant.is_plain() {
            let pointer = blob::write_pointer(&own, &meta.variant);
            if self.set(worker, &names.entry(&own), pointer, millis).await.is_err() {
                return;
            }
            own.extend(meta.variant.own_place());
        }
        let bytes = blob::write(&own, entry, mark, now);
        // Without it others ask the upstream themselves.
        let _ = self.set(worker, &names.entry(&own), bytes, millis).await;
    }

    async fn set(&self, worker: usize, name: &str, bytes: Vec<u8>, millis: u64) -> Result<Value, RedisError> {
        self.redis.ask(worker, cmd("SET").arg(name).arg(bytes).arg("PX").arg(millis)).await
    }

    /// A URL has changed: what is stored of it is void, here and elsewhere.
    pub async fn changed(&self, worker: usize, url: &[u8]) {
        let names = Names::of(&self.redis, url);
        let _ = self.redis.ask(worker, cmd("INCR").arg(&names.generation)).await;
        let _ = self.redis.ask(worker, cmd("PEXPIRE").arg(&names.generation).arg(GENERATION)).await;
        let message = Message::Changed { url: URL_SAFE_NO_PAD.encode(url) };
        let text = serde_json::to_string(&message).unwrap_or_default();
        let _ = self.redis.ask(worker, cmd("PUBLISH").arg(self.redis.key("cache")).arg(text)).await;
    }

    /// Tells all gateways of a purge.
    ///
    /// # Errors
    /// Redis gives no answer: the others have not been told.
    pub async fn purge(&self, order: &Order) -> Result<(), RedisError> {
        let text = serde_json::to_string(order).unwrap_or_default();
        let keys = [counter(&self.redis), list(&self.redis)];
        let arguments = [text.clone(), PURGES.to_string(), self.redis.key("cache")];
        let number = self.redis.run(CONTROL, &self.order, &keys, &arguments).await?;
        if let Value::Int(number) = number {
            lock(&self.purges).note(number.unsigned_abs(), &text);
        }
        Ok(())
    }
}

impl Purges {
    /// Remembers a purge, and whether it was new.
    fn note(&mut self, number: u64, order: &str) -> Option<Purge> {
        let order: Order = serde_json::from_str(order).ok()?;
        let purge = Purge::try_from(order).ok()?;
        if self.known.iter().rev().any(|(known, _)| *known == number) {
            return None;
        }
        let at = self.known.iter().rposition(|(known, _)| *known < number).map_or(0, |at| at + 1);
        self.known.insert(at, (number, purge.clone()));
        let surplus = self.known.len().saturating_sub(PURGES);
        self.known.drain(..surplus);
        self.last = self.last.max(number);
        Some(purge)
    }

    /// Whether a response that was asked for when this purge was the last one may serve. A soft one makes it stale.
    fn allows(&self, seen: u64, key: &[u8], entry: &Entry, now: Moment) -> bool {
        if seen > self.last {
            // From before Redis has lost what it knew, or from one that has heard more: not to be told here.
            return false;
        }
        let since = self.known.iter().rev().take_while(|(number, _)| *number > seen);
        let told = since.clone().count() as u64;
        if told < self.last - seen {
            return false;
        }
        for (_, purge) in since.filter(|(_, purge)| purge.covers(key, entry)) {
            if !purge.is_soft() {
                return false;
            }
            entry.meta.expire(now.instant);
        }
        true
    }
}

/// Does what others say.
fn hear(said: &Heard, purges: &Arc<Mutex<Purges>>, store: &Weak<Store>, redis: &Weak<Redis>) {
    let Some(store) = store.upgrade() else { return };
    let bytes = match said {
        Heard::Message(bytes) => bytes,
        Heard::Gap => {
            if let Some(redis) = redis.upgrade() {
                store.tasks.spawn(catch_up(redis, purges.clone(), Arc::downgrade(&store)));
            }
            return;
        }
    };
    match serde_json::from_slice(bytes) {
        Ok(Message::Purge { purge, order }) => {
            let new = lock(purges).note(purge, &order);
            if let Some(purge) = new {
                purge.carry_out(&store);
            }
        }
        Ok(Message::Changed { url }) => {
            if let Ok(url) = URL_SAFE_NO_PAD.decode(url) {
                store.invalidate(&url);
            }
        }
        Err(error) => tracing::debug!(%error, "what another gateway says of the cache cannot be read"),
    }
}

/// Does what was said while nobody listened. Where that cannot be told any more, and where URLs may have changed unheard,
/// everything is stale: the upstream is asked about it.
async fn catch_up(redis: Arc<Redis>, purges: Arc<Mutex<Purges>>, store: Weak<Store>) {
    let mut missed = None;
    for _ in 0..20 {
        let asked = redis.ask(CONTROL, cmd("LRANGE").arg(list(&redis)).arg(0).arg(-1)).await;
        if let Ok(Value::Array(lines)) = asked {
            missed = Some(lines);
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let (Some(lines), Some(store)) = (missed, store.upgrade()) else { return };
    let lines = lines.into_iter().filter_map(|line| match line {
        Value::BulkString(text) => String::from_utf8(text).ok(),
        _ => None,
    });
    let told: Vec<(u64, String)> = lines
        .filter_map(|line| {
            line.split_once(' ').and_then(|(number, order)| Some((number.parse().ok()?, order.to_owned())))
        })
        .collect();
    let newest = told.last().map_or(0, |(number, _)| *number);
    let before = {
        let mut purges = lock(&purges);
        let before = purges.last;
        if newest < before {
            // Redis has lost what it knew, and counts from the beginning.
            *purges = Purges::default();
        }
        before
    };
    let new: Vec<Purge> = {
        let mut purges = lock(&purges);
        told.iter().filter_map(|(number, order)| purges.note(*number, order)).collect()
    };
    // At the beginning there is nothing that could have been missed.
    if !store.is_empty() {
        for purge in new {
            purge.carry_out(&store);
        }
        store.purge(|_, _| true, Some(store.now().instant));
    }
    tracing::debug!(before, newest, "what other gateways have purged is known again");
}

/// What a URL and what is stored of it are called in Redis: of one hash tag, so that they are on one server.
struct Names {
    prefix: String,
    generation: String,
}

impl Names {
    fn of(redis: &Redis, url: &[u8]) -> Self {
        let tag = hashed(url);
        Self { prefix: redis.key(&format!("cache:{{{tag}}}:")), generation: redis.key(&format!("cache:{{{tag}}}")) }
    }

    fn entry(&self, key: &[u8]) -> String {
        format!("{}{}", self.prefix, hashed(key))
    }
}

fn hashed(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes).as_ref())
}

fn counter(redis: &Redis) -> String {
    redis.key("cache:{purges}")
}

fn list(redis: &Redis) -> String {
    redis.key("cache:{purges}:list")
}

fn lock(purges: &Mutex<Purges>) -> MutexGuard<'_, Purges> {
    purges.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::layers::cache::entry::tests::meta;
    use crate::layers::cache::key::of_test;

    #[test]
    fn a_response_is_void_once_a_later_purge_names_it() {
        let entry = |tag: &'static str| {
            let lines = [("cache-control", "max-age=60"), ("cache-tag", tag)];
            Entry { meta: Arc::new(meta(&lines, &HeaderMap::new())), body: Bytes::new() }
        };
        let (red, blue, key) = (entry("red"), entry("blue"), of_test("r", "/"));
        let now = red.meta.received;
        let mut purges = Purges::default();
        assert!(purges.allows(0, key.bytes(), &red, now));
        assert!(!purges.allows(1, key.bytes(), &red, now), "from a time that is not known here");
        assert!(purges.note(1, r#"{"tag":"red"}"#).is_some() && purges.note(1, r#"{"tag":"red"}"#).is_none());
        assert!(!purges.allows(0, key.bytes(), &red, now) && purges.allows(1, key.bytes(), &red, now));
        assert!(purges.allows(0, key.bytes(), &blue, now));
        purges.note(2, r#"{"tag":"blue","soft":true}"#);
        assert!(purges.allows(1, key.bytes(), &blue, now) && !blue.meta.is_fresh(now.instant));
        purges.note(4, r#"{"tag":"green"}"#);
        assert!(!purges.allows(2, key.bytes(), &blue, now), "the third was never heard of");
        for number in 5..5 + PURGES as u64 {
            purges.note(number, r#"{"tag":"x"}"#);
        }
        assert!(!purges.allows(3, key.bytes(), &red, now) && purges.allows(4, key.bytes(), &red, now));
    }
}
