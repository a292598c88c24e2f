//! What operators want to know of an upstream: its addresses, their state, and what its name last answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Upstream;
use super::eject::Phase;
use super::endpoint::Endpoint;
use super::health::Verdict;
use super::resolve::Status as NameStatus;
use super::standing::Record;
use crate::base::clock;
use crate::telemetry::names;
use crate::telemetry::recorder::{Recorder, sample};

/// Addresses with a series of their own in one upstream's metrics; more are not shown one by one.
const SERIES: usize = 256;

/// An upstream at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its addresses, in order, those that are leaving last.
    pub addresses: Vec<AddressStatus>,
    /// What its name last answered, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<NameStatus>,
}

/// An address at one moment.
#[derive(Clone, Debug, Serialize)]
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
    #[serde(skip)]
    pub has_left: bool,
    /// Its share relative to the others.
    pub weight: u32,
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

const STATES: [(AddressState, &str); 5] = [
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
            weight: endpoint.weight,
            in_flight: endpoint.in_flight(),
            requests: endpoint.requests(),
            failures: endpoint.standing().failures(),
            connections,
            idle,
        }
    }
}

impl Record {
    /// The state, why, and how long an ejection still takes.
    fn state(&self, now: Instant) -> (AddressState, Option<String>, Option<Duration>) {
        let complaint = || self.complaint.as_ref().map(|complaint| format!("its last check was bad: {complaint}"));
        if self.drained {
            return (AddressState::Draining, Some("an operator has drained it".to_owned()), None);
        }
        if self.verdict == Some(Verdict::Unchecked) {
            return (AddressState::Checking, Some("it was not checked yet".to_owned()), None);
        }
        if self.is_unhealthy() {
            return (AddressState::Unhealthy, complaint(), None);
        }
        match self.case.phase {
            Phase::Serving => (AddressState::Healthy, complaint(), None),
            Phase::Suspect(trouble) => {
                (AddressState::Healthy, Some(format!("{trouble}; stays, for too many are left out already")), None)
            }
            Phase::Ejected { until, trouble, .. } => {
                let left = until.saturating_duration_since(now);
                (AddressState::Ejected, Some(format!("{trouble}; ejection {} in a row", self.case.row)), Some(left))
            }
            Phase::Trial { trouble, .. } => {
                (AddressState::Ejected, Some(format!("{trouble}; the next request tries it")), Some(Duration::ZERO))
            }
        }
    }
}

impl Upstream {
    /// The upstream now.
    pub fn status(&self) -> UpstreamStatus {
        let leaving = self.draining().clone();
        let (current, now) = (self.endpoints.load(), clock::now());
        UpstreamStatus {
            name: self.name.to_string(),
            addresses: current.iter().chain(&leaving).map(|endpoint| AddressStatus::of(endpoint, now)).collect(),
            dns: self.resolving.get().map(super::resolve::Resolving::status),
        }
    }

    /// Why no client should be sent here yet, if so: nobody knows an address that could answer.
    pub fn waits_for(&self) -> Option<&'static str> {
        if self.endpoints.load().is_empty() && !*self.answered.borrow() {
            return Some("no DNS answer yet");
        }
        self.is_checking().then_some("no checked address yet")
    }
}

impl UpstreamStatus {
    /// Sets the gauges of this upstream.
    pub fn measure(&self, recorder: &Recorder) {
        for (state, label) in STATES {
            let count = self.addresses.iter().filter(|address| address.state == state).count();
            recorder.gauge(names::UPSTREAM_ENDPOINTS, &[&self.name, label]).set(count as f64);
        }
        let open: usize = self.addresses.iter().map(|address| address.connections).sum();
        let idle: usize = self.addresses.iter().map(|address| address.idle).sum();
        recorder.gauge(names::UPSTREAM_CONNECTIONS, &[&self.name, "idle"]).set(idle as f64);
        recorder.gauge(names::UPSTREAM_CONNECTIONS, &[&self.name, "busy"]).set(open.saturating_sub(idle) as f64);
        if let Some(age) = self.dns.as_ref().and_then(|dns| dns.age_seconds) {
            recorder.gauge(names::DNS_ANSWER_AGE, &[&self.name]).set(age);
        }
    }

    /// Writes the samples of each address that has not left. One that has has no series any more; it may have come back
    /// meanwhile, and there is one series for an address.
    pub fn render(&self, page: &mut String) {
        for address in self.addresses.iter().filter(|address| !address.has_left).take(SERIES) {
            let values = [self.name.as_str(), &address.address.to_string()];
            sample(page, names::ENDPOINT_REQUESTS, &values, address.requests);
        }
    }
}
