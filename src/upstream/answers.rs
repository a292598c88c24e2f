//! What is known of one name, and when to ask again. Told the time and what was answered; knows neither
//! sockets nor tasks nor the library that asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::policy::{DnsPolicy, Family};
pub use super::record::MAX_ADDRESSES;
use super::record::{Record, Service, tidy, usable};

/// The first pause after a failed lookup; each further failure doubles it, up to `refresh`.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// No pause is longer, whatever `refresh` says.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// One kind of record, asked for by itself: one lookup for both kinds of addresses would hide that half of it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 (RFC 1035, section 3.4.1).
    A,
    /// IPv6 (RFC 3596).
    Aaaa,
    /// Where a service is (RFC 2782).
    Srv,
}

/// A good answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyAnswer<R = IpAddr> {
    /// As answered: in any order, perhaps twice, perhaps unusable.
    pub records: Vec<R>,
    /// How long the answer may be kept, as its sender has it.
    pub ttl: Duration,
    /// Who answered; none for the hosts file.
    pub server: Option<SocketAddr>,
}

/// Why a question has no good answer. The first two are answers, and say that there is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupFailure {
    /// The name does not exist (NXDOMAIN, RFC 8020).
    #[error("the name does not exist")]
    NxDomain,
    /// The name exists, without a record of this kind (NODATA, RFC 2308).
    #[error("the name has no address")]
    Empty,
    /// No server answered in time.
    #[error("no server answered in time")]
    Timeout,
    /// A server refused, failed or could not be reached; the text says which and how.
    #[error("{0}")]
    Failed(String),
}

impl LookupFailure {
    /// Whether nobody could tell, so that this is no answer.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Timeout | Self::Failed(_))
    }

    /// Every value of it that is a failure.
    pub const LABELS: [&str; 4] = ["nxdomain", "empty", "timeout", "error"];

    /// The value of the metric's `result` label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NxDomain => "nxdomain",
            Self::Empty => "empty",
            Self::Timeout => "timeout",
            Self::Failed(_) => "error",
        }
    }
}

/// What the addresses of a name are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No address yet, and not every question answered yet: worth waiting for.
    Waiting,
    /// What the latest lookups said.
    Fresh,
    /// The last good answer, in whole or in part, because lookups fail.
    Stale,
    /// The last good answer, though the name is gone: it may only have blinked.
    Holding,
    /// No address.
    Empty,
}

/// The records of a name at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current<R = IpAddr> {
    /// Sorted, each once, at most [`MAX_ADDRESSES`].
    pub records: Vec<R>,
    /// What they are worth.
    pub state: State,
    /// When the oldest answer among them came.
    pub since: Option<Instant>,
    /// The shortest time to live among those answers, as their senders have it.
    pub ttl: Option<Duration>,
}

/// The answers to the questions about one name.
#[derive(Clone, Debug)]
pub struct Answers<R = IpAddr> {
    policy: Arc<DnsPolicy>,
    families: Vec<Known<R>>,
}

/// What is known of one kind of record.
#[derive(Clone, Debug)]
struct Known<R> {
    kind: Kind,
    /// The last good answer. It stays when it is too old to serve.
    good: Option<Good<R>>,
    /// Since when every answer has been that there is none. A failure is no answer, so it changes nothing here.
    gone: Option<Instant>,
    /// Such answers in a row.
    negatives: u32,
    /// Lookups in a row without an answer.
    failures: u32,
}

#[derive(Clone, Debug)]
struct Good<R> {
    records: Vec<R>,
    ttl: Duration,
    at: Instant,
}

impl Answers {
    /// Nothing asked about addresses, nothing known.
    pub fn new(policy: Arc<DnsPolicy>) -> Self {
        match policy.family {
            Family::Both => Self::about(policy, &[Kind::A, Kind::Aaaa]),
            Family::V4 => Self::about(policy, &[Kind::A]),
            Family::V6 => Self::about(policy, &[Kind::Aaaa]),
        }
    }
}

impl Answers<Service> {
    /// Nothing asked about a service, nothing known.
    pub fn of_services(policy: Arc<DnsPolicy>) -> Self {
        Self::about(policy, &[Kind::Srv])
    }
}

impl<R: Record> Answers<R> {
    fn about(policy: Arc<DnsPolicy>, kinds: &[Kind]) -> Self {
        Self { policy, families: kinds.iter().map(|&kind| Known::new(kind)).collect() }
    }

    /// The same answers, in place of what `fresh` does not know yet; those to questions that it does not ask are forgotten.
    #[must_use]
    pub fn carried_over(mut self, mut fresh: Self) -> Self {
        for known in &mut fresh.families {
            if let Some(at) = self.families.iter().position(|old| old.kind == known.kind) {
                *known = self.families.swap_remove(at);
            }
        }
        fresh
    }

    /// The questions that every round asks.
    pub fn questions(&self) -> Vec<Kind> {
        self.families.iter().map(|known| known.kind).collect()
    }

    /// Takes in what a question brought. An answer without a usable address counts as empty; an answer to a
    /// question that the policy does not ask is ignored.
    pub fn record(&mut self, now: Instant, kind: Kind, result: Result<FamilyAnswer<R>, LookupFailure>) {
        let Some(known) = self.families.iter_mut().find(|known| known.kind == kind) else {
            return;
        };
        let answer = result.map(|answer| Good { records: usable(answer.records), ttl: answer.ttl, at: now });
        match answer {
            Ok(good) if !good.records.is_empty() => {
                *known = Known { good: Some(good), ..Known::new(kind) };
            }
            Err(failure) if failure.is_failure() => known.failures = known.failures.saturating_add(1),
            Ok(_) | Err(_) => {
                known.gone.get_or_insert(now);
                known.negatives = known.negatives.saturating_add(1);
                known.failures = 0;
            }
        }
    }

