//! What operators want to know of an upstream: its addresses, their state, and what its name last answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Upstream;
use super::circuit;
use super::eject::Phase;
use super::endpoint::Endpoint;
use super::following::Following;
use super::health::Verdict;
use super::resolve::Status as NameStatus;
use super::services::ServiceStatus;
use super::standing::Record;
use crate::base::clock;
use crate::telemetry::names;
use crate::telemetry::page::Samples;

/// Addresses with a series of their own in one upstream's metrics; more are not shown one by one.
pub const SERIES: usize = 256;

/// An upstream at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its addresses, in order, those that are leaving last.
    pub addresses: Vec<AddressStatus>,
    /// Requests that wait for a connection, where their number is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<usize>,
    /// What the circuit breaker does, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitStatus>,
    /// What the budget of retries is reckoned from.
    pub recent: RetryStatus,
    /// What its name last answered, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<NameStatus>,
    /// What its service's records and their targets last answered, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<ServiceStatus>,
}

/// A circuit breaker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CircuitStatus {
    /// What it does.
    pub state: CircuitState,
    /// How long it will go on refusing requests, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for_seconds: Option<f64>,
}

/// What a circuit breaker does; in the order of the numbers that the metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Lets requests pass.
    Closed,
    /// Lets a few pass, to see what comes of them.
    HalfOpen,
    /// Refuses requests.
    Open,
}

/// An address at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AddressStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it takes requests.
    pub state: AddressState,
    /// Why it is in that state, or what else is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it is left out at least, in seconds; 0 when the next request tries whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_seconds: Option<f64>,
    /// Whether it is no address of the upstream any more.
    #[serde(rename = "left", skip_serializing_if = "std::ops::Not::not")]
    pub has_left: bool,
    /// Its share relative to the others.
    pub weight: u32,
    /// Whether others come first: 0 is served before 1.
    pub priority: u16,
    /// Requests that it is busy with.
    pub in_flight: usize,
    /// Requests that it was given.
    pub requests: u64,
    /// Failures since its last good answer.
    pub failures: u32,
    /// Open connections to it, tunnels included.
    pub connections: usize,
    /// Those of them that wait for a request.
    pub idle: usize,
    /// Milliseconds for which they are of use, where the address has taught that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_ms: Option<u64>,
}

/// What an upstream has borne of late: requests and retries of the last ten seconds or so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryStatus {
    /// Requests, without their retries.
    pub requests: u64,
    /// Their retries.
    pub retries: u64,
}

/// What an address may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressState {
    /// Takes requests.
    Healthy,
    /// Left out, because requests to it failed.
    Ejected,
    /// Left out, because its checks are bad.
    Unhealthy,
    /// New; waits for its first check.
    Checking,
    /// Has left, or was taken out by an operator; finishes what it has.
    Draining,
}

/// The states, in their order, with their words in metrics.
pub const STATES: [(AddressState, &str); 5] = [
    (AddressState::Healthy, "healthy"),
    (AddressState::Ejected, "ejected"),
    (AddressState::Unhealthy, "unhealthy"),
    (AddressState::Checking, "checking"),
    (AddressState::Draining, "draining"),
];

impl AddressStatus {
    /// An endpoint now.
    pub fn of(endpoint: &Endpoint, now: Instant) -> Self {
        let (state, why, left_out) = endpoint.standing().record().state(now);
        let (state, why) = match endpoint.is_retired() {
            true => (AddressState::Draining, Some("it is no address of the upstream any more".to_owned())),
            false => (state, why),
        };
        let (connections, idle) = endpoint.connections();
        Self {
            address: endpoint.address,
            state,
            why,
            ejected_seconds: left_out.filter(|_| state == AddressState::Ejected).map(|left| left.as_secs_f64()),
            has_left: endpoint.is_retired(),
            weight: endpoint.weight(),
            priority: endpoint.priority(),
            in_flight: endpoint.in_flight(),
            requests: endpoint.requests(),
            failures: endpoint.standing().failures(),
            connections,
            idle,
            keep_alive_ms: endpoint.keep_alive().learned(),
        }
    }
}

impl Record {
    fn bare_state(&self) -> AddressState {
        match () {
            () if self.drained => AddressState::Draining,
            () if self.verdict == Some(Verdict::Unchecked) => AddressState::Checking,
            () if self.is_unhealthy() => AddressState::Unhealthy,
            () => match self.case.phase {
                Phase::Serving | Phase::Suspect(_) => AddressState::Healthy,
                Phase::Ejected { .. } | Phase::Trial { .. } => AddressState::Ejected,
            },
        }
    }

