//! The only place that waits.

use std::time::Duration;

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const OFTEN: Duration = Duration::from_millis(5);

/// Waits until `holds`; panics, saying `what` did not come true, when that takes too long.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_async(what, async || holds()).await;
}

/// The same for a condition that has to ask somebody.
pub(crate) async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(OFTEN).await;
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, poll).await;
    assert!(outcome.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// Waits until `look` finds something; panics, saying `what` was not found, when that takes too long.
pub(crate) async fn eventually_some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually_async(what, async || {
        found = look().await;
        found.is_some()
    })
    .await;
    found.expect("it was just found")
}
