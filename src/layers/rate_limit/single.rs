//! The one limit that most routes have, where it is counted here and nothing may have to be given back: what a request
//! needs of it lies side by side, and there are no lists and rounds. What passes takes 700 instructions fewer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::answer::Said;
use super::cells::Key;
use super::key::{Keyer, Seen};
use super::limit::{Bound, Limit, Plan};
use super::memory::Memory;
use super::policy::Style;
use super::round::said;
use crate::base::request::Request;

/// A limit on a route that has no other.
#[derive(Debug)]
pub(super) struct Single {
    keyer: Keyer,
    salt: Option<Key>,
    memory: Arc<Memory>,
    /// What it allows to those who have booked nothing.
    plan: Plan,
    /// The limit itself, if it goes by what clients have booked.
    plans: Option<Arc<Limit>>,
    cost: u32,
    enforces: bool,
    /// Whether clients are told of it.
    is_told: bool,
}

/// What it says to a request that does not pass.
pub(super) struct Refused {
    pub(super) key: Key,
    pub(super) said: Said,
}

impl Single {
    /// The limit, if there is but one.
    pub(super) fn of(bounds: &[Bound]) -> Option<Self> {
        let [bound] = bounds else { return None };
        let limit = &bound.limit;
        let (plan, None) = (limit.plans.first()?, &limit.redis) else { return None };
        Some(Self {
            keyer: limit.keyer.clone(),
            salt: bound.salt,
            memory: limit.memory.clone(),
            plan: plan.clone(),
            plans: (limit.plans.len() > 1).then(|| limit.clone()),
            cost: bound.cost,
            enforces: limit.enforces(),
            is_told: limit.enforces() && limit.policy.headers != Style::Off,
        })
    }

    /// Asks it, and takes what it gives.
    pub(super) fn ask(&self, request: &mut Request, now: Instant) -> Result<(), Refused> {
        let seen = Seen { exchange: &request.exchange, headers: &request.head.headers };
        let booked = self.plans.as_ref().and_then(|limit| limit.plans.get(limit.plan(seen)));
        let Plan { bucket, terms, .. } = booked.unwrap_or(&self.plan);
        let key = self.keyer.key(seen);
        let (key, memory) = (self.salt.map_or(key, |salt| key.salted(salt)), &*self.memory);
        let time = memory.time(now);
        let cell = memory.cells.lock(key, time);
        let tested = bucket.test(cell.get(), time, self.cost);
        let said = said(&tested, *bucket, tested.taken.is_some());
        let Some(state) = tested.taken else { return Err(Refused { key, said }) };
        cell.set(state);
        let counts = if self.enforces { &memory.counts.enforced } else { &memory.counts.observed };
        counts.allowed.fetch_add(1, Ordering::Relaxed);
        if self.is_told || self.enforces && request.exchange.logged {
            request.exchange.met.push(said.left(terms.clone()));
        }
        Ok(())
    }
}
