//! Passive health of one address, as pure decisions: what a try says of it, how long it is left out, when it is back.
//! Knows no other address; what depends on all of them is for `ward` to say.

use std::fmt;
use std::time::{Duration, Instant};

use super::metrics::Outcome;
use super::policy::EjectPolicy;

/// What a try says of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answers.
    Good,
    /// It fails.
    Bad(Trouble),
    /// Nothing: the client left.
    None,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It takes no connection.
    Connect,
    /// It closes connections instead of answering.
    Reset,
    /// It does not answer in time.
    Timeout,
    /// What it answers is not HTTP.
    Protocol,
    /// It answers with this status: 502, 503 or 504 (RFC 9110 §15.6.3 to §15.6.5).
    Status(u16),
    /// It has requests and answers none of them, while other addresses answer theirs.
    Silence,
}

/// Where an address is between serving and being left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Phase {
    /// Nothing is known against it.
    #[default]
    Serving,
    /// It fails and would be left out, if there were not too many already.
    Suspect(Trouble),
    /// It is left out.
    Ejected {
        /// From when on.
        at: Instant,
        /// Until when.
        until: Instant,
        /// Why.
        trouble: Trouble,
    },
    /// It was left out; the next request tries whether it is well, and no other goes there meanwhile.
    Trial {
        /// Since when.
        since: Instant,
        /// Why it was left out.
        trouble: Trouble,
    },
}

/// The case of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Case {
    /// Where it is.
    pub phase: Phase,
    /// Ejections in a row.
    pub row: u32,
    /// How long the last one was to be.
    sentence: Duration,
    /// When it served again after that.
    returned: Option<Instant>,
}

impl Sign {
    /// What an outcome says. Every status but those of a gateway whose server is not there is an answer.
    pub fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Status(status @ 502..=504) => Self::Bad(Trouble::Status(status)),
            Outcome::Status(_) => Self::Good,
            Outcome::Connect => Self::Bad(Trouble::Connect),
            Outcome::Reset => Self::Bad(Trouble::Reset),
            Outcome::Timeout => Self::Bad(Trouble::Timeout),
            Outcome::Protocol => Self::Bad(Trouble::Protocol),
            Outcome::Canceled => Self::None,
        }
    }
}

impl Trouble {
    /// Whether it can only be the address. All else may be the request: one URL that fails wherever it is sent must not
    /// take down addresses that answer everything else.
    pub fn is_of_address(self) -> bool {
        matches!(self, Self::Connect | Self::Silence)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("takes no connection"),
            Self::Reset => f.write_str("closes connections without an answer"),
            Self::Timeout => f.write_str("does not answer in time"),
            Self::Protocol => f.write_str("does not answer in HTTP"),
            Self::Status(status) => write!(f, "answers with {status}"),
            Self::Silence => f.write_str("answers nothing, while others do"),
        }
    }
}

impl EjectPolicy {
    /// How long the ejection is left out that is this one in a row.
    pub fn sentence(&self, row: u32) -> Duration {
        self.base.saturating_mul(row.max(1)).min(self.max.max(self.base))
    }

    /// How many of so many addresses may be left out at one time.
    pub fn most(&self, addresses: usize) -> usize {
        // What 0.1 × 10 comes to must not depend on how it is rounded.
        let share = (self.max_share.clamp(0.0, 1.0) * addresses as f64 + 1e-9) as usize;
        share.min(addresses.saturating_sub(1))
    }
}

impl Case {
    /// Whether it is left out, or just trying to come back.
    pub fn is_out(&self) -> bool {
        matches!(self.phase, Phase::Ejected { .. } | Phase::Trial { .. })
    }

    /// Leaves the address out, and says for how long. Ejections are in a row while the address does not serve for as
    /// long between two of them as the first was to take.
    pub fn eject(&mut self, trouble: Trouble, policy: &EjectPolicy, now: Instant) -> Duration {
        let soon = self.returned.is_some_and(|returned| now.saturating_duration_since(returned) < self.sentence);
        self.row = if soon || self.is_out() { self.row.saturating_add(1) } else { 1 };
        self.sentence = policy.sentence(self.row);
        self.phase = Phase::Ejected { at: now, until: now + self.sentence, trouble };
        self.sentence
    }

