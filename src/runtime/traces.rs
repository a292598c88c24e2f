//! Traces as the configuration wants them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::runtime::Handle;

use crate::base::secret::Secret;
use crate::config::TracingConfig;
use crate::layers::trace::Tracer;
use crate::telemetry::otlp::{Collector, Exporter, Exports};

/// Makes the tracers of one gateway: another one when `[tracing]` has changed.
#[derive(Debug)]
pub struct Tracing {
    exports: Arc<Exports>,
    control: Handle,
    workers: usize,
    /// This process, among others of the same service.
    instance: String,
}

impl Tracing {
    /// For this many workers; what is sent, is sent on the runtime behind `control`.
    pub fn new(exports: Arc<Exports>, control: &Handle, workers: usize) -> Self {
        let instance = uuid::Uuid::now_v7().to_string();
        Self { exports, control: control.clone(), workers, instance }
    }

    /// What traces are made with, where they have somewhere to go.
    pub fn tracer(&self, config: &TracingConfig) -> Option<Arc<Tracer>> {
        let field = |(name, secret): &(HeaderName, Secret)| {
            let mut value = HeaderValue::from_str(secret.expose()).ok()?;
            value.set_sensitive(true);
            Some((name.clone(), value))
        };
        let version = env!("CARGO_PKG_VERSION");
        let collector = Collector {
            url: config.otlp.clone()?,
            headers: config.headers.iter().filter_map(field).collect(),
            resource: vec![
                ("service.name", config.service_name.clone().into()),
                ("service.version", version.into()),
                ("service.instance.id", self.instance.clone().into()),
                ("telemetry.sdk.name", "tollgate".into()),
                ("telemetry.sdk.language", "rust".into()),
                ("telemetry.sdk.version", version.into()),
            ],
        };
        let exporter = Exporter::start(collector, &self.exports, &self.control);
        Some(Arc::new(Tracer::new(seeds(self.workers), config.sample, config.errors, exporter)))
    }
}

/// Randomness for each worker: each hasher has keys of its own from the system's.
pub fn seeds(workers: usize) -> Vec<u64> {
    (0..workers.max(1)).map(|worker| RandomState::new().hash_one(worker)).collect()
}
