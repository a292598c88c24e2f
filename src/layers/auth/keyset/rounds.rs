//! The rounds of a key set: what is shared between those who read its keys, those who wait for them, and the task that gets
//! them; and the task itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use super::Current;
use crate::base::clock;
use crate::layers::auth::fetch::FetchError;
use crate::layers::auth::keys::{Keys, Origin};
use crate::layers::auth::policy::{KeyPolicy, KeySource};
use crate::layers::auth::recent::Recent;
use crate::layers::auth::schedule::Schedule;
use crate::layers::auth::source::{Round, Source};
use crate::layers::auth::store::{self, Stored};
use crate::layers::auth::watch::PERIOD;
use crate::layers::gate::Waiting;
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// Requests that may wait at one time, per key set.
const MOST_WAITING: usize = 1024;

/// What the handle, the task and those who wait have in common.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) policy: KeyPolicy,
    pub(super) recorder: Arc<Recorder>,
    pub(super) current: ArcSwapOption<Current>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) hurry: Notify,
    pub(super) waiting: AtomicUsize,
    /// Key ids that nobody knew when keys were last fetched for them, and when that was.
    pub(super) made_up: Mutex<Recent<Box<str>, Instant>>,
    pub(super) last_error: Mutex<Option<String>>,
}

/// How far the rounds are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) started: u64,
    pub(super) completed: u64,
    /// When the next one is due.
    pub(super) due: Instant,
    /// From when on an unknown key id may cause one.
    pub(super) extra_from: Instant,
}

/// A place among those that wait.
struct Place(Arc<Shared>);

impl Progress {
    pub(super) fn is_running(&self) -> bool {
        self.started > self.completed
    }
}

impl Shared {
    pub(super) fn has(&self, id: &str) -> bool {
        self.current.load().as_ref().is_some_and(|current| current.keys.ids().contains(id))
    }

    pub(super) fn is_made_up(&self, id: &str, now: Instant) -> bool {
        let since = self.made_up.lock().unwrap_or_else(PoisonError::into_inner).get(id);
        since.is_some_and(|since| now.saturating_duration_since(since) < self.policy.cooldown)
    }

