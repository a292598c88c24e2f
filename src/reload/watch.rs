//! Notices that the files have changed. The system's notices only say when to look; what counts is what is in the files,
//! and behind the notices stands a poll: network file systems give none, and a watch dies with what it was set on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
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
        let ours = places.clone();
        let heard = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| says_something(&event, &ours)) {
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

/// Whether something may be different. Reading is nothing: we read ourselves. Nor is it news that somebody writes to a file
/// beside ours: an access log there would otherwise have all of them read again once a second.
fn says_something(event: &Event, ours: &[PathBuf]) -> bool {
    let of_ours = |path: &PathBuf| ours.contains(path) || path.extension().is_some_and(|ending| ending == "toml");
    match event.kind {
        EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            event.paths.is_empty() || event.paths.iter().any(of_ours)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RenameMode};

    use super::*;

    #[test]
    fn what_is_written_beside_our_files_is_no_news() {
        let ours = [PathBuf::from("/etc/tollgate/secret")];
        let says = |kind, path: &str| says_something(&Event::new(kind).add_path(path.into()), &ours);
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for kind in [written, closed] {
            assert!(says(kind, "/etc/tollgate/secret") && says(kind, "/etc/tollgate/conf.d/new.toml"));
            assert!(!says(kind, "/etc/tollgate/access.log"));
        }
        assert!(!says(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/etc/tollgate/secret"));
        // A file may take the place of one of ours, or of what one of ours points to.
        for kind in
            [EventKind::Create(CreateKind::Any), EventKind::Modify(ModifyKind::Name(RenameMode::To)), EventKind::Any]
        {
            assert!(says(kind, "/etc/tollgate/..data"));
        }
    }
}
