//! The health of an upstream's addresses, running: hears how tries and checks ended, looks at the silent, and does what
//! operators say. What follows from all that is for `ward` to decide.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::HeaderValue;

use super::Upstream;
use super::balance::Endpoints;
use super::bound::own_host;
use super::eject::Sign;
use super::endpoint::Endpoint;
use super::health::{self, Verdict};
use super::metrics::Outcome;
use super::policy::{HealthPolicy, HostHeader, WeightedAddress};
use super::status::AddressStatus;
use super::ward::{Event, Ward};
use crate::base::clock;
use crate::base::tasks;

/// How often the addresses are looked through, at least.
const LOOK: Duration = Duration::from_millis(500);

impl Upstream {
    /// Hears how a try at an address ended. Costs a few loads while all is well.
    pub(super) fn weigh(&self, endpoint: &Arc<Endpoint>, outcome: Outcome, took: Option<Duration>) {
        let sign = Sign::of(outcome);
        if endpoint.standing().note(sign, took.is_some(), self.dials.failures()) {
            self.judge(endpoint, sign, took.unwrap_or_default());
        }
    }

    #[cold]
    fn judge(&self, endpoint: &Arc<Endpoint>, sign: Sign, took: Duration) {
        let event = self.decide(|ward| ward.judge(endpoint, sign, took));
        event.iter().for_each(|event| self.tell(event));
    }

    /// Decides about the addresses of now, one decision at a time.
    fn decide<T>(&self, decision: impl FnOnce(&Ward<'_>) -> T) -> T {
        let _turn = self.turn();
        let (set, policy) = (self.endpoints.load(), self.policy.load());
        decision(&Ward { set: &set, policy: &policy.eject, now: clock::now() })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.ward.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a list of addresses in place of the old one, and returns the new one. Those that are new are checked, if
    /// any are; until then they get nothing.
    pub(super) fn renew(self: &Arc<Self>, old: &Endpoints, addresses: &[WeightedAddress]) -> Arc<Endpoints> {
        let turn = self.turn();
        let new = Arc::new(old.updated(addresses, self.workers, clock::now()));
        if self.health().is_some() {
            let added = new.missing_in(old);
            added.iter().for_each(|endpoint| endpoint.standing().record().verdict = Some(Verdict::Unchecked));
        }
        Ward { set: &new, policy: &self.policy.load().eject, now: clock::now() }.settle();
        self.endpoints.store(new.clone());
        drop(turn);
        self.follow_checks();
        new
    }

    /// Checks every address if addresses are checked, and none if not: after a new list of them, or a new policy. An
    /// address that has served unchecked until now serves on until its checks say otherwise.
    pub(super) fn follow_checks(self: &Arc<Self>) {
        let check = |endpoint: &Arc<Endpoint>| {
            let (upstream, watched) = (Arc::downgrade(self), Arc::downgrade(endpoint));
            tasks::spawn_on(&self.control, health::watch(upstream, watched, self.checks.clone()))
        };
        self.decide(|ward| {
            for endpoint in ward.set.iter() {
                let mut record = endpoint.standing().record();
                if self.health().is_none() {
                    (record.verdict, record.checking, record.complaint) = (None, None, None);
                } else if record.checking.is_none() {
                    record.verdict.get_or_insert(Verdict::Healthy { bad: 0 });
                    record.checking = Some(check(endpoint));
                }
            }
            ward.settle();
        });
    }

    /// How addresses are checked, if they are.
    pub(super) fn health(&self) -> Option<HealthPolicy> {
        self.policy.load().health.clone()
    }

    /// What a check says in `Host`: there is no client that could have asked for anything.
    pub(super) fn check_host(&self) -> HeaderValue {
        let policy = self.policy.load();
        match &policy.host_header {
            HostHeader::Fixed(value) => value.clone(),
            HostHeader::Client | HostHeader::Upstream => own_host(&policy),
        }
    }

    /// A check of an address came to this.
    pub(super) fn checked(&self, endpoint: &Arc<Endpoint>, result: Result<(), String>, policy: &HealthPolicy) {
        let event = self.decide(|ward| ward.checked(endpoint, result, policy));
        event.iter().for_each(|event| self.tell(event));
        // Requests may be waiting for the first address that is well.
        self.answered.send_modify(|_| {});
    }

    /// Whether every address still waits for its first check.
    pub(super) fn is_checking(&self) -> bool {
        let set = self.endpoints.load();
        let unchecked = |endpoint: &Arc<Endpoint>| endpoint.standing().record().verdict == Some(Verdict::Unchecked);
        set.iter().all(|endpoint| endpoint.standing().is_closed()) && set.iter().any(unchecked)
    }

    /// Sends an address nothing more until it is taken back, or takes it back. `None` if there is no such address.
    /// What it is busy with it finishes; what is idle closes at once.
    pub fn drain(&self, address: SocketAddr, drained: bool) -> Option<AddressStatus> {
        let endpoint = self.endpoints.load().iter().find(|endpoint| endpoint.address == address)?.clone();
        self.decide(|ward| ward.drain(&endpoint, drained));
        if drained {
            endpoint.close_idle();
        }
        tracing::info!(upstream = %self.name, %address, drained, "an operator has drained an address, or undone it");
        Some(AddressStatus::of(&endpoint, clock::now()))
    }

    fn tell(&self, event: &Event) {
        let upstream = &*self.name;
        match event {
            Event::Ejected { address, trouble, sentence, row } => {
                self.metrics.ejected();
                tracing::warn!(upstream, %address, why = %trouble, seconds = sentence.as_secs_f64(), row, "ejected");
            }
            Event::Returned(address) => {
                tracing::info!(upstream, %address, "back from ejection");
                self.queue.serve();
            }
            Event::Unhealthy(address, why) => tracing::warn!(upstream, %address, why, "not healthy"),
            Event::Healthy(address) => {
                tracing::info!(upstream, %address, "healthy");
                self.queue.serve();
            }
        }
    }
}

/// Looks through the addresses for as long as there is an upstream.
pub(super) async fn look(upstream: Weak<Upstream>) {
    loop {
        let Some(period) = upstream.upgrade().map(|upstream| LOOK.min(upstream.policy.load().eject.base / 2)) else {
            return;
        };
        tokio::time::sleep(period.max(Duration::from_millis(10))).await;
        let Some(upstream) = upstream.upgrade() else { return };
        let events = upstream.decide(|ward| ward.look());
        events.iter().for_each(|event| upstream.tell(event));
    }
}
