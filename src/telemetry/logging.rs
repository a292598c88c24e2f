//! The program's own log, on standard error: events of the gateway, never one per request.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Turns the log up and down while it runs.
#[derive(Clone, Debug)]
pub struct Dial(reload::Handle<LevelFilter, Registry>);

impl Dial {
    /// Writes what is this severe or more, from now on.
    pub fn set(&self, level: LevelFilter) {
        // It fails only when the log is gone.
        let _ = self.0.reload(level);
    }
}

/// Sends the program's events to standard error, as JSON or as text. Called once, by a binary; a second call changes
/// nothing.
pub fn start(level: LevelFilter, json: bool) -> Dial {
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.with_ansi(false).boxed() };
    let (filter, handle) = reload::Layer::new(level);
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    Dial(handle)
}
