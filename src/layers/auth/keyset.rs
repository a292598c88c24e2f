//! The keys of one policy, kept current in the background, on the control runtime. Requests read them and never fetch:
//! at most they wait, for a round that all of them share. Keys that cannot be had anew serve on until they are too old;
//! then there are none, which is nobody's fault but the issuer's.

mod rounds;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use self::rounds::{Progress, Shared};
use super::keys::Keys;
use super::policy::{KeyPolicy, KeySource};
use super::recent::Recent;
use super::source::Source;
use crate::base::clock;
use crate::base::tasks::{self, Task};
use crate::layers::gate::Waiting;
use crate::telemetry::names;
use crate::telemetry::page::Samples;
use crate::telemetry::recorder::Recorder;

/// How long a request waits for keys at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// Key ids that are remembered to be made up: for certain, and their bytes.
const MADE_UP: usize = 4096;
const MADE_UP_BYTES: usize = 256 << 10;

/// A key set that is kept current; dropping it ends that.
pub struct KeySet {
    shared: Arc<Shared>,
    _task: Option<Task>,
}

/// The keys that count.
#[derive(Debug)]
pub struct Current {
    /// The keys.
    pub keys: Keys,
    /// Grows when they change.
    pub generation: u64,
    /// From when they are.
    since: Instant,
    /// Until when they serve.
    until: Option<Instant>,
    bytes: Vec<u8>,
}

/// What an operator wants to know of a key set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeySetStatus {
    /// The policy that it belongs to.
    pub name: Arc<str>,
    /// Keys that can verify.
    pub keys: usize,
    /// Their ids.
    pub ids: BTreeSet<String>,
    /// Since when they are known to be current.
    pub age_seconds: Option<f64>,
    /// Time to the next round.
    pub next_refresh_seconds: f64,
    /// What was wrong with the latest round.
    pub last_error: Option<String>,
}

/// The running key sets of a gateway. A policy that stays the same over a reload keeps its keys.
#[derive(Debug, Default)]
pub struct KeySets(Mutex<Vec<(String, KeyPolicy, Weak<KeySet>)>>);

impl KeySets {
    /// The key set of a policy, begun if it does not run yet.
    pub fn get(&self, name: &str, policy: &KeyPolicy, control: &Handle, recorder: &Arc<Recorder>) -> Arc<KeySet> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, _, running)| running.strong_count() > 0);
        let known = all.iter().find(|(other, others, _)| other == name && others == policy);
        if let Some(running) = known.and_then(|(_, _, running)| running.upgrade()) {
            return running;
        }
        let begun = KeySet::start(name, policy, control, recorder);
        all.push((name.to_owned(), policy.clone(), Arc::downgrade(&begun)));
        begun
    }
}

impl KeySet {
    /// Reads the keys where that is at once possible, and keeps them current on the runtime behind `control`.
    pub fn start(name: &str, policy: &KeyPolicy, control: &Handle, recorder: &Arc<Recorder>) -> Arc<Self> {
        let now = clock::now();
        let progress = Progress { started: 0, completed: 0, due: now, extra_from: now };
        let shared = Arc::new(Shared {
            name: name.into(),
            policy: policy.clone(),
            recorder: recorder.clone(),
            current: ArcSwapOption::empty(),
            progress: watch::Sender::new(progress),
            hurry: Notify::new(),
            waiting: AtomicUsize::new(0),
            made_up: Mutex::new(Recent::new(MADE_UP, MADE_UP_BYTES)),
            last_error: Mutex::default(),
        });
        let mut source = Source::new(policy);
        let task = match source.local() {
            Some(read) => {
                let failed = shared.take(read, now).is_err();
                let static_ = matches!(policy.source, KeySource::Secret(_));
                (!static_).then(|| tasks::spawn_on(control, rounds::watch_files(shared.clone(), source, failed)))
            }
            None => {
                shared.restore(now);
                Some(tasks::spawn_on(control, rounds::refresh(shared.clone(), source)))
            }
        };
        Arc::new(Self { shared, _task: task })
    }

