//! Passive health of all addresses of an upstream together: who may be left out, who is tried again, and that all are
//! tried when none is well. Decides from what each address has on record and from a clock that is passed in; whoever
//! calls holds the upstream's one lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::Endpoints;
use super::eject::{Phase, Sign, Trouble};
use super::endpoint::Endpoint;
use super::health::Verdict;
use super::policy::{EjectPolicy, HealthPolicy};
use super::standing::{Gate, Record};

/// How long a good answer speaks for an address whose requests fail for reasons that may be their own.
pub const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an address may answer nothing, while others do, before it counts as failing. A try that is never answered
/// ends at `response_timeout`, which is far too late to hear of it.
pub const SILENCE: Duration = Duration::from_secs(5);

/// The addresses of an upstream, to be decided about at this moment.
#[derive(Debug)]
pub struct Ward<'a> {
    /// The addresses.
    pub set: &'a Endpoints,
    /// What holds for them.
    pub policy: &'a EjectPolicy,
    /// This moment.
    pub now: Instant,
}

/// What operators want to hear of.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An address is left out.
    Ejected {
        /// Which.
        address: SocketAddr,
        /// Why.
        trouble: Trouble,
        /// For how long.
        sentence: Duration,
        /// How often in a row by now.
        row: u32,
    },
    /// It serves again.
    Returned(SocketAddr),
    /// Its checks say that it is not well, and why.
    Unhealthy(SocketAddr, String),
    /// Its checks say that it is well.
    Healthy(SocketAddr),
}

