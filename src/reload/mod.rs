//! Floor 5: from one configuration to the next. Builds first, swaps once, and keeps what runs where there is a problem.
//! Reloads happen one at a time; those who ask while one is under way share the next.

pub mod source;
pub mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge};
use tokio::runtime::Handle;

use crate::base::tasks;
use crate::config::Config;
use crate::config::load::LoadError;
use crate::config::problem::{Place, Severity};
use crate::runtime::Live;
use crate::runtime::build::{self, Tools};
use crate::runtime::change::Change;
use crate::runtime::reloads::{Order, Orders, Outcome, Trigger, Trouble, Verdict};
use crate::runtime::traces::Tracing;
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;
use crate::upstream;
use crate::upstream::lookup::Lookup;
use source::Source;

/// Is told of a configuration that runs from now on: what is not in a snapshot changes there.
pub type Taken = Box<dyn Fn(&Config) + Send + Sync>;

/// Brings a running gateway from one configuration to the next.
pub struct Reloader {
    /// What runs.
    pub live: Live,
    /// What a snapshot is built with.
    pub tools: Tools,
    /// What makes tracers.
    pub tracing: Tracing,
    /// What the gateway was started with: what needs a restart is still as it says.
    pub started: Config,
    /// What runs now.
    pub current: Config,
    /// Where configurations come from, if from files.
    pub source: Option<Arc<Source>>,
    /// Who is told.
    pub taken: Taken,
    /// The numbers.
    pub counters: Counters,
}

/// How reloads are counted.
#[derive(Clone)]
pub struct Counters {
    ok: Counter,
    failed: Counter,
    taken_at: Gauge,
}

impl Counters {
    /// Fetches the handles. The configuration of the start counts as taken now.
    pub fn new(recorder: &Recorder) -> Self {
        let counter = |result| recorder.counter(names::CONFIG_RELOADS, &[result]);
        let counters = Self {
            ok: counter("ok"),
            failed: counter("failed"),
            taken_at: recorder.gauge(names::CONFIG_RELOADED, &[]),
        };
        counters.taken_now();
        counters
    }

    fn taken_now(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.taken_at.set(now.as_secs_f64());
    }
}

/// Reloads as ordered, until nobody can order any more.
pub async fn run(mut reloader: Reloader, mut orders: Orders, control: Handle) {
    while let Some(first) = orders.inbox.recv().await {
        let mut batch = vec![first];
        while let Ok(next) = orders.inbox.try_recv() {
            batch.push(next);
        }
        let outcomes = orders.outcomes.clone();
        // Reading, checking and building take a while: not on a thread that has connections to accept.
        let worked = tasks::blocking_on(&control, move || {
            for shared in in_turn(batch) {
                let verdict = Arc::new(reloader.serve(&shared));
                outcomes.tell(verdict.clone());
                for reply in shared.into_iter().filter_map(|order| order.reply) {
                    // Who does not wait any more has no need to know.
                    let _ = reply.send(verdict.clone());
                }
            }
            reloader
        });
        match worked.await {
            Some(back) => reloader = back,
            None => return,
        }
    }
}

/// Orders that one reload serves together: a configuration alone, files with all that ask for them in a row.
fn in_turn(batch: Vec<Order>) -> Vec<Vec<Order>> {
    let mut turns: Vec<Vec<Order>> = Vec::new();
    for order in batch {
        match turns.last_mut() {
            Some(turn) if order.config.is_none() && turn.iter().all(|other| other.config.is_none()) => turn.push(order),
            _ => turns.push(vec![order]),
        }
    }
    turns
}