    /// The address has answered a try that began then. Returns whether that changes anything: an answer that was
    /// under way when the address was ejected for something else does not.
    pub fn acquit(&mut self, began: Instant, now: Instant) -> bool {
        let answers = match self.phase {
            Phase::Serving => false,
            Phase::Suspect(_) => true,
            Phase::Ejected { at: from, trouble, .. } | Phase::Trial { since: from, trouble } => {
                began >= from || trouble == Trouble::Silence
            }
        };
        if answers {
            if self.is_out() {
                self.returned = Some(now);
            }
            self.phase = Phase::Serving;
        }
        answers
    }

    /// Lets an address that was ejected long enough try to come back; whether it did.
    pub fn parole(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Ejected { until, trouble, .. } if until <= now => {
                self.phase = Phase::Trial { since: now, trouble };
                true
            }
            _ => false,
        }
    }

    /// Takes an address back that may not be left out any longer, as what it is: one that fails.
    pub fn release(&mut self, now: Instant) {
        if let Phase::Ejected { trouble, .. } | Phase::Trial { trouble, .. } = self.phase {
            self.phase = Phase::Suspect(trouble);
            self.returned = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_statuses_of_a_gateway_are_failures_and_no_others() {
        for (status, good) in [(200, true), (404, true), (500, true), (501, true), (505, true)] {
            assert_eq!(Sign::of(Outcome::Status(status)) == Sign::Good, good, "{status}");
        }
        for status in [502, 503, 504] {
            assert_eq!(Sign::of(Outcome::Status(status)), Sign::Bad(Trouble::Status(status)));
        }
        assert_eq!(Sign::of(Outcome::Canceled), Sign::None);
        assert_eq!(Sign::of(Outcome::Connect), Sign::Bad(Trouble::Connect));
    }

    #[test]
    fn a_share_is_never_more_and_one_stays() {
        let most = |share, of| EjectPolicy { max_share: share, ..EjectPolicy::default() }.most(of);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|of| most(0.5, of)), [0, 0, 1, 1, 2, 2]);
        assert_eq!([0, 1, 2, 10].map(|of| most(1.0, of)), [0, 0, 1, 9]);
        assert_eq!((most(0.1, 10), most(0.0, 10), most(0.3, 10)), (1, 0, 3));
    }

    #[test]
    fn ejections_in_a_row_take_longer_and_no_longer_than_the_most() {
        let policy = EjectPolicy { max: 12 * SECOND, ..EjectPolicy::default() };
        let (mut case, mut now) = (Case::default(), clock::now());
        for seconds in [5, 10, 12, 12] {
            assert_eq!(case.eject(Trouble::Connect, &policy, now), seconds * SECOND);
            now += seconds * SECOND;
            assert!(case.parole(now));
        }
        assert!(case.acquit(now, now));
        // It fails again before it has served for as long as it was left out.
        assert_eq!(case.eject(Trouble::Connect, &policy, now + 11 * SECOND), 12 * SECOND);
        now += 30 * SECOND;
        assert!(case.parole(now) && case.acquit(now, now));
        assert_eq!(case.eject(Trouble::Connect, &policy, now + 13 * SECOND), 5 * SECOND);
    }

    #[test]
    fn only_an_answer_to_what_was_asked_since_ends_an_ejection() {
        let (policy, now) = (EjectPolicy::default(), clock::now());
        let mut case = Case::default();
        case.eject(Trouble::Status(503), &policy, now + SECOND);
        assert!(!case.acquit(now, now + 2 * SECOND) && case.is_out());
        assert!(case.acquit(now + SECOND, now + 2 * SECOND) && !case.is_out());
        case.eject(Trouble::Silence, &policy, now + 3 * SECOND);
        assert!(case.acquit(now, now + 4 * SECOND), "it is not silent");
    }

    #[test]
    fn an_ejection_ends_in_a_trial_and_not_before_its_time() {
        let (policy, now) = (EjectPolicy::default(), clock::now());
        let mut case = Case::default();
        case.eject(Trouble::Reset, &policy, now);
        assert!(!case.parole(now + 4 * SECOND));
        assert!(case.parole(now + 5 * SECOND) && case.is_out());
        case.release(now + 6 * SECOND);
        assert_eq!(case.phase, Phase::Suspect(Trouble::Reset));
    }
}