    /// The state, why, and how long an ejection still takes.
    fn state(&self, now: Instant) -> (AddressState, Option<String>, Option<Duration>) {
        let complaint = || self.complaint.as_ref().map(|complaint| format!("its last check was bad: {complaint}"));
        let state = self.bare_state();
        let (why, left) = match (state, self.case.phase) {
            (AddressState::Draining, _) => (Some("an operator has drained it".to_owned()), None),
            (AddressState::Checking, _) => (Some("it was not checked yet".to_owned()), None),
            (_, Phase::Suspect(trouble)) if state == AddressState::Healthy => {
                (Some(format!("{trouble}; stays, for too many are left out already")), None)
            }
            (AddressState::Ejected, Phase::Ejected { until, trouble, .. }) => {
                let left = until.saturating_duration_since(now);
                (Some(format!("{trouble}; ejection {} in a row", self.case.row)), Some(left))
            }
            (AddressState::Ejected, Phase::Trial { trouble, .. }) => {
                (Some(format!("{trouble}; the next request tries it")), Some(Duration::ZERO))
            }
            _ => (complaint(), None),
        };
        (state, why, left)
    }
}

impl Upstream {
    /// The upstream now.
    pub fn status(&self) -> UpstreamStatus {
        let leaving = self.draining().clone();
        let (current, now) = (self.endpoints.load(), clock::now());
        let (dns, srv) = match self.following.load().as_deref() {
            Some(Following::Host(resolving)) => (Some(resolving.status()), None),
            Some(Following::Service(services)) => (None, Some(services.status())),
            None => (None, None),
        };
        let (requests, retries) = self.budget.recent(now);
        UpstreamStatus {
            name: self.name.to_string(),
            addresses: current.iter().chain(&leaving).map(|endpoint| AddressStatus::of(endpoint, now)).collect(),
            waiting: (self.dials.max_connections() > 0).then(|| self.queue.len()),
            circuit: self.dials.has_circuit().then(|| self.breaker.phase().into()),
            recent: RetryStatus { requests, retries },
            dns,
            srv,
        }
    }

    /// Adds what a scrape finds of this upstream. An address that has left has no series any more; it may have come back
    /// meanwhile, and there is one series for an address.
    pub fn measure(&self, samples: &mut Samples) {
        let (name, leaving, current) = (&*self.name, self.draining().clone(), self.endpoints.load());
        let (mut counts, mut open, mut idle) = ([0_usize; STATES.len()], 0, 0);
        for endpoint in current.iter().chain(&leaving) {
            let retired = endpoint.is_retired();
            let state = if retired { AddressState::Draining } else { endpoint.standing().record().bare_state() };
            counts[state as usize] += 1;
            let (connections, resting) = endpoint.connections();
            open += connections;
            idle += resting;
        }
        for (state, label) in STATES {
            samples.add(names::UPSTREAM_ENDPOINTS, &[name, label], counts[state as usize]);
        }
        samples.add(names::UPSTREAM_CONNECTIONS, &[name, "idle"], idle);
        samples.add(names::UPSTREAM_CONNECTIONS, &[name, "busy"], open.saturating_sub(idle));
        let policy = self.policy.load();
        if policy.max_connections > 0 {
            samples.add(names::UPSTREAM_WAITING, &[name], self.queue.len());
        }
        if policy.circuit.is_some() {
            let circuit = CircuitStatus::from(self.breaker.phase());
            samples.add(names::UPSTREAM_CIRCUIT_STATE, &[name], circuit.state as usize);
        }
        if let Some(age) = self.following.load().as_deref().and_then(answer_age) {
            samples.add(names::DNS_ANSWER_AGE, &[name], age);
        }
        for endpoint in current.iter().filter(|endpoint| !endpoint.is_retired()).take(SERIES) {
            samples.add_address(names::ENDPOINT_REQUESTS, name, endpoint.address, endpoint.requests());
        }
    }

    /// Why no client should be sent here yet, if so: nobody knows an address that could answer.
    pub fn waits_for(&self) -> Option<&'static str> {
        if !self.source().has_spoken() && self.endpoints.load().is_empty() && !self.is_answered() {
            return Some("no DNS answer yet");
        }
        self.is_checking().then_some("no checked address yet")
    }
}

impl From<circuit::Phase> for CircuitStatus {
    fn from(phase: circuit::Phase) -> Self {
        let (state, left) = match phase {
            circuit::Phase::Closed => (CircuitState::Closed, None),
            circuit::Phase::HalfOpen => (CircuitState::HalfOpen, None),
            circuit::Phase::Open(left) => (CircuitState::Open, Some(left.as_secs_f64())),
        };
        Self { state, open_for_seconds: left }
    }
}

/// The age of the oldest answer in use.
fn answer_age(following: &Following) -> Option<f64> {
    match following {
        Following::Host(resolving) => resolving.status().age_seconds,
        Following::Service(services) => {
            let status = services.status();
            let targets = status.targets.iter().map(|target| target.age_seconds);
            targets.chain([status.age_seconds]).flatten().max_by(f64::total_cmp)
        }
    }
}
