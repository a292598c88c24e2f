//! The signals that end a program politely.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves on SIGTERM or SIGINT. Where they cannot be watched for, they keep their usual effect.
pub(crate) async fn stop() {
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}
