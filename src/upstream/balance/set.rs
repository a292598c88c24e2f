//! The addresses of an upstream at one time: in a stable order, in groups of one priority, with the order of turns in
//! each group. Replaced as a whole and never changed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::sticky::{Sticky, Tag};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::policy::WeightedAddress;
use crate::upstream::record::gcd;

/// Longest schedule of a weighted turn; beyond it weights are rounded.
const LONGEST_SCHEDULE: u64 = 4096;

/// The addresses of an upstream at one time, by priority and then by address.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: Vec<Arc<Endpoint>>,
    groups: Vec<Group>,
    /// Whether there is an endpoint that is not eligible; as long as there is none, nobody is asked.
    barred: AtomicBool,
    /// What the cookie of a client says that belongs to each, once somebody has asked.
    tags: ArcSwapOption<Tags>,
}

/// What stands in cookies for the addresses of a set.
#[derive(Debug)]
struct Tags {
    maker: u64,
    list: Vec<Tag>,
}

/// The endpoints of one priority.
#[derive(Debug)]
struct Group {
    members: Range<usize>,
    /// The order of turns: each member as often as its weight says, spread evenly.
    schedule: Vec<u16>,
}

/// The endpoints of one priority, among which somebody chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circle<'a> {
    /// Never empty.
    pub(super) members: &'a [Arc<Endpoint>],
    schedule: &'a [u16],
}

impl Endpoints {
    /// The addresses in order, each the endpoint that it already was, or a new one. An address that comes twice has its
    /// best priority.
    pub fn updated(&self, addresses: &[WeightedAddress], workers: usize, now: Instant) -> Self {
        let known: HashMap<SocketAddr, &Arc<Endpoint>> =
            self.list.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let mut wanted: Vec<WeightedAddress> = addresses.iter().take(usize::from(u16::MAX)).copied().collect();
        wanted.sort_by_key(|one| (one.address, one.priority));
        wanted.dedup_by_key(|one| one.address);
        wanted.sort_by_key(|one| (one.priority, one.address));
        let list = wanted.iter().map(|one| {
            let endpoint = match known.get(&one.address) {
                Some(&endpoint) => endpoint.clone(),
                None => Endpoint::new(one.address, workers, now),
            };
            endpoint.rank(one.weight, one.priority);
            endpoint
        });
        let list = list.collect();
        let mut groups: Vec<Group> = Vec::new();
        for group in wanted.chunk_by(|one, other| one.priority == other.priority) {
            let first = groups.last().map_or(0, |last| last.members.end);
            let weights: Vec<u32> = group.iter().map(|one| one.weight.max(1)).collect();
            groups.push(Group { members: first..first + group.len(), schedule: schedule(&weights) });
        }
        Self { list, groups, barred: AtomicBool::new(false), tags: ArcSwapOption::empty() }
    }

    /// Says whether there is an endpoint that is not eligible.
    pub fn bar(&self, barred: bool) {
        self.barred.store(barred, Ordering::Relaxed);
    }

    /// Whether there is an endpoint that is not eligible.
    pub(super) fn is_barred(&self) -> bool {
        self.barred.load(Ordering::Relaxed)
    }

    /// Whether this endpoint, one of them, may get the next request.
    pub fn admits(&self, endpoint: &Endpoint) -> bool {
        !self.is_barred() || endpoint.is_eligible()
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

    /// The groups, those that come first first.
    pub(super) fn circles(&self) -> impl Iterator<Item = Circle<'_>> {
        let circle = |group| {
            let Group { members, schedule }: &Group = group;
            Circle { members: &self.list[members.clone()], schedule }
        };
        self.groups.iter().map(circle)
    }

    /// The endpoint that a cookie means. The first who asks about this set has the tags made.
    pub(super) fn of_tag(&self, tag: &Tag, sticky: &Sticky) -> Option<&Arc<Endpoint>> {
        let known = self.tags.load();
        let place = match known.as_ref().filter(|tags| tags.maker == sticky.id) {
            Some(tags) => tags.list.iter().position(|other| other == tag),
            None => {
                let list: Vec<Tag> = self.list.iter().map(|endpoint| sticky.tag(endpoint.address)).collect();
                let place = list.iter().position(|other| other == tag);
                self.tags.store(Some(Arc::new(Tags { maker: sticky.id, list })));
                place
            }
        };
        self.list.get(place?)
    }
}

impl<'a> Circle<'a> {
    /// How many turns there are before they begin anew.
    pub(super) fn turns(&self) -> usize {
        self.schedule.len()
    }

    /// Which member has this turn, by its place.
    pub(super) fn place(&self, turn: usize) -> usize {
        usize::from(self.schedule[turn % self.schedule.len()])
    }

    /// Who has this turn.
    pub(super) fn at(&self, turn: usize) -> &'a Arc<Endpoint> {
        &self.members[self.place(turn)]
    }

    /// The first from this turn on that will do.
    pub(super) fn from(&self, turn: usize, will_do: impl Fn(&Endpoint) -> bool) -> Option<(usize, &'a Arc<Endpoint>)> {
        let turns = (0..self.turns()).map(|step| self.place(turn.wrapping_add(step)));
        turns.map(|place| (place, &self.members[place])).find(|(_, endpoint)| will_do(endpoint))
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

#[cfg(test)]
mod tests {
    use super::super::trial::{address, endpoints};
    use super::*;
    use crate::base::clock;

    #[test]
    fn turns_are_spread_and_schedules_short() {
        assert_eq!(schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(schedule(&[2, 4]).len(), 3);
        assert!(schedule(&[1000, 999, 997, 991, 983]).len() <= 5000);
    }

    #[test]
    fn an_update_keeps_the_endpoints_that_stay_with_whatever_weight() {
        let old = endpoints(&[1, 1]);
        let addresses = [3, 2, 2].map(|last| WeightedAddress { weight: 7, ..WeightedAddress::new(address(last)) });
        let new = old.updated(&addresses, 1, clock::now());
        assert_eq!(new.iter().map(|endpoint| endpoint.address).collect::<Vec<_>>(), [address(2), address(3)]);
        let kept = new.iter().next().unwrap();
        assert!(Arc::ptr_eq(kept, old.iter().nth(1).unwrap()));
        assert_eq!(kept.weight(), 7);
        assert_eq!(old.missing_in(&new).iter().map(|gone| gone.address).collect::<Vec<_>>(), [address(1)]);
    }

    #[test]
    fn the_order_does_not_depend_on_the_order_of_the_answer() {
        let ranked = |last, priority| WeightedAddress { priority, ..WeightedAddress::new(address(last)) };
        let mut answer = [ranked(3, 0), ranked(1, 2), ranked(2, 0), ranked(1, 1), ranked(4, 1)];
        for turn in 0..answer.len() {
            answer.rotate_left(turn);
            let set = Endpoints::default().updated(&answer, 1, clock::now());
            let groups: Vec<Vec<SocketAddr>> =
                set.circles().map(|circle| circle.members.iter().map(|one| one.address).collect()).collect();
            assert_eq!(groups, [vec![address(2), address(3)], vec![address(1), address(4)]]);
        }
    }
}
