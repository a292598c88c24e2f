//! Which address the next request goes to. Decides from an immutable list and a few counters, per request and never per
//! connection: without locks, and with time and randomness passed in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::endpoint::{Endpoint, Ticket};
use super::policy::{Balance, WeightedAddress};

/// Longest schedule of a weighted turn; beyond it weights are rounded.
const LONGEST_SCHEDULE: u64 = 4096;

/// The addresses of an upstream at one time, in a stable order.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: Vec<Arc<Endpoint>>,
    /// The order of turns: each endpoint as often as its weight says, spread evenly.
    schedule: Vec<u16>,
    /// Whether there is an endpoint that is not eligible; as long as there is none, nobody is asked.
    barred: AtomicBool,
}

impl Endpoints {
    /// The addresses in order, each the endpoint that it already was, or a new one.
    pub fn updated(&self, addresses: &[WeightedAddress], workers: usize) -> Self {
        let known: HashMap<(SocketAddr, u32), &Arc<Endpoint>> =
            self.list.iter().map(|endpoint| ((endpoint.address, endpoint.weight), endpoint)).collect();
        let mut list: Vec<Arc<Endpoint>> = addresses
            .iter()
            .take(usize::from(u16::MAX))
            .map(|&WeightedAddress { address, weight }| match known.get(&(address, weight)) {
                Some(&endpoint) => endpoint.clone(),
                None => Endpoint::new(address, weight, workers),
            })
            .collect();
        list.sort_by_key(|endpoint| endpoint.address);
        list.dedup_by_key(|endpoint| endpoint.address);
        let weights: Vec<u32> = list.iter().map(|endpoint| endpoint.weight).collect();
        Self { list, schedule: schedule(&weights), barred: AtomicBool::new(false) }
    }

    /// Says whether there is an endpoint that is not eligible.
    pub fn bar(&self, barred: bool) {
        self.barred.store(barred, Ordering::Relaxed);
    }

    /// Whether this endpoint, one of them, may get the next request.
    pub fn admits(&self, endpoint: &Endpoint) -> bool {
        !self.barred.load(Ordering::Relaxed) || endpoint.is_eligible()
    }

    /// Every endpoint, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those that `next` does not have.
    pub fn missing_in(&self, next: &Self) -> Vec<Arc<Endpoint>> {
        let kept = |endpoint: &Arc<Endpoint>| next.list.iter().any(|other| Arc::ptr_eq(endpoint, other));
        self.list.iter().filter(|endpoint| !kept(endpoint)).cloned().collect()
    }

    fn at_turn(&self, turn: usize) -> &Arc<Endpoint> {
        &self.list[usize::from(self.schedule[turn % self.schedule.len()])]
    }
}

/// Spreads the turns of weighted endpoints evenly (smooth weighted round robin: each turn everybody gains its weight,
/// and the richest pays the sum). With equal weights it is the plain order.
fn schedule(weights: &[u32]) -> Vec<u16> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let sum: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    let scale = sum.div_ceil(LONGEST_SCHEDULE).max(1);
    let reduced: Vec<i64> =
        weights.iter().map(|weight| (i64::from(weight / divisor) / scale.cast_signed()).max(1)).collect();
    let total: i64 = reduced.iter().sum();
    let mut wealth = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            wealth.iter_mut().zip(&reduced).for_each(|(wealth, weight)| *wealth += weight);
            // The first of the richest, so that the order is stable.
            let richest = (0..wealth.len()).rev().max_by_key(|&index| wealth[index]).unwrap_or(0);
            wealth[richest] -= total;
            u16::try_from(richest).unwrap_or(u16::MAX)
        })
        .collect()
}

fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// Chooses among endpoints.
#[derive(Debug)]
pub struct Balancer {
    kind: Balance,
    /// Shared by all workers, so that clients on different workers do not all begin with the same address.
    turn: AtomicUsize,
}

impl Balancer {
    /// A balancer whose first turn is the first address.
    pub fn new(kind: Balance) -> Self {
        Self { kind, turn: AtomicUsize::new(0) }
    }

    /// A place at one of the endpoints that are not in `tried`; `random` is uniform.
    pub fn pick(&self, endpoints: &Endpoints, tried: &[SocketAddr], random: u64) -> Option<Ticket> {
        if endpoints.is_empty() {
            return None;
        }
        let start = match self.kind {
            Balance::RoundRobin if !tried.is_empty() => self.turn.load(Ordering::Relaxed),
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            Balance::Random | Balance::LeastRequest => usize::try_from(random >> 33).unwrap_or_default(),
        };
        let first = untried(endpoints, tried, start)?;
        let chosen = match self.kind {
            Balance::RoundRobin | Balance::Random => first,
            Balance::LeastRequest => less_busy(endpoints, tried, first, random),
        };
        Some(Ticket::take(chosen))
    }
}

