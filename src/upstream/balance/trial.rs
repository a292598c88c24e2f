//! What the tests of all methods share: a balancer, a set, and a time of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Balancer, Endpoints, Sessions, Wanted, Wish};
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::{Exchange, Origin};
use crate::upstream::endpoint::{Endpoint, Ticket};
use crate::upstream::policy::{Balance, Discovery, UpstreamPolicy, WeightedAddress};

/// A balancer over a set that changes when it is told to.
pub(super) struct Trial {
    pub(super) balancer: Balancer,
    set: Endpoints,
    now: Instant,
}

/// The address with this last number.
pub(super) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 80))
}

/// A set of as many addresses as there are weights.
pub(super) fn endpoints(weights: &[u32]) -> Endpoints {
    Endpoints::default().updated(&weighted(weights), 1, clock::now())
}

/// The exchange of a request for this target.
pub(super) fn exchange(target: &str) -> Exchange {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let origin = Origin { peer, trusted: false, scheme: "http", worker: 0 };
    let (head, ()) = http::Request::get(target).body(()).unwrap().into_parts();
    let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
    let mut exchange = Exchange::new(origin, busy, clock::now(), &head);
    exchange.target = head.uri;
    exchange
}

fn weighted(weights: &[u32]) -> Vec<WeightedAddress> {
    let one = |(last, &weight): (u8, &u32)| WeightedAddress { weight, ..WeightedAddress::new(address(last)) };
    (1u8..).zip(weights).map(one).collect()
}

impl Trial {
    pub(super) fn new(method: Balance, weights: &[u32]) -> Self {
        Self::starting_slowly(method, weights, Duration::ZERO)
    }

    pub(super) fn starting_slowly(method: Balance, weights: &[u32], slow_start: Duration) -> Self {
        let now = clock::now();
        let plain = UpstreamPolicy::new("trial", Discovery::Addresses(Vec::new()));
        let policy = UpstreamPolicy { balance: method, slow_start, ..plain };
        let balancer = Balancer::new(&policy, &Sessions::new((now, Duration::from_secs(1_700_000_000))).unwrap());
        let mut trial = Self { balancer, set: Endpoints::default(), now };
        trial.update(&weighted(weights));
        trial
    }

    pub(super) fn update(&mut self, addresses: &[WeightedAddress]) {
        self.set = self.set.updated(addresses, 1, self.now);
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn endpoint(&self, place: usize) -> &Arc<Endpoint> {
        self.set.iter().nth(place).unwrap()
    }

    pub(super) fn pick(&self, tried: &[SocketAddr], random: u64) -> Option<Ticket> {
        self.pick_for(&Wish::Anywhere, tried, random)
    }

    pub(super) fn pick_for(&self, wish: &Wish, tried: &[SocketAddr], random: u64) -> Option<Ticket> {
        self.balancer.pick(&self.set, &Wanted { wish, tried, now: self.now, random })
    }

    /// How often each is picked, each time given back at once.
    pub(super) fn counts(&self, picks: usize) -> Vec<u64> {
        let before: Vec<u64> = self.set.iter().map(|endpoint| endpoint.requests()).collect();
        let mut random = fastrand::Rng::with_seed(7);
        (0..picks).for_each(|_| drop(self.pick(&[], random.u64(..)).unwrap()));
        self.set.iter().zip(before).map(|(endpoint, before)| endpoint.requests() - before).collect()
    }
}
