//! What the limits of a route would say to a request, and what it would be counted by, without using anything up: for those
//! who ask why.

use std::time::Instant;

use serde::Serialize;

use super::RateLimit;
use super::answer::{Said, seconds};
use super::key::Seen;
use super::limit::Bound;
use super::memory::Inside;
use super::policy::Measure;
use super::round::{crowd, said};

/// What one limit would say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// The limit.
    pub limit: String,
    /// What the request is counted by; what may be a secret or a name shows as a digest.
    pub key: String,
    /// The plan whose rate counts, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Where it is counted: `local` or `redis`. Of the latter this gateway knows what it has heard last.
    pub store: &'static str,
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// How many requests it counts for.
    pub cost: u32,
    /// Whether it would pass.
    pub passes: bool,
    /// What is left, after it if it would pass.
    pub remaining: u32,
    /// Seconds to wait, where it would not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl RateLimit {
    /// What each limit would say to a request at this time.
    pub fn explain(&self, seen: Seen<'_>, now: Instant) -> Vec<Explained> {
        self.limits.bounds.iter().map(|bound| explain(bound, seen, now)).collect()
    }
}

fn explain(bound: &Bound, seen: Seen<'_>, now: Instant) -> Explained {
    let (limit, memory, key) = (&bound.limit, &bound.limit.memory, bound.key(seen));
    let plan = limit.plans.get(limit.plan(seen));
    let word = match (&limit.policy.measure, plan) {
        (Measure::InFlight(most), _) => {
            let inside = memory.inside.peek(key).map_or(0, |Inside(inside)| inside);
            crowd(*most, inside.saturating_add(u32::from(inside < *most)), inside < *most)
        }
        (Measure::Rate(_), Some(plan)) => {
            let time = memory.time(now);
            let tested = plan.bucket.test(memory.cells.peek(key), time, bound.cost);
            said(&tested, plan.bucket, tested.taken.is_some())
        }
        (Measure::Rate(_), None) => crowd(0, 0, true),
    };
    let Said { passes, remaining, wait, .. } = word;
    let status = limit.status();
    Explained {
        limit: limit.policy.name.clone(),
        key: limit.keyer.text(seen),
        plan: plan.filter(|_| limit.plans.len() > 1).map(|plan| plan.name.clone()),
        store: status.store,
        mode: status.mode,
        cost: bound.cost,
        passes,
        remaining,
        retry_after: (!passes).then(|| seconds(wait)),
    }
}
