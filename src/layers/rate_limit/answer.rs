//! What clients are told of the limits that they met: `RateLimit-Policy` and `RateLimit` as structured fields
//! (draft-ietf-httpapi-ratelimit-headers), the `X-RateLimit-*` fields of before, and `Retry-After`, rounded up, so that
//! waiting that long is enough.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::limit::Bound;
use super::policy::{LimitPolicy, Measure, Style};
use crate::base::allowance::{Left, Terms, tightest};
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
    /// The same for clients.
    pub fn left(&self, terms: Arc<Terms>) -> Left {
        let reset = if self.passes { self.until_full.div_ceil(SECOND) } else { seconds(self.wait) };
        let reset = u32::try_from(reset).unwrap_or(u32::MAX);
        Left { terms, passes: self.passes, remaining: self.remaining, reset }
    }
}

/// Seconds to wait, rounded up, at least one.
pub fn seconds(wait: u64) -> u64 {
    wait.div_ceil(SECOND).max(1)
}

/// What a limit says of itself. Its name needs no escapes.
pub fn terms(policy: &LimitPolicy, name: &Arc<str>, burst: u32, unit: u64) -> Arc<Terms> {
    let item = match policy.measure {
        Measure::Rate(_) => {
            format!("\"{name}\";q={burst};w={}", unit.saturating_mul(u64::from(burst)).div_ceil(SECOND))
        }
        Measure::InFlight(_) => format!("\"{name}\";q={burst};qu=\"concurrent-requests\""),
    };
    Arc::new(Terms {
        name: name.clone(),
        style: policy.headers,
        burst,
        unit,
        policy: HeaderValue::try_from(item).unwrap_or(HeaderValue::from_static("")),
        opening: format!("\"{name}\";r=").into_bytes().into(),
    })
}

/// Tells of the limits that a request has met, in the way that each of them is to be told of.
pub fn tell(met: &[Left], headers: &mut HeaderMap) {
    match met {
        [] => {}
        [one] if one.terms.style == Style::Draft => {
            // Both before either is put: to move what has just been written waits for it, 0.06 µs in all.
            let (policy, state) = (one.terms.policy.clone(), value(Room::default().state(one)));
            headers.append(RATELIMIT_POLICY, policy);
            headers.append(RATELIMIT, state);
        }
        several => tell_of_several(several, headers),
    }
}

fn tell_of_several(met: &[Left], headers: &mut HeaderMap) {
    let of = |style| met.iter().filter(move |left| left.terms.style == style);
    if of(Style::Draft).next().is_some() {
        let policies: Vec<&[u8]> = of(Style::Draft).map(|left| left.terms.policy.as_bytes()).collect();
        let states: Vec<Vec<u8>> = of(Style::Draft).map(|left| Room::default().state(left).to_vec()).collect();
        headers.append(RATELIMIT_POLICY, value(&policies.join(&b", "[..])));
        headers.append(RATELIMIT, value(&states.join(&b", "[..])));
    }
    if let Some(left) = tightest(of(Style::Legacy)) {
        headers.append(X_RATELIMIT_LIMIT, HeaderValue::from(left.terms.burst));
        headers.append(X_RATELIMIT_REMAINING, HeaderValue::from(left.remaining));
        headers.append(X_RATELIMIT_RESET, HeaderValue::from(left.reset));
    }
}

fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

/// Room for a limit's item in the list of what is left, with a name as long as it may be. It is written from its end, by
/// hand, for it is part of every answer.
struct Room([u8; 112]);

impl Default for Room {
    fn default() -> Self {
        Self([0; 112])
    }
}

impl Room {
    /// Writes the item.
    fn state(&mut self, left: &Left) -> &[u8] {
        let mut start = self.0.len();
        if left.terms.unit > 0 {
            start = self.number(start, left.reset);
            start = self.text(start, b";t=");
        }
        start = self.number(start, left.remaining);
        start = self.text(start, &left.terms.opening);
        &self.0[start..]
    }

    /// Puts a text before what is there; what has no room is left out.
    fn text(&mut self, end: usize, text: &[u8]) -> usize {
        let start = end.saturating_sub(text.len());
        if let Some(room) = self.0.get_mut(start..end).filter(|room| room.len() == text.len()) {
            room.copy_from_slice(text);
        }
        start
    }

    /// The same with a number.
    fn number(&mut self, mut end: usize, mut number: u32) -> usize {
        loop {
            end = end.saturating_sub(1);
            self.0[end] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return end;
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::rate_limit::policy::{RatePolicy, Rates};

    #[test]
    fn every_number_of_every_limit_has_room() {
        let longest: Arc<str> = "n".repeat(64).into();
        for (name, unit) in [(&longest, 1), (&"a".into(), 0)] {
            let measure = Measure::Rate(RatePolicy::new(Rates::One("1/s".parse().unwrap())));
            let terms = terms(&LimitPolicy::new(&**name, measure), name, u32::MAX, unit);
            for (remaining, reset) in [(0, 0), (9, 10), (1_234_567_890, 60), (u32::MAX, u32::MAX)] {
                let left = Left { terms: terms.clone(), passes: true, remaining, reset };
                let t = if unit > 0 { format!(";t={reset}") } else { String::new() };
                let text = format!("\"{name}\";r={remaining}{t}");
                assert_eq!(String::from_utf8_lossy(Room::default().state(&left)), text);
            }
        }
    }
}
