//! The access log as the configuration wants it, and what an operator can do about it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::config::{AccessTarget, LogConfig, LogFormat, LogLevel};
use crate::layers::access_log::{Form, Lines};
use crate::runtime::traces::seeds;
use crate::telemetry::access_log::Target;
use crate::telemetry::logging::LevelFilter;
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// How often buffered access lines are handed over.
const FLUSH: Duration = Duration::from_secs(1);

/// Where access lines go, if anywhere.
pub(super) fn lines(config: &LogConfig, workers: usize, recorder: &Recorder) -> Result<Option<Arc<Lines>>, StartError> {
    let target = match &config.access {
        AccessTarget::Off => return Ok(None),
        AccessTarget::Stdout => Target::stream(io::stdout()),
        AccessTarget::Stderr => Target::stream(io::stderr()),
        AccessTarget::File(path) => {
            Target::file(path).map_err(|error| StartError::AccessLog { path: path.display().to_string(), error })?
        }
    };
    let form = match config.format {
        LogFormat::Json => Form::Json,
        LogFormat::Text => Form::Text,
    };
    let lines = Lines::start(seeds(workers), target, form, recorder.counter(names::ACCESS_LOG_DROPPED, &[]))?;
    lines.sample(config.sample);
    Ok(Some(Arc::new(lines)))
}

/// Hands lines over again and again.
pub(super) async fn flush(lines: Arc<Lines>) {
    loop {
        tokio::time::sleep(FLUSH).await;
        lines.flush();
    }
}

/// The least severe level that is logged.
pub fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
