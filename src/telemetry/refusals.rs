//! Counts the refusals of one route, by handles that are fetched once: which of them will be needed nobody knows when the
//! route is built, and a series of nothing for each reason would be many.

use std::sync::{Arc, OnceLock};

use metrics::Counter;

use super::names;
use super::recorder::Recorder;
use crate::base::mode::Mode;
use crate::base::reject::Reason;

/// The refusals of one route in one mode.
pub struct Refusals {
    route: Arc<str>,
    mode: Mode,
    recorder: Arc<Recorder>,
    counters: [OnceLock<Counter>; Reason::ALL.len()],
}

impl Refusals {
    /// None yet.
    pub fn new(route: &Arc<str>, mode: Mode, recorder: &Arc<Recorder>) -> Self {
        let counters = [const { OnceLock::new() }; Reason::ALL.len()];
        Self { route: route.clone(), mode, recorder: recorder.clone(), counters }
    }

    /// One more.
    pub fn count(&self, reason: Reason) {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        };
        let fetch = || self.recorder.counter(names::REFUSALS, &[&self.route, reason.facts().code, mode]);
        self.counters[reason as usize].get_or_init(fetch).increment(1);
    }
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refusals({}, {:?})", self.route, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_their_place_in_the_table() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
        let recorder = Arc::new(Recorder::default());
        let [enforced, observed] =
            [Mode::Enforce, Mode::Observe].map(|mode| Refusals::new(&"r".into(), mode, &recorder));
        let lines = || recorder.render().lines().filter(|line| line.contains("refusals_total{")).count();
        assert_eq!(lines(), 0, "there are no series of what has not happened");
        enforced.count(Reason::Internal);
        observed.count(Reason::Internal);
        observed.count(Reason::Internal);
        for (mode, count) in [("enforce", 1), ("observe", 2)] {
            let line = format!("tollgate_refusals_total{{route=\"r\",code=\"internal\",mode=\"{mode}\"}} {count}");
            assert!(recorder.render().contains(&line), "{}", recorder.render());
        }
        assert_eq!(lines(), 2);
    }
}
