//! What clients are told of the limits that they met: `RateLimit-Policy` and `RateLimit` as structured fields
//! (draft-ietf-httpapi-ratelimit-headers), the `X-RateLimit-*` fields of before, and `Retry-After`, rounded up, so that
//! waiting that long is enough.

use std::io::{self, Write};

use http::{HeaderName, HeaderValue};

use super::bucket::Bucket;
use super::limit::{Bound, Plan};
use super::policy::{MOST, Measure, Style};
use crate::base::reject::{Reason, Reject};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What one limit says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it may pass.
    pub passes: bool,
    /// Most at once.
    pub burst: u32,
    /// What is left.
    pub remaining: u32,
    /// How long until nothing is used up any more, in nanoseconds.
    pub until_full: u64,
    /// How long until it may pass, in nanoseconds; 0 where it may.
    pub wait: u64,
    /// Time until one more may pass, in nanoseconds; 0 where requests at a time are counted.
    pub unit: u64,
}

impl Said {
    /// Seconds after which it is worth trying again, or after which everything is as before.
    fn reset(&self) -> u64 {
        match self.passes {
            true => self.until_full.div_ceil(SECOND),
            false => seconds(self.wait),
        }
    }

    /// Whether it is nearer to a refusal than another.
    fn is_tighter(&self, other: &Self) -> bool {
        (self.passes, self.share_left()) < (other.passes, other.share_left())
    }

    /// What is left, as a share of everything.
    pub fn share_left(&self) -> f32 {
        self.remaining as f32 / self.burst.max(1) as f32
    }
}

/// Seconds to wait, rounded up, at least one.
pub fn seconds(wait: u64) -> u64 {
    wait.div_ceil(SECOND).max(1)
}

/// Room for the state of as many limits as a route may have, with names as long as they may be.
const ROOM: usize = MOST * 112;

/// Room for that of one.
const ROOM_OF_ONE: usize = ROOM / MOST;

/// Tells of one limit that counts by this plan, and of no other.
pub fn fields_of_one(bound: &Bound, plan: &Plan, said: Said, mut put: impl FnMut(HeaderName, HeaderValue)) {
    match bound.limit.policy.headers {
        Style::Draft => {
            let mut room = [0; ROOM_OF_ONE];
            let mut rest = &mut room[..];
            let _ = state(bound, &said, false, &mut rest);
            let left = rest.len();
            put(RATELIMIT_POLICY, plan.told.clone());
            put(RATELIMIT, value(&room[..ROOM_OF_ONE - left]));
        }
        Style::Legacy | Style::Off => fields(std::iter::once((bound, said)), put),
    }
}

/// Tells of limits, in the way that each of them is to be told of.
pub fn fields<'a>(said: impl Iterator<Item = (&'a Bound, Said)> + Clone, mut put: impl FnMut(HeaderName, HeaderValue)) {
    let said = said.filter(|(bound, _)| bound.limit.enforces());
    let mut room = [0; ROOM];
    let mut rest = &mut room[..];
    let (mut drafts, mut tightest) = (None, None::<Said>);
    for (bound, said) in said.clone() {
        match bound.limit.policy.headers {
            Style::Draft => {
                let _ = state(bound, &said, drafts.is_some(), &mut rest);
                drafts = Some(if drafts.is_none() { policy_of(bound, &said) } else { None });
            }
            Style::Legacy if tightest.is_none_or(|tightest| said.is_tighter(&tightest)) => tightest = Some(said),
            Style::Legacy | Style::Off => {}
        }
    }
    if let Some(of_one) = drafts {
        put(RATELIMIT_POLICY, of_one.unwrap_or_else(|| policies(said)));
        let left = rest.len();
        put(RATELIMIT, value(&room[..ROOM - left]));
    }
    if let Some(said) = tightest {
        put(X_RATELIMIT_LIMIT, HeaderValue::from(said.burst));
        put(X_RATELIMIT_REMAINING, HeaderValue::from(said.remaining));
        put(X_RATELIMIT_RESET, HeaderValue::from(said.reset()));
    }
}

fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

/// What the list of limits is where there is only this one, if that is known from before.
fn policy_of(bound: &Bound, said: &Said) -> Option<HeaderValue> {
    let same = |bucket: Bucket| (bucket.burst(), bucket.unit()) == (said.burst, said.unit);
    bound.limit.plans.iter().find(|plan| same(plan.bucket)).map(|plan| plan.told.clone())
}

/// What limits there are.
fn policies<'a>(said: impl Iterator<Item = (&'a Bound, Said)>) -> HeaderValue {
    let shown = said.filter(|(bound, _)| bound.limit.policy.headers == Style::Draft);
    let text = shown.map(|(bound, said)| match bound.limit.policy.measure {
        Measure::Rate(_) => policy(&bound.limit.policy.name, said.burst, said.unit),
        Measure::InFlight(most) => format!("\"{}\";q={most};qu=\"concurrent-requests\"", bound.limit.policy.name),
    });
    HeaderValue::try_from(text.collect::<Vec<_>>().join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// A limit as an item of the list. Its name needs no escapes.
pub fn policy(name: &str, burst: u32, unit: u64) -> String {
    format!("\"{name}\";q={burst};w={}", unit.saturating_mul(u64::from(burst)).div_ceil(SECOND))
}

/// What its item in the list of what is left begins with.
pub fn opening(name: &str) -> String {
    format!("\"{name}\";r=")
}

/// Adds what is left of one limit to the list; by hand, for it is part of every answer.
fn state(bound: &Bound, said: &Said, more: bool, states: &mut &mut [u8]) -> io::Result<()> {
    if more {
        states.write_all(b", ")?;
    }
    states.write_all(&bound.limit.opening)?;
    states.write_all(itoa::Buffer::new().format(said.remaining).as_bytes())?;
    if said.unit > 0 {
        states.write_all(b";t=")?;
        states.write_all(itoa::Buffer::new().format(said.reset()).as_bytes())?;
    }
    Ok(())
}

/// The refusal of a request that has to wait so long, for this limit.
pub fn too_many(bound: &Bound, wait: u64) -> Reject {
    let name = &bound.limit.policy.name;
    let cause = match bound.limit.policy.measure {
        Measure::Rate(_) => format!("limit {name}: used up"),
        Measure::InFlight(most) => format!("limit {name}: {most} requests are in flight"),
    };
    Reject::new(Reason::RateLimited, "too many requests; Retry-After says when to try again")
        .because(cause)
        .retry_after(seconds(wait))
}

/// The refusal of a request about which nobody can tell.
pub fn nobody_knows(bound: &Bound) -> Reject {
    Reject::new(Reason::LimitsUnavailable, "it cannot be told now how much may pass")
        .because(format!("limit {}: redis cannot be asked, and on_store_error is deny", bound.limit.policy.name))
        .retry_after(1)
}