    /// The records now. A family that is gone leaves at once while the other one has addresses; only when
    /// neither has any is what they had held, so that a name which blinks keeps its upstream.
    pub fn current(&self, now: Instant) -> Current<R> {
        let live = |known: &&Known<R>| known.gone.is_none() && known.young(now, &self.policy).is_some();
        let held = |known: &&Known<R>| known.held(now, &self.policy);
        if self.families.iter().any(|known| live(&known)) {
            let stale = self.families.iter().filter(live).any(|known| known.failures > 0);
            return self.merge(live, if stale { State::Stale } else { State::Fresh });
        }
        if self.families.iter().any(|known| held(&known)) {
            return self.merge(held, State::Holding);
        }
        let had_some = self.families.iter().any(|known| known.good.is_some());
        let all_said_none = self.families.iter().all(|known| known.gone.is_some());
        self.merge(|_| false, if had_some || all_said_none { State::Empty } else { State::Waiting })
    }

    /// When [`Self::current`] may change though nothing is recorded: the next moment at which something
    /// gets too old.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let ends = self.families.iter().flat_map(|known| {
            let stale = known.good.as_ref().and_then(|good| good.at.checked_add(self.policy.max_stale));
            let empty = known.gone.and_then(|gone| gone.checked_add(self.policy.hold_empty));
            [stale, empty]
        });
        ends.flatten().filter(|&end| end > now).min()
    }

    /// When to ask again after a round that began at `asked` and is over `now`. `random` is in 0..1 and moves
    /// the moment by up to a tenth, so that many names and many gateways do not ask together.
    ///
    /// Rounds begin at least `min_refresh` and at most `refresh` apart, whatever the time to live; while the name
    /// is gone the pause doubles from the one to the other. After a failure the pause begins at 100 ms and
    /// doubles up to `refresh`.
    pub fn next_lookup(&self, asked: Instant, now: Instant, random: f64) -> Instant {
        let floor = self.policy.min_refresh.min(self.ceiling());
        let calm = asked + self.spread(self.calm_pause(floor), floor, random);
        match self.families.iter().map(|known| known.failures).max() {
            None | Some(0) => calm.max(now),
            Some(failures) => {
                let backoff = self.spread(self.doubled(FIRST_BACKOFF, failures), Duration::ZERO, random);
                (now + backoff).min(calm.max(now + FIRST_BACKOFF))
            }
        }
    }

    /// The earliest moment for a round out of turn after one that began at `asked`.
    pub fn soonest(&self, asked: Instant) -> Instant {
        asked + self.policy.min_refresh.min(self.ceiling())
    }

    /// When the last good answer came, whether or not it may still be used.
    pub fn last_good(&self) -> Option<Instant> {
        self.families.iter().filter_map(|known| known.good.as_ref()).map(|good| good.at).max()
    }

    /// Whether the latest lookup of any family failed.
    pub fn failing(&self) -> bool {
        self.families.iter().any(|known| known.failures > 0)
    }

    fn ceiling(&self) -> Duration {
        self.policy.refresh.min(LONGEST_PAUSE)
    }

    /// The pause between rounds when nothing fails.
    fn calm_pause(&self, floor: Duration) -> Duration {
        let present = self.families.iter().filter(|known| known.gone.is_none());
        let ttl = present.filter_map(|known| known.good.as_ref()).map(|good| good.ttl).min();
        let negatives = self.families.iter().map(|known| known.negatives).max();
        match (ttl, negatives) {
            (Some(ttl), _) => ttl.clamp(floor, self.ceiling()),
            (None, Some(negatives @ 1..)) => self.doubled(floor, negatives),
            (None, _) => self.ceiling(),
        }
    }

    /// `first` for the first time in a row, twice that for the second, and so on up to `refresh`.
    fn doubled(&self, first: Duration, times: u32) -> Duration {
        let factor = 1_u32 << times.saturating_sub(1).min(20);
        first.saturating_mul(factor).min(self.ceiling())
    }

    /// `pause` ± 10 %, within `floor..=refresh`.
    fn spread(&self, pause: Duration, floor: Duration, random: f64) -> Duration {
        let low = pause.mul_f64(0.9).max(floor);
        let high = pause.mul_f64(1.1).min(self.ceiling()).max(low);
        low + (high - low).mul_f64(random.clamp(0.0, 1.0))
    }

    fn merge(&self, which: impl Fn(&&Known<R>) -> bool, state: State) -> Current<R> {
        let goods = || self.families.iter().filter(&which).filter_map(|known| known.good.as_ref());
        let records = tidy(goods().flat_map(|good| good.records.iter().cloned()).collect());
        Current { records, state, since: goods().map(|good| good.at).min(), ttl: goods().map(|good| good.ttl).min() }
    }
}

impl<R> Known<R> {
    fn new(kind: Kind) -> Self {
        Self { kind, good: None, gone: None, negatives: 0, failures: 0 }
    }

    /// The last good answer, unless it is too old.
    fn young(&self, now: Instant, policy: &DnsPolicy) -> Option<&Good<R>> {
        self.good.as_ref().filter(|good| now.saturating_duration_since(good.at) < policy.max_stale)
    }

    fn held(&self, now: Instant, policy: &DnsPolicy) -> bool {
        let short = self.gone.is_some_and(|gone| now.saturating_duration_since(gone) < policy.hold_empty);
        short && self.young(now, policy).is_some()
    }
}

#[cfg(test)]
mod tests;
