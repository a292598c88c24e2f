//! What operators want to know of an upstream: its addresses, their state, and what its name last answered.

use std::net::SocketAddr;

use serde::Serialize;

use super::Upstream;
use super::following::Following;
use super::resolve::Status as NameStatus;
use super::services::ServiceStatus;
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
    /// What its service's records and their targets last answered, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<ServiceStatus>,
}

/// An address at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct AddressStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it takes requests.
    pub state: AddressState,
    /// Its share relative to the others.
    pub weight: u32,
    /// Whether others come first: 0 is served before 1.
    pub priority: u16,
    /// Requests that it is busy with.
    pub in_flight: usize,
    /// Requests that it was given.
    pub requests: u64,
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
    /// Has left; finishes what it has.
    Draining,
}

impl Upstream {
    /// The upstream now.
    pub fn status(&self) -> UpstreamStatus {
        let leaving = self.draining().clone();
        let current = self.endpoints.load();
        let healthy = current.iter().map(|endpoint| (endpoint, AddressState::Healthy));
        let draining = leaving.iter().map(|endpoint| (endpoint, AddressState::Draining));
        let addresses = healthy.chain(draining).map(|(endpoint, state)| {
            let (connections, idle) = endpoint.connections();
            AddressStatus {
                address: endpoint.address,
                state,
                weight: endpoint.weight(),
                priority: endpoint.priority(),
                in_flight: endpoint.in_flight(),
                requests: endpoint.requests(),
                connections,
                idle,
            }
        });
        let (dns, srv) = match self.following.get() {
            Some(Following::Host(resolving)) => (Some(resolving.status()), None),
            Some(Following::Service(services)) => (None, Some(services.status())),
            None => (None, None),
        };
        UpstreamStatus { name: self.name.to_string(), addresses: addresses.collect(), dns, srv }
    }

    /// Whether there is an address to send to, or the name has at least been answered.
    pub fn is_ready(&self) -> bool {
        !self.endpoints.load().is_empty() || self.is_answered()
    }
}

impl UpstreamStatus {
    /// Sets the gauges of this upstream.
    pub fn measure(&self, recorder: &Recorder) {
        for (state, label) in [(AddressState::Healthy, "healthy"), (AddressState::Draining, "draining")] {
            let count = self.addresses.iter().filter(|address| address.state == state).count();
            recorder.gauge(names::UPSTREAM_ENDPOINTS, &[&self.name, label]).set(count as f64);
        }
        let open: usize = self.addresses.iter().map(|address| address.connections).sum();
        let idle: usize = self.addresses.iter().map(|address| address.idle).sum();
        recorder.gauge(names::UPSTREAM_CONNECTIONS, &[&self.name, "idle"]).set(idle as f64);
        recorder.gauge(names::UPSTREAM_CONNECTIONS, &[&self.name, "busy"]).set(open.saturating_sub(idle) as f64);
        if let Some(age) = self.answer_age() {
            recorder.gauge(names::DNS_ANSWER_AGE, &[&self.name]).set(age);
        }
    }

    /// The age of the oldest answer in use.
    fn answer_age(&self) -> Option<f64> {
        let own = self.dns.as_ref().and_then(|dns| dns.age_seconds);
        let service = self.srv.iter().flat_map(|srv| {
            let targets = srv.targets.iter().map(|target| target.age_seconds);
            targets.chain([srv.age_seconds])
        });
        service.flatten().chain(own).max_by(f64::total_cmp)
    }

    /// Writes the samples of each address that takes requests. One that has left has no series any more; it may have
    /// come back meanwhile, and there is one series for an address.
    pub fn render(&self, page: &mut String) {
        let healthy = |address: &&AddressStatus| address.state == AddressState::Healthy;
        for address in self.addresses.iter().filter(healthy).take(SERIES) {
            let values = [self.name.as_str(), &address.address.to_string()];
            sample(page, names::ENDPOINT_REQUESTS, &values, address.requests);
        }
    }
}
