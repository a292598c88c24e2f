//! `least_request`: of two drawn at random, the less busy.

use crate::upstream::endpoint::Endpoint;

/// Whether `other` is less busy for its weight than `first`. While both are idle `first` stays, which was drawn by
/// weight: an idle upstream is shared as the weights say.
pub(super) fn is_less_busy(other: &Endpoint, first: &Endpoint) -> bool {
    let (others, own) = (other.in_flight() as u64, first.in_flight() as u64);
    let busy = others > 0 || own > 0;
    busy && (others + 1) * u64::from(first.weight()) < (own + 1) * u64::from(other.weight())
}

#[cfg(test)]
mod tests {
    use super::super::trial::Trial;
    use crate::upstream::endpoint::Ticket;
    use crate::upstream::policy::Balance;

    #[test]
    fn the_busy_one_is_avoided() {
        let trial = Trial::new(Balance::LeastRequest, &[1, 1, 1]);
        let busy: Vec<_> = (0..50).map(|_| Ticket::take(trial.endpoint(0))).collect();
        let counts = trial.counts(900);
        assert_eq!(counts[0], 0, "{counts:?}");
        assert!(counts[1].abs_diff(450) < 100, "{counts:?}");
        drop(busy);
    }

    #[test]
    fn an_idle_upstream_is_shared_by_weight() {
        let counts = Trial::new(Balance::LeastRequest, &[5, 1, 1]).counts(7000);
        assert!(counts[0].abs_diff(5000) < 300 && counts[1].abs_diff(1000) < 200, "{counts:?}");
    }

    #[test]
    fn a_busy_upstream_carries_by_weight() {
        let trial = Trial::new(Balance::LeastRequest, &[4, 1, 1]);
        let held: Vec<_> = (0..60).map(|seed| trial.pick(&[], seed * 7919).unwrap()).collect();
        let loads: Vec<usize> = (0..3).map(|at| trial.endpoint(at).in_flight()).collect();
        assert!(loads[0].abs_diff(40) <= 4 && loads[1].abs_diff(10) <= 3, "{loads:?}");
        drop(held);
    }
}
