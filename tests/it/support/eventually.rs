//! The only place that waits.

use std::time::Duration;

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `holds`; panics, saying `what` did not come true, when that takes too long.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, poll).await;
    assert!(outcome.is_ok(), "not within {PATIENCE:?}: {what}");
}

/// Waits until `look` finds something; panics, saying `what` was not found, when that takes too long.
pub(crate) async fn eventually_some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, poll).await {
        Ok(found) => found,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
