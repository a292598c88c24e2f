//! `round_robin`: everybody in turn. Also what the methods that need a key do without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Search;
use super::set::Circle;
use super::slow_start::SlowStart;
use crate::upstream::endpoint::Endpoint;

/// Whose turn it is. Shared by all workers, so that clients on different workers do not all begin with the same
/// address.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicUsize);

impl Turns {
    /// The one whose turn it is. Who cannot take its turn is passed over, and the turn passes on with it: were only the
    /// neighbour asked instead, it would get the work of two.
    pub(super) fn next<'a>(
        &self,
        circle: Circle<'a>,
        search: Search<'_>,
        slow: SlowStart,
    ) -> Option<&'a Arc<Endpoint>> {
        if !search.wanted.tried.is_empty() {
            // A second try takes nobody's turn.
            let turn = self.0.load(Ordering::Relaxed);
            return circle.from(turn, |endpoint| search.allows(endpoint)).map(|(_, endpoint)| endpoint);
        }
        if search.barred && !circle.members.iter().any(|endpoint| search.allows(endpoint)) {
            // Where nobody can take a turn none is taken: the next group counts on by itself.
            return None;
        }
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let first = circle.at(turn);
        if search.allows(first) && slow.is_off() {
            return Some(first);
        }
        let mut dice = search.dice();
        let mut will_do =
            |endpoint: &Endpoint| search.allows(endpoint) && slow.admits(endpoint, circle, search, &mut dice);
        if will_do(first) {
            return Some(first);
        }
        let others = (1..circle.turns()).map(|_| circle.at(self.0.fetch_add(1, Ordering::Relaxed)));
        others
            .into_iter()
            .find(|endpoint| will_do(endpoint))
            .or_else(|| circle.from(turn, |endpoint| search.allows(endpoint)).map(|(_, endpoint)| endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, endpoints};
    use crate::upstream::policy::Balance;

    #[test]
    fn counts_differ_by_at_most_one_after_any_number() {
        for size in 1..=8 {
            let trial = Trial::new(Balance::RoundRobin, &vec![1; size]);
            for picks in [1, 2, 3, 7, 100, 1001] {
                let counts = trial.counts(picks);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "{counts:?}");
            }
        }
    }

    #[test]
    fn weights_are_shares() {
        assert_eq!(Trial::new(Balance::RoundRobin, &[5, 1, 1]).counts(70), [50, 10, 10]);
        assert_eq!(endpoints(&[5, 1, 1]).len(), 3);
    }
}
