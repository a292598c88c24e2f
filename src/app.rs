//! The gateway as a value: started from a configuration, stopped by its owner. The binary and every test use it the
//! same way, and two of them in one process never meet.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::admin::guard::Guard;
use crate::admin::{self, Desk};
use crate::base::body::Pace;
use crate::base::clock;
use crate::base::tasks::{self, Task};
use crate::config::{AccessTarget, Config, ServerConfig};
use crate::layers::access_log::Lines;
use crate::layers::request_id::RequestId;
use crate::runtime::Live;
use crate::runtime::build::{self, Tools};
use crate::serve::Limits;
use crate::serve::connection::Service;
use crate::serve::listen::{self, Accepting, Listener};
use crate::serve::workers::{CodecRefusals, Workers};
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;
use crate::upstream;
use crate::upstream::lookup::Lookup;

/// How long the queue of a listener is emptied for at most when the gateway goes down.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How often buffered access lines are handed over.
const FLUSH: Duration = Duration::from_secs(1);
/// Waiting for a body that is free before `min_body_rate` counts.
const BODY_GRACE: Duration = Duration::from_secs(5);

/// Why a gateway could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot write the access log {path}: {error}")]
    AccessLog {
        /// Its file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// No thread, or no runtime.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Makes running gateways.
#[derive(Debug)]
pub struct Gateway;

/// A gateway that serves. Dropping it ends it at once; [`Running::shutdown`] lets requests finish.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    draining: Arc<AtomicBool>,
    accepting: Vec<Task>,
    closing: CancellationToken,
    workers: Arc<Workers>,
    lines: Option<Arc<Lines>>,
    delay: Duration,
    background: Vec<Task>,
    /// Where everything runs that is not a request.
    control: Option<Runtime>,
}

impl Gateway {
    /// Starts what a configuration describes. The sockets are bound when this returns; blocks only that long.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: &Config) -> Result<Running, StartError> {
        let listeners = bind_all(&config.server.listen)?;
        let admin = config.admin.listen.map(bind).transpose()?;
        let control = control()?;
        let count = worker_count(&config.server);
        let recorder = recorder();
        let lines = lines(&config.log.access, count, &recorder)?;
        let tools = tools(config, count, &recorder, lines.clone(), &control);
        let live = Live::new(build::snapshot(config, &tools));
        let limits = Arc::new(limits(&config.server));
        let services = (0..count).map(|worker| Service::new(live.clone(), limits.clone(), worker)).collect();
        let workers = Arc::new(Workers::start(services, &codec_refusals(&recorder), config.server.shutdown_grace)?);
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.address).collect();
        let draining = Arc::new(AtomicBool::new(false));
        let seats = listeners.iter().map(|listener| (listener.address, listener.seats.clone())).collect();
        let guard = Guard::new(config.admin.token.clone(), config.admin.listen.map(|address| address.ip()));
        let started = clock::now();
        let desk = Desk { live, recorder, listeners: seats, draining: draining.clone(), guard, started };
        let closing = CancellationToken::new();
        let accepting =
            Accepting { workers: workers.clone(), most: config.server.max_connections, closing: closing.clone() };
        let accept = |listener: Listener| {
            let labels = [&*listener.address.to_string(), "overloaded"];
            let refused = desk.recorder.counter(names::CONNECTIONS_REFUSED, &labels);
            tasks::spawn_on(control.handle(), listen::accept(listener, accepting.clone(), refused))
        };
        let accepting = listeners.into_iter().map(accept).collect();
        let admin_address = admin.as_ref().map(|listener| listener.address);
        let mut background = Vec::new();
        background.extend(admin.map(|listener| serve_admin(listener, Arc::new(desk), &control)));
        background.extend(lines.clone().map(|lines| tasks::spawn_on(control.handle(), flush(lines))));
        Ok(Running {
            addresses,
            admin: admin_address,
            draining,
            accepting,
            closing,
            workers,
            lines,
            delay: config.server.shutdown_delay,
            background,
            control: Some(control),
        })
    }
}