    /// The keys that count now, if there are any.
    pub fn current(&self, now: Instant) -> Option<Guard<Option<Arc<Current>>>> {
        let current = self.shared.current.load();
        current.as_ref().is_some_and(|keys| keys.until.is_none_or(|until| now < until)).then_some(current)
    }

    /// Why there are no keys now.
    pub fn why_none(&self) -> &'static str {
        match self.shared.current.load().is_some() {
            true => "older than jwks_max_stale",
            false => "never had any",
        }
    }

    /// Seconds until there may be keys again.
    pub fn retry_after(&self, now: Instant) -> u64 {
        let due = self.shared.progress.borrow().due;
        due.saturating_duration_since(now).as_secs() + 1
    }

    /// What to wait for until the first round of all is over; `None` if it is.
    pub fn first_round(&self, now: Instant, deadline: Option<Instant>) -> Option<Waiting> {
        if !self.shared.policy.source.is_remote() || self.shared.progress.borrow().completed > 0 {
            return None;
        }
        self.shared.wait(limit(now, deadline), |_, progress| progress.completed > 0)
    }

    /// Asks for a key of this id, and says what to wait for until it is known whether it has come. `None` where that would
    /// be in vain.
    pub fn ask_for(&self, id: &str, now: Instant, deadline: Option<Instant>) -> Option<Waiting> {
        let waiting = self.may_come(id, now, deadline);
        if waiting.is_some() {
            self.shared.hurry.notify_one();
        }
        waiting
    }

    /// The same without asking. `None` where waiting would be in vain: the id was made up, somebody else has caused a
    /// round just now, or there is nobody to ask.
    pub fn may_come(&self, id: &str, now: Instant, deadline: Option<Instant>) -> Option<Waiting> {
        let shared = &self.shared;
        if !shared.policy.source.is_remote() || shared.is_made_up(id, now) {
            return None;
        }
        let until = limit(now, deadline);
        let progress = *shared.progress.borrow();
        if !progress.is_running() && progress.extra_from > until {
            return None;
        }
        let id: Box<str> = id.into();
        // A round that runs already may have asked before the key was there.
        let wanted = progress.started + 1;
        shared.wait(until, move |shared, progress| {
            progress.completed >= wanted || shared.has(&id) || !progress.is_running() && progress.extra_from > until
        })
    }

    /// Remembers that nobody knew a key of this id when everybody was asked.
    pub fn is_unknown(&self, id: &str, now: Instant) {
        let mut made_up = self.shared.made_up.lock().unwrap_or_else(PoisonError::into_inner);
        made_up.insert(id.into(), now, id.len());
    }

    /// What there is to tell of it.
    pub fn status(&self) -> KeySetStatus {
        let now = clock::now();
        let current = self.shared.current.load();
        let keys = current.as_ref().map(|current| &current.keys);
        let due = self.shared.progress.borrow().due;
        KeySetStatus {
            name: self.shared.name.clone(),
            keys: keys.map_or(0, |keys| keys.list().len()),
            ids: keys.map(|keys| keys.ids().into_iter().map(str::to_owned).collect()).unwrap_or_default(),
            age_seconds: current.as_ref().map(|keys| now.saturating_duration_since(keys.since).as_secs_f64()),
            next_refresh_seconds: due.saturating_duration_since(now).as_secs_f64(),
            last_error: self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl KeySetStatus {
    /// Adds what a scrape finds of it.
    pub fn measure(&self, samples: &mut Samples) {
        if let Some(age) = self.age_seconds {
            samples.add(names::JWKS_AGE, &[&self.name], age);
        }
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({})", self.shared.name)
    }
}

/// When a request that began waiting now has waited long enough.
fn limit(now: Instant, deadline: Option<Instant>) -> Instant {
    let until = now + PATIENCE;
    deadline.map_or(until, |deadline| until.min(deadline))
}
