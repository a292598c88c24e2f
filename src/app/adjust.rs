//! What a new configuration changes in a running gateway beside the snapshot: limits of connections, the operators'
//! token, the level of the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::logs::level;
use crate::admin::guard::Guard;
use crate::base::body::Pace;
use crate::config::{Config, LogLevel, ServerConfig};
use crate::layers::access_log::Lines;
use crate::reload::source::Source;
use crate::reload::{Counters, Reloader};
use crate::runtime::Live;
use crate::runtime::build::Tools;
use crate::runtime::traces::Tracing;
use crate::serve::Limits;
use crate::serve::connection::Service;
use crate::serve::workers::Workers;
use crate::telemetry::logging::{Dial, Levels};

/// Waiting for a body that is free before `min_body_rate` counts.
const BODY_GRACE: Duration = Duration::from_secs(5);

/// What a new configuration changes beside the snapshot.
pub(super) struct Adjustable {
    /// What the services serve.
    pub(super) live: Live,
    /// Who serves connections.
    pub(super) workers: Arc<Workers>,
    /// How many connections there may be.
    pub(super) most: Arc<AtomicUsize>,
    /// `[server]`, as it is in force.
    pub(super) server: Arc<ArcSwap<ServerConfig>>,
    /// Who may change something.
    pub(super) guard: Arc<Guard>,
    /// Turns the log up and down.
    dial: Option<Dial>,
    /// The level of the configuration before: only another one counts for more than what an operator has set.
    level: Mutex<LogLevel>,
    /// Writes access lines.
    lines: Option<Arc<Lines>>,
}

impl Adjustable {
    /// All of it, for workers that have just been started.
    pub(super) fn new(
        config: &Config,
        live: Live,
        workers: Workers,
        logs: (Option<Dial>, Option<Arc<Lines>>),
    ) -> Arc<Self> {
        let (dial, lines) = logs;
        Arc::new(Self {
            live,
            workers: Arc::new(workers),
            most: Arc::new(AtomicUsize::new(config.server.max_connections)),
            server: Arc::new(ArcSwap::from_pointee(config.server.clone())),
            guard: Arc::new(Guard::new(config.admin.token.clone(), config.admin.listen.map(|address| address.ip()))),
            dial,
            level: Mutex::new(config.log.level),
            lines,
        })
    }

    /// Connections that are open keep the limits that they began with.
    fn take(&self, config: &Config) {
        let old = self.server.swap(Arc::new(config.server.clone()));
        if *old != config.server {
            self.workers.renew(services(&self.live, &config.server, self.workers.count()));
            self.most.store(config.server.max_connections, Ordering::Relaxed);
        }
        self.guard.renew(config.admin.token.clone());
        let before =
            std::mem::replace(&mut *self.level.lock().unwrap_or_else(PoisonError::into_inner), config.log.level);
        if let Some(dial) = self.dial.as_ref().filter(|_| before != config.log.level) {
            dial.set(Levels::new(level(config.log.level)));
        }
        if let Some(lines) = &self.lines {
            lines.sample(config.log.sample);
        }
    }
}

/// What brings the gateway from this configuration to the next.
pub(super) fn reloader(
    config: &Config,
    running: &Arc<Adjustable>,
    live: Live,
    (tools, tracing): (Tools, Tracing),
    source: Option<Arc<Source>>,
) -> Reloader {
    let (counters, running) = (Counters::new(&tools.recorder), running.clone());
    Reloader {
        live,
        tools,
        tracing,
        started: config.clone(),
        current: config.clone(),
        source,
        taken: Box::new(move |config| running.take(config)),
        counters,
    }
}

/// One service for each worker.
pub(super) fn services(live: &Live, server: &ServerConfig, count: usize) -> Vec<Service> {
    let limits = Arc::new(limits(server));
    (0..count).map(|worker| Service::new(live.clone(), limits.clone(), worker)).collect()
}

/// What clients may do.
pub(super) fn limits(server: &ServerConfig) -> Limits {
    Limits {
        trusted: server.trusted_proxies.clone(),
        max_headers: server.max_headers,
        max_header_bytes: server.max_header_bytes,
        header_read_timeout: server.header_read_timeout,
        keep_alive_timeout: server.keep_alive_timeout,
        pace: Pace { idle: server.body_idle_timeout, min_rate: server.min_body_rate, grace: BODY_GRACE },
        http2_max_streams: server.http2_max_streams,
    }
}
