//! Notices that the files have changed. The system's notices only say when to look; what counts is what is in the files,
//! and behind the notices stands a poll: network file systems give none, and a watch dies with what it was set on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::source::Source;
use crate::base::tasks;
use crate::runtime::reloads::{Reloads, Trigger};

/// How the files are watched.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Whether the system is asked for notices.
    pub notices: bool,
    /// Whoever writes is given this long to go on before the files are looked at.
    pub settle: Duration,
    /// How often they are looked at in any case.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { notices: true, settle: Duration::from_millis(100), poll: Duration::from_secs(5) }
    }
}

/// A writer that never pauses is waited for no longer than this many times [`Pace::settle`].
const PATIENCE: u32 = 10;

/// Reloads when the files have changed, until it is dropped.
pub async fn watch(source: Arc<Source>, pace: Pace, reloads: Reloads, control: Handle) {
    let hurry = Arc::new(Notify::new());
    let mut watching = None;
    let mut anew = true;
    loop {
        let (from, told) = (source.clone(), hurry.clone());
        let looked = tasks::blocking_on(&control, move || {
            if pace.notices && (anew || watching.as_ref().is_some_and(|old: &Watching| old.places != from.places())) {
                // Set before the files are looked at, so that what happens later is noticed. What has been replaced
                // has to be watched anew.
                watching = Some(Watching::new(from.places(), told, watching.as_ref()));
            }
            (watching, from.is_changed())
        });
        let Some((still, changed)) = looked.await else { return };
        watching = still;
        anew = false;
        if changed && reloads.from_files(Trigger::File).await.is_none() {
            return;
        }
        if changed {
            // The configuration may name other files now.
            continue;
        }
        tokio::select! {
            () = hurry.notified() => {
                settle(&hurry, pace.settle).await;
                anew = true;
            }
            () = tokio::time::sleep(pace.poll) => {}
        }
    }
}

/// Waits until nothing has happened for a while.
async fn settle(hurry: &Notify, quiet: Duration) {
    let all = async { while tokio::time::timeout(quiet, hurry.notified()).await.is_ok() {} };
    let _ = tokio::time::timeout(quiet * PATIENCE, all).await;
}

/// The watches that are set.
struct Watching {
    places: Vec<PathBuf>,
    /// Whether all could be set.
    whole: bool,
    _watcher: Option<RecommendedWatcher>,
}

impl Watching {
    fn new(places: Vec<PathBuf>, hurry: Arc<Notify>, old: Option<&Self>) -> Self {
        let heard = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| says_something(event.kind)) {
                hurry.notify_one();
            }
        };
        let set = notify::recommended_watcher(heard).and_then(|mut watcher| {
            for place in &places {
                watcher.watch(place, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let was_whole = old.is_none_or(|old| old.whole);
        match set {
            Ok(watcher) => Self { places, whole: true, _watcher: Some(watcher) },
            Err(error) => {
                if was_whole {
                    tracing::warn!(%error, "changes of the configuration are noticed late: the system gives no notice");
                }
                Self { places, whole: false, _watcher: None }
            }
        }
    }
}

/// Whether something may be different. Reading is not: we read ourselves.
fn says_something(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
