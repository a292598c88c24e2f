//! What the commands run on, and the signals that end them politely.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Exit, io};

/// Runs a command to its end on a runtime of its own.
pub(crate) fn block_on(work: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let exit = runtime.block_on(work);
            // What still blocks ends with the process.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            io::complain(&format!("error: cannot start: {error}\n"));
            Exit::Unavailable
        }
    }
}

/// A signal that asks for something, watched for from the start on, so that it never ends the process.
pub(crate) struct Wish(Option<Signal>);

/// Watches for SIGHUP.
pub(crate) fn hangup() -> Wish {
    Wish::of(SignalKind::hangup())
}

impl Wish {
    /// Watches for this signal. Where that cannot be, it keeps its usual effect.
    pub(crate) fn of(kind: SignalKind) -> Self {
        Self(signal(kind).ok())
    }

    /// Resolves on the next one.
    pub(crate) async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Resolves on SIGTERM or SIGINT. Both are watched for from the call on, which comes before anybody is told that there
/// is something to stop. Where they cannot be watched for, they keep their usual effect.
pub(crate) fn stop() -> impl Future<Output = ()> + Send + 'static {
    let watched = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut term), Ok(mut interrupt)) = watched else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