/// The endpoint whose turn it is, of those that may get the request: each of them as often as its weight says.
fn untried<'a>(endpoints: &'a Endpoints, tried: &[SocketAddr], start: usize) -> Option<&'a Arc<Endpoint>> {
    let fits = |endpoint: &&Arc<Endpoint>| endpoints.admits(endpoint) && !tried.contains(&endpoint.address);
    let first = endpoints.at_turn(start);
    if tried.is_empty() && !endpoints.barred.load(Ordering::Relaxed) {
        return Some(first);
    }
    let turns = || (0..endpoints.schedule.len()).map(|turn| endpoints.at_turn(turn)).filter(fits);
    let count = turns().count().max(1);
    // What fits may change between counting and choosing.
    turns().nth(start % count).or_else(|| turns().next())
}

/// The less busy, by weight, of `first` and another endpoint drawn at random.
fn less_busy<'a>(
    endpoints: &'a Endpoints,
    tried: &[SocketAddr],
    first: &'a Arc<Endpoint>,
    random: u64,
) -> &'a Arc<Endpoint> {
    let low = usize::try_from(random & 0xffff_ffff).unwrap_or_default();
    let others = endpoints.len() - 1;
    if others == 0 {
        return first;
    }
    let place = endpoints.list.iter().position(|endpoint| Arc::ptr_eq(endpoint, first)).unwrap_or(0);
    let second = &endpoints.list[(place + 1 + low % others) % endpoints.len()];
    let load = |endpoint: &Endpoint| (endpoint.in_flight() as u64 + 1) * 1000 / u64::from(endpoint.weight.max(1));
    let fits = endpoints.admits(second) && !tried.contains(&second.address);
    if fits && load(second) < load(first) { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    fn endpoints(weights: &[u32]) -> Endpoints {
        let addresses: Vec<_> =
            (1u8..).zip(weights).map(|(last, &weight)| WeightedAddress { address: address(last), weight }).collect();
        Endpoints::default().updated(&addresses, 1)
    }

    fn counts(balancer: &Balancer, endpoints: &Endpoints, picks: usize) -> Vec<u64> {
        let before: Vec<u64> = endpoints.iter().map(|endpoint| endpoint.requests()).collect();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..picks {
            balancer.pick(endpoints, &[], rng.u64(..)).unwrap();
        }
        endpoints.iter().zip(before).map(|(endpoint, before)| endpoint.requests() - before).collect()
    }

    #[test]
    fn round_robin_differs_by_at_most_one_after_any_number() {
        for size in 1..=8 {
            let set = endpoints(&vec![1; size]);
            let balancer = Balancer::new(Balance::RoundRobin);
            for picks in [1, 2, 3, 7, 100, 1001] {
                let counts = counts(&balancer, &set, picks);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "{counts:?}");
            }
        }
    }

    #[test]
    fn weights_are_honoured_and_spread() {
        let set = endpoints(&[5, 1, 1]);
        assert_eq!(counts(&Balancer::new(Balance::RoundRobin), &set, 70), [50, 10, 10]);
        assert_eq!(set.schedule, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(endpoints(&[2, 4]).schedule.len(), 3);
        assert!(endpoints(&[1000, 999, 997, 991, 983]).schedule.len() <= 5000);
    }

    #[test]
    fn random_reaches_everybody_about_as_often_as_the_weights_say() {
        let counts = counts(&Balancer::new(Balance::Random), &endpoints(&[1, 1, 2]), 4000);
        assert!(counts[0].abs_diff(1000) < 150 && counts[2].abs_diff(2000) < 200, "{counts:?}");
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let set = endpoints(&[1, 1, 1]);
        let busy: Vec<_> = (0..50).map(|_| Ticket::take(set.iter().next().unwrap())).collect();
        let counts = counts(&Balancer::new(Balance::LeastRequest), &set, 900);
        assert_eq!(counts[0], 0, "{counts:?}");
        assert!(counts[1].abs_diff(450) < 100, "{counts:?}");
        drop(busy);
    }

    #[test]
    fn what_was_tried_is_not_picked_again() {
        for kind in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest] {
            let (set, balancer) = (endpoints(&[1, 3, 1]), Balancer::new(kind));
            let mut tried = Vec::new();
            for seed in 0..3 {
                let ticket = balancer.pick(&set, &tried, seed << 33).unwrap();
                assert!(!tried.contains(&ticket.endpoint().address));
                tried.push(ticket.endpoint().address);
            }
            assert!(balancer.pick(&set, &tried, 1).is_none());
        }
    }

    #[test]
    fn an_update_keeps_the_endpoints_that_stay() {
        let old = endpoints(&[1, 1]);
        let addresses = [3, 2, 2].map(|last| WeightedAddress { address: address(last), weight: 1 });
        let new = old.updated(&addresses, 1);
        assert_eq!(new.iter().map(|endpoint| endpoint.address).collect::<Vec<_>>(), [address(2), address(3)]);
        assert!(Arc::ptr_eq(new.iter().next().unwrap(), old.iter().nth(1).unwrap()));
        assert_eq!(old.missing_in(&new).iter().map(|gone| gone.address).collect::<Vec<_>>(), [address(1)]);
    }
}
