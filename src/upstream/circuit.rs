//! The circuit breaker of an upstream: when too large a share of its tries fails, requests are refused at once for a while
//! instead of being added to what already fails; then a few are let through, and what comes of them decides. Pure: what
//! happened and when is passed in. What runs it is in `breaker`.

use std::time::{Duration, Instant};

use super::metrics::Outcome;
use super::policy::CircuitPolicy;

/// Parts of the window: it slides in steps of a tenth.
const SLOTS: usize = 10;
/// Tries that are let through at a time to see whether the upstream is well again, and how many have to be good.
const PROBES: u32 = 3;

/// A breaker at one moment.
#[derive(Clone, Debug)]
pub struct Circuit {
    state: State,
    /// How often the state has changed: a try that began before says nothing about what is now.
    round: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// Requests pass; what comes of them is counted.
    Closed(Window),
    /// Requests are refused until then.
    Open { until: Instant },
    /// A few requests pass.
    HalfOpen { probing: u32, good: u32 },
}

/// What a try is allowed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// In which round.
    pub round: u64,
    /// Whether it is one of the few that decide. It must be given back when the try is over.
    pub is_probe: bool,
}

/// A change that operators want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Requests are refused from now on.
    Opened,
    /// They pass again.
    Closed,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Lets requests pass.
    Closed,
    /// Lets a few pass.
    HalfOpen,
    /// Refuses requests, for this time still.
    Open(Duration),
}

impl Default for Circuit {
    fn default() -> Self {
        Self { state: State::Closed(Window::default()), round: 0 }
    }
}

impl Circuit {
    /// The round, where requests pass freely.
    pub fn closed_round(&self) -> Option<u64> {
        matches!(self.state, State::Closed(_)).then_some(self.round)
    }

    /// Lets a request through.
    ///
    /// # Errors
    /// After what time it is worth another attempt.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Duration> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(until.saturating_duration_since(now));
            }
            self.turn(State::HalfOpen { probing: 0, good: 0 });
        }
        match &mut self.state {
            State::HalfOpen { probing, .. } if *probing >= PROBES => Err(Duration::ZERO),
            State::HalfOpen { probing, .. } => {
                *probing += 1;
                Ok(Permit { round: self.round, is_probe: true })
            }
            _ => Ok(Permit { round: self.round, is_probe: false }),
        }
    }

    /// A probe of this round is over, however it ended.
    pub fn give_back(&mut self, round: u64) {
        if let State::HalfOpen { probing, .. } = &mut self.state
            && round == self.round
        {
            *probing = probing.saturating_sub(1);
        }
    }

    /// Hears what came of a try that was let through in this round.
    pub fn hear(&mut self, policy: &CircuitPolicy, round: u64, good: bool, now: Instant) -> Option<Change> {
        if round != self.round {
            return None;
        }
        let over = match &mut self.state {
            State::Closed(window) => {
                let (total, failed) = window.count(policy.window, good, now);
                total >= policy.min_requests && f64::from(failed) >= policy.failure_rate * f64::from(total)
            }
            State::HalfOpen { good: so_far, .. } if good => {
                *so_far += 1;
                if *so_far >= PROBES {
                    self.turn(State::Closed(Window::default()));
                    return Some(Change::Closed);
                }
                false
            }
            State::HalfOpen { .. } => true,
            State::Open { .. } => false,
        };
        over.then(|| {
            self.turn(State::Open { until: now + policy.open_for });
            Change::Opened
        })
    }

    /// What it does at this time.
    pub fn phase(&self, now: Instant) -> Phase {
        match self.state {
            State::Closed(_) => Phase::Closed,
            State::Open { until } if now < until => Phase::Open(until.saturating_duration_since(now)),
            State::Open { .. } | State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.round += 1;
    }
}

/// Whether an outcome speaks for the upstream; nothing where it says nothing about it. Failures are no answer, and an
/// answer that a gateway gives for a service that does not answer: an application's own errors are answers.
pub fn verdict(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Status(502..=504) | Outcome::Connect | Outcome::Reset | Outcome::Timeout | Outcome::Protocol => {
            Some(false)
        }
        Outcome::Status(_) => Some(true),
        Outcome::Canceled => None,
    }
}

/// What came of the tries of the last while.
#[derive(Clone, Debug, Default)]
struct Window {
    began: Option<Instant>,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Which step since the beginning it counts.
    step: u64,
    total: u32,
    failed: u32,
}