impl Reloader {
    /// One reload. Whatever goes wrong in it, what runs goes on.
    fn serve(&mut self, orders: &[Order]) -> Verdict {
        let trigger = orders.first().map_or(Trigger::Program, |order| order.trigger);
        let wanted = orders.first().and_then(|order| order.config.as_deref());
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let next = match wanted {
                Some(config) => config.clone(),
                None => self.load()?,
            };
            Ok(self.swap(next))
        }));
        let outcome = match worked {
            Ok(Ok(change)) => Outcome::Ok(Box::new(change)),
            Ok(Err(problems)) => Outcome::Failed { problems },
            Err(_) => Outcome::Failed { problems: vec![Trouble::new("the reload itself failed")] },
        };
        self.tell(&outcome, trigger);
        Verdict { outcome, trigger, at: jiff::Timestamp::now().to_string() }
    }

    fn load(&self) -> Result<Config, Vec<Trouble>> {
        let Some(source) = &self.source else {
            return Err(vec![Trouble::new(
                "this gateway was not started from files, so there is nothing to read again",
            )]);
        };
        let loaded = source.load().map_err(|error| troubles(&error))?;
        if !loaded.warnings.is_empty() {
            tracing::warn!("the configuration has warnings:\n{}", loaded.warnings);
        }
        Ok(loaded.config)
    }

    /// Builds, then swaps. Building is the last step that can go wrong.
    fn swap(&mut self, next: Config) -> Change {
        let tools = self.tools_for(&next);
        let built = build::build(&next, &tools);
        let change = Change::between(&self.started, &self.current, &next);
        let snapshot = built.complete(&tools);
        let old = self.live.swap(snapshot);
        (self.taken)(&next);
        self.tools = tools;
        self.current = next;
        drop(old);
        self.tools.recorder.prune();
        change
    }

    /// The same tools, with another way to look names up and another tracer where that has changed.
    fn tools_for(&self, next: &Config) -> Tools {
        let mut tools = self.tools.clone();
        if *tools.upstream.dns != next.dns {
            let (dns, lookup) = (Arc::new(next.dns.clone()), Arc::new(Lookup::from_policy(&next.dns)));
            tools.upstream = upstream::Tools { dns, lookup, ..tools.upstream };
        }
        if self.current.tracing != next.tracing {
            tools.tracer = self.tracing.tracer(&next.tracing);
        }
        tools
    }

    fn tell(&self, outcome: &Outcome, trigger: Trigger) {
        match outcome {
            Outcome::Ok(change) => {
                self.counters.ok.increment(1);
                self.counters.taken_now();
                log_change(change, trigger);
            }
            Outcome::Failed { problems } => {
                self.counters.failed.increment(1);
                for Trouble { message, key, place, help } in problems {
                    tracing::error!(?trigger, key, place, help, "the configuration was not taken: {message}");
                }
            }
        }
    }
}

fn log_change(change: &Change, trigger: Trigger) {
    let Change { routes, upstreams, auth, rate_limits, settings, needs_restart } = change;
    if change.is_empty() {
        tracing::info!(?trigger, "reloaded: nothing has changed");
        return;
    }
    tracing::info!(
        ?trigger,
        routes_added = ?routes.added,
        routes_removed = ?routes.removed,
        routes_changed = ?routes.changed,
        upstreams_added = ?upstreams.added,
        upstreams_removed = ?upstreams.removed,
        upstreams_changed = ?upstreams.changed,
        auth_added = ?auth.added,
        auth_removed = ?auth.removed,
        auth_changed = ?auth.changed,
        limits_added = ?rate_limits.added,
        limits_removed = ?rate_limits.removed,
        limits_changed = ?rate_limits.changed,
        ?settings,
        "reloaded"
    );
    if !needs_restart.is_empty() {
        tracing::warn!(keys = ?needs_restart, "these keys have changed and need a restart; all else is in force");
    }
}

/// What a configuration that cannot be loaded has wrong with it, one by one.
fn troubles(error: &LoadError) -> Vec<Trouble> {
    let LoadError::Invalid(report) = error else {
        return vec![Trouble::new(error.to_string())];
    };
    let errors = report.problems().iter().filter(|problem| problem.severity == Severity::Error);
    let trouble = errors.map(|problem| {
        let key = problem.path.to_string();
        let place = match &problem.place {
            Place::Nowhere => None,
            Place::File { file, line, column, .. } => Some(format!("{file}:{line}:{column}")),
            Place::Environment(name) => Some(format!("variable {name}")),
            Place::Flag(name) => Some(format!("flag {name}")),
        };
        Trouble {
            message: problem.fault.what.clone(),
            key: Some(key).filter(|key| !key.is_empty()),
            place,
            help: problem.fault.hint.clone(),
        }
    });
    trouble.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn order(config: Option<&str>) -> Order {
        let config = config.map(|text| Box::new(load::from_text(text).unwrap().config));
        Order { trigger: Trigger::File, config, reply: None }
    }

    #[test]
    fn who_asks_for_the_files_shares_a_reload_and_configurations_keep_their_order() {
        let batch = vec![order(None), order(None), order(Some("")), order(Some("")), order(None), order(None)];
        let sizes: Vec<usize> = in_turn(batch).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
    }

    #[test]
    fn each_problem_is_told_with_its_place_and_no_secret() {
        let text = "[server]\nworkrs = 1\n[admin]\ntoken = 4242\n[[routes]]\nprefix = 'x'\nupstream = 'nobody'";
        let troubles = troubles(&LoadError::Invalid(load::from_text(text).unwrap_err()));
        assert!(troubles.len() >= 3, "{troubles:?}");
        let first = &troubles[0];
        assert_eq!(first.place.as_deref(), Some("configuration:2:1"));
        assert_eq!(first.key.as_deref(), Some("server.workrs"));
        assert!(first.help.as_ref().is_some_and(|help| help.contains("workers")), "{first:?}");
        assert!(!format!("{troubles:?}").contains("4242"), "{troubles:?}");
    }
}
