//! `tollgate run`

use clap::Args;
use tollgate::app::{Gateway, StartError};
use tollgate::config::{Config, LogConfig, LogFormat, LogLevel};
use tollgate::telemetry::logging;
use tracing::level_filters::LevelFilter;

use crate::source::Source;
use crate::{Exit, io, runtime};

/// Serve. SIGTERM and SIGINT let the requests in flight finish, then end it.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    source: Source,
}

impl Run {
    pub(crate) fn run(&self) -> Exit {
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        io::complain(&loaded.warnings.render(io::style(&self.source.input().environment)));
        start_log(&loaded.config.log);
        runtime::block_on(serve(loaded.config))
    }
}

async fn serve(config: Config) -> Exit {
    let stop = runtime::stop();
    let running = match Gateway::start(&config) {
        Ok(running) => running,
        Err(error) => {
            io::complain(&format!("error: {error}\n"));
            return match error {
                StartError::Listen { .. } | StartError::AccessLog { .. } | StartError::System(_) => Exit::Unavailable,
            };
        }
    };
    tracing::info!(listen = ?running.addresses(), admin = ?running.admin_address(), "serving");
    stop.await;
    tracing::info!("shutting down");
    running.shutdown();
    tracing::info!("stopped");
    Exit::Fine
}

fn start_log(config: &LogConfig) {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    logging::start(level, config.format == LogFormat::Json);
}