impl Window {
    /// Adds a try, and sums up.
    fn count(&mut self, length: Duration, good: bool, now: Instant) -> (u32, u32) {
        let began = *self.began.get_or_insert(now);
        let each = (length.as_nanos() / SLOTS as u128).max(1);
        let step = u64::try_from(now.saturating_duration_since(began).as_nanos() / each).unwrap_or(u64::MAX);
        let slot = &mut self.slots[usize::try_from(step % SLOTS as u64).unwrap_or_default()];
        if slot.step != step {
            *slot = Slot { step, ..Slot::default() };
        }
        slot.total = slot.total.saturating_add(1);
        slot.failed = slot.failed.saturating_add(u32::from(!good));
        let recent = self.slots.iter().filter(|slot| slot.step + SLOTS as u64 > step);
        recent.fold((0, 0), |(total, failed): (u32, u32), slot| {
            (total.saturating_add(slot.total), failed.saturating_add(slot.failed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const POLICY: CircuitPolicy = CircuitPolicy {
        failure_rate: 0.5,
        window: Duration::from_secs(10),
        min_requests: 4,
        open_for: Duration::from_secs(5),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A breaker that has just been opened, and when.
    fn opened() -> (Circuit, Instant) {
        let (mut circuit, now) = (Circuit::default(), clock::now());
        for _ in 0..3 {
            assert_eq!(circuit.hear(&POLICY, 0, false, now), None);
        }
        assert_eq!(circuit.hear(&POLICY, 0, false, now), Some(Change::Opened));
        (circuit, now)
    }

    #[test]
    fn it_opens_at_the_rate_and_not_before_there_are_enough() {
        let (mut circuit, now) = (Circuit::default(), clock::now());
        let heard: Vec<_> =
            [false, true, true, true, false, false].map(|good| circuit.hear(&POLICY, 0, good, now)).into();
        assert_eq!(heard, [None, None, None, None, None, Some(Change::Opened)], "the half of six");
        assert_eq!(circuit.admit(now), Err(secs(5)));
        assert_eq!(circuit.admit(now + secs(3)), Err(secs(2)));
        assert_eq!(circuit.phase(now + secs(3)), Phase::Open(secs(2)));
        assert_eq!(circuit.closed_round(), None);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (mut circuit, now) = (Circuit::default(), clock::now());
        for second in 0..100 {
            // Three in any ten seconds: too few to judge by.
            let heard = circuit.hear(&POLICY, 0, false, now + secs(second * 4));
            assert_eq!(heard, None, "{second}");
        }
        assert_eq!(circuit.hear(&POLICY, 0, false, now + secs(397)), Some(Change::Opened));
    }

    #[test]
    fn a_few_are_let_through_and_good_ones_close_it() {
        let (mut circuit, now) = opened();
        let later = now + secs(5);
        assert_eq!(circuit.phase(later), Phase::HalfOpen);
        let permits: Vec<_> = (0..3).map(|_| circuit.admit(later).unwrap()).collect();
        assert!(permits.iter().all(|permit| permit.is_probe));
        assert_eq!(circuit.admit(later), Err(Duration::ZERO), "no more at a time");
        assert_eq!(circuit.hear(&POLICY, permits[0].round, true, later), None);
        circuit.give_back(permits[0].round);
        assert_eq!(circuit.hear(&POLICY, permits[1].round, true, later), None);
        assert!(circuit.admit(later).is_ok(), "a place was given back");
        assert_eq!(circuit.hear(&POLICY, permits[2].round, true, later), Some(Change::Closed));
        assert!(!circuit.admit(later).unwrap().is_probe);
        // It begins anew: what was before it opened does not count.
        let round = circuit.closed_round().unwrap();
        assert_eq!(circuit.hear(&POLICY, round, false, later), None);
    }

    #[test]
    fn a_bad_one_opens_it_again() {
        let (mut circuit, now) = opened();
        let later = now + secs(7);
        let permit = circuit.admit(later).unwrap();
        assert_eq!(circuit.hear(&POLICY, permit.round, false, later), Some(Change::Opened));
        assert_eq!(circuit.admit(later), Err(secs(5)));
    }

    #[test]
    fn tries_from_before_say_nothing_about_now() {
        let (mut circuit, now) = opened();
        let later = now + secs(5);
        let permit = circuit.admit(later).unwrap();
        for _ in 0..10 {
            assert_eq!(circuit.hear(&POLICY, 0, false, later), None);
            assert_eq!(circuit.hear(&POLICY, 0, true, later), None);
        }
        assert_eq!(circuit.phase(later), Phase::HalfOpen);
        circuit.give_back(0);
        assert_eq!(circuit.hear(&POLICY, permit.round, true, later), None, "the first of three");
    }

    #[test]
    fn errors_of_an_application_are_answers() {
        for (outcome, wanted) in [
            (Outcome::Status(200), Some(true)),
            (Outcome::Status(404), Some(true)),
            (Outcome::Status(500), Some(true)),
            (Outcome::Status(503), Some(false)),
            (Outcome::Connect, Some(false)),
            (Outcome::Timeout, Some(false)),
            (Outcome::Canceled, None),
        ] {
            assert_eq!(verdict(outcome), wanted, "{outcome:?}");
        }
    }
}
