//! Background work that ends with its owner. The one place that spawns.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

/// A background task; dropping it ends the task at its next await.
#[derive(Debug)]
#[must_use = "dropping the task ends it"]
pub struct Task(JoinHandle<()>);

impl Task {
    /// Waits until the task is over, however it ended.
    pub async fn finished(mut self) {
        let _ = (&mut self.0).await;
    }

    /// Whether the task is over.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts `work` on the current runtime; it ends with the returned value.
#[allow(clippy::disallowed_methods, reason = "the one spawner")]
pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(work))
}

/// Starts `work` on the runtime behind `handle`; it ends with the returned value.
pub fn spawn_on(handle: &Handle, work: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(handle.spawn(work))
}

/// Starts work that ends by itself, on the runtime behind `handle`.
pub fn detach_on(handle: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    drop(handle.spawn(work));
}

/// Does work that blocks, on a thread of its own. None when it panicked, or when the runtime goes down.
pub async fn blocking_on<T: Send + 'static>(handle: &Handle, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    handle.spawn_blocking(work).await.ok()
}

/// Does work on a thread of its own that gives way to all others of the process. None when it panicked, or when there is
/// no thread to be had.
pub async fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (told, done) = oneshot::channel();
    let run = move || {
        // Of this thread alone, on Linux. Elsewhere, and where it may not, it is one of several.
        let _ = rustix::process::nice(10);
        let _ = told.send(work());
    };
    std::thread::Builder::new().name("behind".into()).spawn(run).ok()?;
    done.await.ok()
}

/// Work that ends together: with the group, or when the group is told to.
#[derive(Debug, Default)]
pub struct Group(Mutex<JoinSet<()>>);

impl Group {
    /// Starts `work` on the current runtime. It can also be ended alone, through what this returns.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut set = self.lock();
        while set.try_join_next().is_some() {}
        set.spawn(work)
    }

    /// Pieces of work that have not ended.
    pub fn len(&self) -> usize {
        let mut set = self.lock();
        while set.try_join_next().is_some() {}
        set.len()
    }

    /// Whether everything has ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends everything at its next await.
    pub fn end_all(&self) {
        self.lock().abort_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
