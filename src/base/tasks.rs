//! Background work that ends with its owner. The one place that spawns.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

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

/// Starts work that ends by itself with the socket it owns, such as a connection.
#[allow(clippy::disallowed_methods, reason = "the one spawner")]
pub fn detach(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}
