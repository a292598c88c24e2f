//! The program's own log, on standard error: events of the gateway, never one per request.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Sends the program's events to standard error, as JSON or as text. Called once, by a binary; a second call changes
/// nothing.
pub fn start(level: LevelFilter, json: bool) {
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.with_ansi(false).boxed() };
    let _ = tracing_subscriber::registry().with(lines.with_filter(level)).try_init();
}