    pub(super) fn wait(
        self: &Arc<Self>,
        until: Instant,
        is_over: impl Fn(&Self, &Progress) -> bool + Send + Sync + 'static,
    ) -> Option<Waiting> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let place = Place(self.clone());
        let mut told = self.progress.subscribe();
        Some(Box::pin(async move {
            let over = async {
                loop {
                    let progress = *told.borrow_and_update();
                    if is_over(&place.0, &progress) || told.changed().await.is_err() {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout_at(until.into(), over).await;
        }))
    }

    /// Draws the conclusions from a round: new keys count from now on, and after a failure the old ones go on.
    pub(super) fn take(&self, round: Result<Round, FetchError>, now: Instant) -> Result<(), ()> {
        let mut last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let word = round.as_ref().map_or_else(FetchError::word, |_| "ok");
        self.recorder.counter(names::JWKS_REFRESHES, &[&self.name, word]).increment(1);
        let round = match round {
            Ok(round) => round,
            Err(error) => {
                if last_error.is_none() {
                    tracing::warn!(auth = &*self.name, %error, "the keys cannot be had; the last ones go on");
                }
                *last_error = Some(error.to_string());
                return Err(());
            }
        };
        if last_error.take().is_some() {
            tracing::info!(auth = &*self.name, "the keys can be had again");
        }
        let before = self.current.load();
        let generation = match before.as_ref() {
            Some(before) if before.bytes == round.bytes => before.generation,
            before => {
                for skipped in round.keys.skipped() {
                    tracing::warn!(auth = &*self.name, skipped, "a key was left out");
                }
                tracing::info!(auth = &*self.name, keys = round.keys.list().len(), "new keys");
                before.map_or(1, |before| before.generation + 1)
            }
        };
        self.set(round, generation, now);
        Ok(())
    }

    fn set(&self, round: Round, generation: u64, since: Instant) {
        let until = match self.policy.source {
            KeySource::Secret(_) => None,
            _ => Some(since + self.policy.max_stale),
        };
        let current = Current { keys: round.keys, generation, since, until, bytes: round.bytes };
        self.current.store(Some(Arc::new(current)));
    }

    /// What the disk keeps counts as if it had been fetched when it was written.
    pub(super) fn restore(&self, now: Instant) {
        let (Some(path), Some(source)) = (self.stored(), self.source()) else {
            return;
        };
        let Some((stored, age)) = store::load(&path, source, clock::unix_seconds(), self.policy.max_stale) else {
            return;
        };
        let Some(since) = now.checked_sub(age) else { return };
        if let Ok(keys) = Keys::from_jwks(stored.jwks.as_bytes(), Origin::Network) {
            tracing::info!(auth = &*self.name, age = age.as_secs(), "keys from the last run");
            self.set(Round { keys, bytes: stored.jwks.into_bytes(), max_age: None }, 1, since);
        }
    }

    fn stored(&self) -> Option<std::path::PathBuf> {
        self.policy.cache_dir.as_deref().map(|folder| store::path(folder, &self.name))
    }

    fn source(&self) -> Option<&str> {
        match &self.policy.source {
            KeySource::Url(url) | KeySource::Discovery(url) => Some(url),
            _ => None,
        }
    }

    async fn keep(&self) {
        let (Some(path), Some(source), Some(current)) = (self.stored(), self.source(), self.current.load_full()) else {
            return;
        };
        let Ok(jwks) = String::from_utf8(current.bytes.clone()) else { return };
        let stored = Stored { source: source.to_owned(), fetched: clock::unix_seconds(), jwks };
        let saved = tokio::task::spawn_blocking(move || store::save(&path, &stored)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(auth = &*self.name, %error, "the keys cannot be kept on disk");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks at the files now and then, and reads them when they have changed, or could not be read.
pub(super) async fn watch_files(shared: Arc<Shared>, mut source: Source, mut failed: bool) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = clock::now();
        if !failed && source.is_unchanged() {
            // Looking at it has shown that it is current.
            let current = shared.current.load_full();
            if let Some(current) = current.filter(|current| now - current.since >= shared.policy.max_stale / 2) {
                let round = Round { keys: current.keys.clone(), bytes: current.bytes.clone(), max_age: None };
                shared.set(round, current.generation, now);
            }
            continue;
        }
        if let Some(read) = source.local() {
            failed = shared.take(read, now).is_err();
        }
    }
}

/// Fetches when it is time, and once more, though not too often, when somebody asks for a key that is not there.
pub(super) async fn refresh(shared: Arc<Shared>, source: Source) {
    let policy = &shared.policy;
    let mut schedule = Schedule::new(policy.refresh, policy.cooldown, clock::now());
    loop {
        let extra = tokio::select! {
            biased;
            () = tokio::time::sleep_until(schedule.due().into()) => false,
            () = shared.hurry.notified() => true,
        };
        if extra {
            tokio::time::sleep_until(schedule.extra_from().min(schedule.due()).into()).await;
            schedule.extra(clock::now());
        }
        // This round is for whoever has asked until here.
        let _ = shared.hurry.notified().now_or_never();
        shared.progress.send_modify(|progress| {
            progress.started += 1;
            progress.extra_from = schedule.extra_from();
        });
        let round = source.fetch().await;
        let now = clock::now();
        let max_age = round.as_ref().ok().and_then(|round| round.max_age);
        let taken = shared.take(round, now).is_ok();
        match taken {
            true => schedule.succeeded(now, max_age, fastrand::f64()),
            false => schedule.failed(now, fastrand::f64()),
        }
        shared.progress.send_modify(|progress| {
            progress.completed = progress.started;
            progress.due = schedule.due();
        });
        if taken {
            shared.keep().await;
        }
    }
}
