//! The few settings that every request looks at, as atomics beside the policy that they come from. To look at the policy
//! itself takes two locked instructions and 56 others, and a request did so eight times: 400 of its 34,000.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::balance::Balancer;
use super::policy::UpstreamPolicy;

/// What the policy says now. A request that meets a change half-way finds each setting as it was or as it is.
#[derive(Debug, Default)]
pub(super) struct Dials {
    max_in_flight: AtomicUsize,
    max_connections: AtomicUsize,
    /// Failures in a row after which an address is left out.
    failures: AtomicU32,
    circuit: AtomicBool,
    /// Whether the balancer looks at requests, and hears how they end.
    balancer_looks: AtomicBool,
    balancer_hears: AtomicBool,
}

impl Dials {
    /// Those of this policy and balancer.
    pub(super) fn new(policy: &UpstreamPolicy, balancer: &Balancer) -> Self {
        let dials = Self::default();
        dials.turn(policy, balancer);
        dials
    }

    /// Says another policy and balancer, which others can see already.
    pub(super) fn turn(&self, policy: &UpstreamPolicy, balancer: &Balancer) {
        self.max_in_flight.store(policy.max_in_flight, Ordering::Relaxed);
        self.max_connections.store(policy.max_connections, Ordering::Relaxed);
        self.failures.store(policy.eject.failures, Ordering::Relaxed);
        self.circuit.store(policy.circuit.is_some(), Ordering::Relaxed);
        self.balancer_looks.store(balancer.looks_at_requests(), Ordering::Relaxed);
        self.balancer_hears.store(balancer.hears_of_tries(), Ordering::Relaxed);
    }

    pub(super) fn max_in_flight(&self) -> usize {
        self.max_in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn max_connections(&self) -> usize {
        self.max_connections.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn has_circuit(&self) -> bool {
        self.circuit.load(Ordering::Relaxed)
    }

    pub(super) fn balancer_looks(&self) -> bool {
        self.balancer_looks.load(Ordering::Relaxed)
    }

    pub(super) fn balancer_hears(&self) -> bool {
        self.balancer_hears.load(Ordering::Relaxed)
    }
}
