//! A limit as it runs under one configuration: its buckets, its keys, what it remembers, and the Redis that it is counted
//! in. And a limit on one route, which is what requests meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::answer::{self, Said};
use super::bucket::Bucket;
use super::cells::Key;
use super::key::{Keyer, Seen};
use super::memory::{Decided, Memories, Memory};
use super::policy::{DEFAULT_PLAN, LimitPolicy, Measure, Rates, Scope};
use crate::base::allowance::{Left, Terms};
use crate::base::mode::Mode;
use crate::layers::redis::Redis;
use crate::telemetry::names;
use crate::telemetry::page::Samples;

/// A limit.
#[derive(Debug)]
pub struct Limit {
    /// What it was told.
    pub policy: Arc<LimitPolicy>,
    /// What it remembers.
    pub memory: Arc<Memory>,
    /// Finds the keys of requests.
    pub keyer: Keyer,
    /// Its buckets, by plan; none where it counts requests at a time.
    pub plans: Box<[Plan]>,
    /// What clients are told of requests at a time, if it counts those.
    crowd: Option<Arc<Terms>>,
    /// Where it is counted, if that is not here alone.
    pub redis: Option<Arc<Redis>>,
}

/// What one plan allows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub bucket: Bucket,
    /// The same for clients.
    pub terms: Arc<Terms>,
}

/// A limit on one route.
#[derive(Debug)]
pub struct Bound {
    /// The limit.
    pub limit: Arc<Limit>,
    /// How many requests one of the route counts for.
    pub cost: u32,
    /// What sets the keys of this route apart, where routes do not share.
    pub salt: Option<Key>,
    /// What every key in Redis begins with.
    pub label: String,
}

/// What an operator wants to know of a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is counted: `local` or `redis`.
    pub store: &'static str,
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// Keys that are remembered here.
    pub keys: usize,
    /// Most of them.
    pub max_keys: usize,
    /// What was decided in this mode.
    pub decisions: Decisions,
    /// The same in each.
    #[serde(skip)]
    pub by_mode: [(&'static str, Decisions); 2],
    /// Decisions without Redis.
    pub store_errors: u64,
    /// Keys that were forgotten to make room for others.
    pub evictions: u64,
    /// Decisions by the bucket that keys share for which there was no room.
    pub overflows: u64,
}

/// Decisions by what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// Requests that passed and were counted.
    pub allowed: u64,
    /// Requests that did not pass, or would not have.
    pub refused: u64,
}

impl Limit {
    /// Starts a limit, with all that it remembers from before.
    pub fn start(policy: &Arc<LimitPolicy>, memories: &Memories, redis: Option<&Arc<Redis>>) -> Arc<Self> {
        let memory = memories.get(&policy.name, policy.max_keys);
        let plan = |(name, rate, burst): (&str, _, _)| {
            let bucket = Bucket::new(rate, burst);
            Plan { name: name.to_owned(), bucket, terms: answer::terms(policy, &memory.name, burst, bucket.unit()) }
        };
        let (plans, crowd) = match &policy.measure {
            Measure::Rate(rate) => (rate.each().map(plan).collect(), None),
            Measure::InFlight(most) => (Box::default(), Some(answer::terms(policy, &memory.name, *most, 0))),
        };
        Arc::new(Self {
            keyer: Keyer::new(&policy.key, policy.ipv6_prefix, memory.seeds.clone()),
            redis: redis.filter(|_| policy.is_shared()).cloned(),
            policy: policy.clone(),
            memory,
            plans,
            crowd,
        })
    }

    /// The plan of whoever asks.
    pub fn plan(&self, seen: Seen<'_>) -> usize {
        let Measure::Rate(rate) = &self.policy.measure else { return 0 };
        let Rates::ByPlan { claim, .. } = &rate.rates else { return 0 };
        let claimed = claim.as_deref().and_then(|path| seen.claim(path)?.as_str());
        let booked = || seen.exchange.identity.as_ref().and_then(|identity| identity.plan.as_deref());
        let named = |name: &str| self.plans.iter().position(|plan| plan.name == name);
        claimed.or_else(booked).and_then(named).or_else(|| named(DEFAULT_PLAN)).unwrap_or(0)
    }

    /// What clients are told where it has said this. Its terms are those of a share while Redis cannot be asked.
    pub fn left(&self, said: Said) -> Left {
        let mut known = self.plans.iter().map(|plan| &plan.terms).chain(&self.crowd);
        let same = known.find(|terms| (terms.burst, terms.unit) == (said.burst, said.unit));
        let share = || answer::terms(&self.policy, &self.memory.name, said.burst, said.unit);
        said.left(same.cloned().unwrap_or_else(share))
    }

    /// Whether what it refuses is refused.
    pub fn enforces(&self) -> bool {
        self.policy.mode == Mode::Enforce
    }

    /// What there is to tell of it.
    pub fn status(&self) -> LimitStatus {
        let (memory, counts) = (&self.memory, &self.memory.counts);
        let decisions = |mode| Decisions::of(counts.of(mode));
        LimitStatus {
            name: memory.name.clone(),
            store: if self.policy.is_shared() { "redis" } else { "local" },
            mode: if self.enforces() { "enforce" } else { "observe" },
            keys: memory.keys(),
            max_keys: self.policy.max_keys,
            decisions: decisions(self.policy.mode),
            by_mode: [("enforce", decisions(Mode::Enforce)), ("observe", decisions(Mode::Observe))],
            store_errors: counts.store_errors.load(Ordering::Relaxed),
            evictions: memory.cells.evicted() + memory.inside.evicted(),
            overflows: memory.cells.overflowed() + memory.inside.overflowed(),
        }
    }
}

impl Decisions {
    fn of(decided: &Decided) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Self { allowed: read(&decided.allowed), refused: read(&decided.refused) }
    }
}

impl LimitStatus {
    /// Adds what a scrape reads.
    pub fn measure(&self, samples: &mut Samples) {
        for (mode, decisions) in self.by_mode {
            if mode == self.mode || decisions != Decisions::default() {
                let mut count = |decision, count| {
                    samples.add(names::RATE_LIMIT_DECISIONS, &[&self.name, decision, mode], count);
                };
                count("allowed", decisions.allowed);
                count("refused", decisions.refused);
            }
        }
        samples.add(names::RATE_LIMIT_KEYS, &[&self.name], self.keys as u64);
        samples.add(names::RATE_LIMIT_STORE_ERRORS, &[&self.name], self.store_errors);
        samples.add(names::RATE_LIMIT_EVICTIONS, &[&self.name], self.evictions);
        samples.add(names::RATE_LIMIT_OVERFLOWS, &[&self.name], self.overflows);
    }
}

impl Bound {
    /// A limit on a route of this name.
    pub fn new(limit: Arc<Limit>, cost: u32, route: &str) -> Self {
        let per_route = limit.policy.per == Scope::Route;
        let label = match per_route {
            true => format!("{}/{route}", limit.policy.name),
            false => limit.policy.name.clone(),
        };
        let salt = per_route.then(|| limit.memory.seeds.salt(route));
        Self { limit, cost, salt, label }
    }

    /// The key of a request.
    pub fn key(&self, seen: Seen<'_>) -> Key {
        let key = self.limit.keyer.key(seen);
        self.salt.map_or(key, |salt| key.salted(salt))
    }
}