impl Running {
    /// Where it serves; with port 0 the ports that were found.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where its operators look, if anywhere.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Goes down without losing a request: says that it is not ready, keeps serving for `shutdown_delay`, then accepts
    /// nothing more and waits for what is in flight, at most for `shutdown_grace`. Blocks that long.
    pub fn shutdown(mut self) {
        self.draining.store(true, Ordering::Relaxed);
        std::thread::sleep(self.delay);
        self.stop_accepting();
        self.workers.drain();
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }
}

impl Running {
    /// Closes the listeners, once what waits in their queues has been accepted.
    fn stop_accepting(&mut self) {
        self.closing.cancel();
        let until = clock::now() + LAST_CALL;
        while !self.accepting.iter().all(Task::is_finished) && clock::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.accepting.clear();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.background.clear();
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}

fn bind(address: SocketAddr) -> Result<Listener, StartError> {
    listen::bind(address).map_err(|error| StartError::Listen { address, error })
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<Listener>, StartError> {
    addresses.iter().copied().map(bind).collect()
}

/// The runtime of everything that is not a request.
fn control() -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("control").enable_all().build()
}

fn worker_count(server: &ServerConfig) -> usize {
    match server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// A recorder that knows which build runs.
fn recorder() -> Arc<Recorder> {
    let recorder = Recorder::default();
    let commit = option_env!("TOLLGATE_COMMIT").unwrap_or("unknown");
    let build = recorder.gauge(names::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), commit]);
    build.set(1.0);
    Arc::new(recorder)
}

fn lines(target: &AccessTarget, workers: usize, recorder: &Recorder) -> Result<Option<Arc<Lines>>, StartError> {
    let target: Box<dyn io::Write + Send> = match target {
        AccessTarget::Off => return Ok(None),
        AccessTarget::Stdout => Box::new(io::stdout()),
        AccessTarget::Stderr => Box::new(io::stderr()),
        AccessTarget::File(path) => {
            access_log::open(path).map_err(|error| StartError::AccessLog { path: path.display().to_string(), error })?
        }
    };
    let log = AccessLog::start(workers, target, recorder.counter(names::ACCESS_LOG_DROPPED, &[]))?;
    Ok(Some(Arc::new(Lines::new(workers, log))))
}

fn tools(
    config: &Config,
    workers: usize,
    recorder: &Arc<Recorder>,
    lines: Option<Arc<Lines>>,
    control: &Runtime,
) -> Tools {
    // Each hasher has keys of its own from the system's randomness.
    let seeds = (0..workers).map(|worker| RandomState::new().hash_one(worker));
    let anchor = (clock::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let upstream = upstream::Tools {
        control: control.handle().clone(),
        workers,
        recorder: recorder.clone(),
        dns: Arc::new(config.dns.clone()),
        lookup: Arc::new(Lookup::from_policy(&config.dns)),
    };
    let key_sets = Arc::default();
    Tools { recorder: recorder.clone(), lines, key_sets, request_id: Arc::new(RequestId::new(seeds, anchor)), upstream }
}

fn limits(server: &ServerConfig) -> Limits {
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

fn codec_refusals(recorder: &Recorder) -> CodecRefusals {
    let counter = |code| recorder.counter(names::REFUSALS, &["none", code, "enforce"]);
    CodecRefusals { malformed: counter("bad_request"), too_large: counter("header_too_large") }
}

fn serve_admin(listener: Listener, desk: Arc<Desk>, control: &Runtime) -> Task {
    let router = admin::router(desk);
    tasks::spawn_on(control.handle(), async move {
        match tokio::net::TcpListener::from_std(listener.into_socket()) {
            Ok(listener) => admin::serve(listener, router).await,
            Err(error) => tracing::error!(%error, "the admin listener failed"),
        }
    })
}

async fn flush(lines: Arc<Lines>) {
    loop {
        tokio::time::sleep(FLUSH).await;
        lines.flush();
    }
}