impl Ward<'_> {
    /// Looks closely at an address, because of what a try says of it that took so long.
    pub fn judge(&self, endpoint: &Arc<Endpoint>, sign: Sign, took: Duration) -> Option<Event> {
        match sign {
            Sign::Good => self.answered(endpoint, self.now.checked_sub(took).unwrap_or(self.now)),
            Sign::Bad(trouble) => self.failed(endpoint, trouble),
            Sign::None => {
                self.left(endpoint);
                None
            }
        }
    }

    /// A try at the address has failed, and failed often enough in a row.
    fn failed(&self, endpoint: &Arc<Endpoint>, trouble: Trouble) -> Option<Event> {
        let guilty = {
            let record = endpoint.standing().record();
            match record.case.phase {
                _ if record.is_closed() => false,
                Phase::Serving => {
                    let often = endpoint.standing().failures() >= self.policy.failures;
                    often && (trouble.is_of_address() || !self.answers_well(endpoint, &record))
                }
                Phase::Trial { .. } => endpoint.standing().is_being_tried(endpoint.requests()),
                Phase::Suspect(_) | Phase::Ejected { .. } => false,
            }
        };
        if !guilty || !self.set.iter().any(|other| Arc::ptr_eq(other, endpoint)) {
            return None;
        }
        let event = self.accuse(endpoint, trouble, self.room() > 0);
        self.settle();
        event
    }

    /// The address has answered a try well that began then.
    fn answered(&self, endpoint: &Arc<Endpoint>, began: Instant) -> Option<Event> {
        let was_out = {
            let mut record = endpoint.standing().record();
            let was_out = record.case.is_out();
            if !record.case.acquit(began, self.now) {
                return None;
            }
            was_out
        };
        self.settle();
        was_out.then_some(Event::Returned(endpoint.address))
    }

    /// A try at the address came to nothing: if it was the one of its trial, there is another.
    fn left(&self, endpoint: &Arc<Endpoint>) {
        if matches!(endpoint.standing().record().case.phase, Phase::Trial { .. }) {
            endpoint.standing().begin_trial(endpoint.requests(), self.policy.failures);
        }
    }

    /// Looks through all addresses: what has come from them since the last time, and whose time is over.
    pub fn look(&self) -> Vec<Event> {
        let (mut latest, mut idle) = (None, false);
        for endpoint in self.set.iter() {
            let mut record = endpoint.standing().record();
            self.take_in(endpoint, &mut record);
            latest = latest.max(record.heard);
            idle |= record.is_sound() && record.heard.is_some() && record.silent.is_none();
        }
        let (mut events, mut room) = (Vec::new(), self.room());
        for endpoint in self.set.iter() {
            let others_answer = |since| idle || latest > Some(since);
            let Some(trouble) = self.trouble(endpoint, others_answer) else { continue };
            if let Some(event) = self.accuse(endpoint, trouble, room > 0) {
                events.push(event);
                room = self.room();
            }
        }
        self.settle();
        events
    }

    /// A check of the address came to this; an error says what is wrong.
    pub fn checked(
        &self,
        endpoint: &Arc<Endpoint>,
        result: Result<(), String>,
        policy: &HealthPolicy,
    ) -> Option<Event> {
        let event = {
            let mut record = endpoint.standing().record();
            let before = record.verdict?; // it is not checked any more
            let after = before.after(result.is_ok(), policy);
            let was_well = matches!(before, Verdict::Healthy { .. });
            let is_well = matches!(after, Verdict::Healthy { .. });
            record.verdict = Some(after);
            record.complaint = result.err();
            match is_well {
                true if !was_well => Some(Event::Healthy(endpoint.address)),
                false if was_well || before == Verdict::Unchecked => {
                    Some(Event::Unhealthy(endpoint.address, record.complaint.clone().unwrap_or_default()))
                }
                _ => None,
            }
        };
        self.settle();
        event
    }

    /// Takes an address out of service, or back, because an operator says so.
    pub fn drain(&self, endpoint: &Arc<Endpoint>, drained: bool) {
        endpoint.standing().record().drained = drained;
        self.settle();
    }

    /// Opens and shuts each address as its record and those of the others have it.
    pub fn settle(&self) {
        let (mut open, mut sound) = (0, false);
        let mut out = Vec::new();
        for endpoint in self.set.iter() {
            let record = endpoint.standing().record();
            sound |= record.is_sound();
            if !record.is_closed() {
                open += 1;
                out.extend(record.case.is_out().then_some(endpoint));
            }
        }
        // There may be fewer addresses than when they were ejected.
        let excess = out.len().saturating_sub(self.policy.most(open));
        for endpoint in out.into_iter().take(excess) {
            endpoint.standing().record().case.release(self.now);
        }
        let mut barred = false;
        for endpoint in self.set.iter() {
            let record = endpoint.standing().record();
            let gate = record.gate(!sound);
            endpoint.standing().set(gate, record.is_closed());
            barred |= matches!(gate, Gate::Trial | Gate::Shut);
        }
        self.set.bar(barred);
    }

    /// Ejects the address; where there is no room for that it stays, as a suspect.
    fn accuse(&self, endpoint: &Arc<Endpoint>, trouble: Trouble, room: bool) -> Option<Event> {
        let mut record = endpoint.standing().record();
        record.silent = None;
        if !room && !record.case.is_out() {
            record.case.phase = Phase::Suspect(trouble);
            return None;
        }
        let sentence = record.case.eject(trouble, self.policy, self.now);
        Some(Event::Ejected { address: endpoint.address, trouble, sentence, row: record.case.row })
    }

    /// How many more may be left out.
    fn room(&self) -> usize {
        let (mut open, mut out) = (0, 0);
        for endpoint in self.set.iter() {
            let record = endpoint.standing().record();
            if !record.is_closed() {
                open += 1;
                out += usize::from(record.case.is_out());
            }
        }
        self.policy.most(open).saturating_sub(out)
    }

    /// Takes in what an address has answered since the last look, and how long it has been silent.
    fn take_in(&self, endpoint: &Arc<Endpoint>, record: &mut Record) {
        let (heard, good) = endpoint.standing().take_signs();
        if good {
            record.good = Some(self.now);
        }
        if heard {
            record.heard = Some(self.now);
            record.answered = endpoint.requests();
            record.silent = None;
        }
        let on_trial = matches!(record.case.phase, Phase::Trial { .. });
        if record.case.parole(self.now) || on_trial && endpoint.in_flight() == 0 {
            self.try_again(endpoint, record);
        }
        if endpoint.requests() > record.answered && endpoint.in_flight() > 0 {
            record.silent.get_or_insert(self.now);
        }
    }

    /// What is wrong with an address that no try will tell of: it is silent, or it is a suspect for whom there may be
    /// room by now.
    fn trouble(&self, endpoint: &Arc<Endpoint>, others_answer: impl Fn(Instant) -> bool) -> Option<Trouble> {
        let record = endpoint.standing().record();
        let (needed, known) = match record.case.phase {
            _ if record.is_closed() => return None,
            Phase::Ejected { .. } => return None,
            Phase::Trial { .. } => (1, None),
            Phase::Serving => (u64::from(self.policy.failures), None),
            Phase::Suspect(trouble) => (u64::from(self.policy.failures), Some(trouble)),
        };
        let unanswered = endpoint.requests().saturating_sub(record.answered);
        let long = |since: &Instant| self.now.saturating_duration_since(*since) >= SILENCE;
        let silent = record.silent.filter(|since| long(since) && unanswered >= needed && endpoint.in_flight() > 0);
        silent.filter(|since| others_answer(*since)).map(|_| Trouble::Silence).or(known)
    }

    /// Lets the next request to the address through.
    fn try_again(&self, endpoint: &Arc<Endpoint>, record: &mut Record) {
        let given = endpoint.requests();
        endpoint.standing().begin_trial(given, self.policy.failures);
        record.answered = given;
        record.silent = None;
    }

    /// Whether the address has lately answered something well.
    fn answers_well(&self, endpoint: &Arc<Endpoint>, record: &Record) -> bool {
        let lately = |at: Instant| self.now.saturating_duration_since(at) < GOOD_FOR;
        endpoint.standing().has_good_sign() || record.good.is_some_and(lately)
    }
}

#[cfg(test)]
mod tests;
