//! The gateway as a value: started from a configuration, stopped by its owner. The binary and every test use it the
//! same way, and two of them in one process never meet.

mod adjust;
pub mod explain;
mod logs;
mod sockets;
pub mod takeover;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use self::adjust::{Adjustable, reloader, services};
use self::takeover::Offer;
use crate::admin::feed::Feed;
use crate::admin::{self, Desk};
use crate::base::clock;
use crate::base::tasks::{self, Task};
use crate::config::{Config, ServerConfig};
use crate::layers::access_log::Lines;
use crate::reload;
use crate::reload::source::Source;
use crate::reload::watch::{self, Pace};
use crate::runtime::Live;
use crate::runtime::build::{self, Tools};
use crate::runtime::reloads::Reloads;
use crate::runtime::traces::Tracing;
use crate::serve::listen::{self, Accepting, Listener};
use crate::serve::workers::{CodecRefusals, Workers};
use crate::telemetry::logging::Dial;
use crate::telemetry::names;
use crate::telemetry::otlp::Exports;
use crate::telemetry::page::Measured;
use crate::telemetry::recorder::Recorder;

pub use self::logs::level;
pub use self::sockets::{Handed, Handles, Inherited, Role};

/// How long the queue of a listener is emptied for at most when the gateway goes down.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long the end waits for spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How often a sign of life is looked for.
const OFTEN: Duration = Duration::from_millis(10);

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
    /// A socket that was handed over belongs to no address of the configuration.
    #[error("a socket was handed over for {address}, which neither `server.listen` nor `admin.listen` names")]
    Unwanted {
        /// Where it is bound.
        address: SocketAddr,
    },
    /// No thread, or no runtime.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Makes running gateways.
#[derive(Debug)]
pub struct Gateway;

/// What a gateway may have besides a configuration.
#[derive(Default)]
pub struct Extras {
    /// The files that the configuration is from: they are watched, and read again on a reload.
    pub files: Option<Arc<Source>>,
    /// How they are watched.
    pub watch: Pace,
    /// Sockets that somebody else has bound already.
    pub sockets: Inherited,
    /// What turns the log up and down.
    pub dial: Option<Dial>,
}

/// A gateway that serves. Dropping it ends it at once; [`Running::shutdown`] lets requests finish.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    draining: Arc<AtomicBool>,
    accepting: Vec<Task>,
    closing: CancellationToken,
    retiring: CancellationToken,
    handles: Arc<Handles>,
    workers: Arc<Workers>,
    lines: Option<Arc<Lines>>,
    exports: Arc<Exports>,
    /// `[server]`, as it is in force.
    server: Arc<ArcSwap<ServerConfig>>,
    reloads: Reloads,
    taken_over: CancellationToken,
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
        Self::start_with(config, Extras::default())
    }

    /// The same with more than a configuration.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_with(config: &Config, extras: Extras) -> Result<Running, StartError> {
        let Extras { files, watch, mut sockets, dial } = extras;
        let listeners = sockets.bind_all(Role::Clients, &config.server.listen)?;
        let admin = sockets.bind_all(Role::Operators, config.admin.listen.as_slice())?.pop();
        sockets.finish()?;
        let handles = Arc::new(Handles::of(config, &listeners, admin.as_ref())?);
        let (control, count) = (control()?, worker_count(&config.server));
        let recorder = recorder();
        let lines = logs::lines(&config.log, count, &recorder)?;
        let exports = Exports::new(&recorder);
        let tracing = Tracing::new(exports.clone(), control.handle(), count);
        let tools = Tools::new(config, count, &recorder, control.handle())?;
        let tools = Tools { tracer: tracing.tracer(&config.tracing), lines: lines.clone(), ..tools };
        let live = Live::new(build::build(config, &tools).complete(&tools));
        let workers = Workers::start(services(&live, &config.server, count), &codec_refusals(&recorder))?;
        let running = Adjustable::new(config, live.clone(), workers, (dial.clone(), lines.clone()));
        let (draining, (reloads, orders)) = (Arc::<AtomicBool>::default(), Reloads::new());
        let (closing, retiring) = (CancellationToken::new(), CancellationToken::new());
        let desk = Desk {
            live: live.clone(),
            recorder: recorder.clone(),
            measured: measured(&running.workers, dial.as_ref()),
            dial,
            listeners: listeners.iter().map(|listener| (listener.address, listener.seats.clone())).collect(),
            draining: draining.clone(),
            started: clock::now(),
            awaited: live.now().upstreams().iter().map(Arc::downgrade).collect(),
            reloads: reloads.clone(),
            guard: running.guard.clone(),
            feed: Feed::new(retiring.clone()),
            explain: explain::live,
        };
        let addresses = listeners.iter().map(|listener| listener.address).collect();
        let accepting = accept_all(listeners, &running, &closing, &recorder, &control);
        let admin_address = admin.as_ref().map(|listener| listener.address);
        let reloader = reloader(config, &running, live, (tools, tracing), files.clone());
        let handle = control.handle();
        let watching = |files| tasks::spawn_on(handle, watch::watch(files, watch, reloads.clone(), handle.clone()));
        let mut background = vec![tasks::spawn_on(handle, reload::run(reloader, orders, handle.clone()))];
        background.extend(admin.map(|listener| serve_admin(listener, Arc::new(desk), retiring.clone(), &control)));
        background.extend(lines.clone().map(|lines| tasks::spawn_on(handle, logs::flush(lines))));
        background.extend(files.map(watching));
        Ok(Running {
            addresses,
            admin: admin_address,
            draining,
            accepting,
            closing,
            retiring,
            handles,
            workers: running.workers.clone(),
            lines,
            exports,
            server: running.server.clone(),
            reloads,
            taken_over: CancellationToken::new(),
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

    /// What brings it to another configuration while it runs.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Opens the access log anew, where it goes to a file: whoever has moved that away can have it now.
    pub fn reopen_logs(&self) {
        if let Some(lines) = &self.lines {
            lines.reopen();
        }
    }

    /// Offers the listening sockets to another process of the same user at this path, from now on.
    ///
    /// # Errors
    /// When the path cannot be had.
    pub fn offer_takeover(&mut self, path: &Path) -> io::Result<()> {
        if let Some(control) = &self.control {
            let offer = Offer::bind(path, self.handles.clone(), self.taken_over.clone())?;
            self.background.push(tasks::spawn_on(control.handle(), offer.serve(control.handle().clone())));
        }
        Ok(())
    }

    /// Resolves when another process serves in this one's place, which then has only to finish.
    pub fn taken_over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.taken_over.clone().cancelled_owned()
    }

    /// Whether all threads still get to their work: asks them, and looks at their answers `within` this time.
    pub async fn is_alive(&self, within: Duration) -> bool {
        let (here, control) = (Arc::<AtomicBool>::default(), self.control.as_ref());
        let answer = here.clone();
        let _asked = control
            .map(|control| tasks::spawn_on(control.handle(), async move { answer.store(true, Ordering::Relaxed) }));
        self.workers.call();
        let until = clock::now() + within;
        loop {
            if here.load(Ordering::Relaxed) && self.workers.heard() {
                return true;
            }
            if clock::now() >= until {
                return false;
            }
            tokio::time::sleep(OFTEN).await;
        }
    }

    /// Goes down without losing a request: says that it is not ready, keeps serving for `shutdown_delay`, then accepts
    /// nothing more and waits for what is in flight, at most for `shutdown_grace`. Blocks that long.
    pub fn shutdown(self) {
        let delay = if self.taken_over.is_cancelled() { Duration::ZERO } else { self.server.load().shutdown_delay };
        self.draining.store(true, Ordering::Relaxed);
        std::thread::sleep(delay);
        self.finish();
    }

    /// Accepts nothing more, and finishes what it has.
    fn finish(mut self) {
        self.handles.close();
        if self.taken_over.is_cancelled() {
            // Operators are to talk to the one that serves.
            self.retiring.cancel();
        }
        self.stop_accepting();
        self.workers.drain(self.server.load().shutdown_grace);
        if let Some(lines) = &self.lines {
            lines.flush();
        }
        self.exports.finish(LAST_SPANS);
    }

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

/// What has numbers beside the metrics that are registered.
fn measured(workers: &Arc<Workers>, dial: Option<&Dial>) -> Vec<Arc<dyn Measured>> {
    let dial = dial.map(|dial| Arc::new(dial.clone()) as Arc<dyn Measured>);
    let workers: Arc<dyn Measured> = workers.clone();
    [workers].into_iter().chain(dial).collect()
}

fn accept_all(
    listeners: Vec<Listener>,
    running: &Adjustable,
    closing: &CancellationToken,
    recorder: &Recorder,
    control: &Runtime,
) -> Vec<Task> {
    let accepting =
        Accepting { workers: running.workers.clone(), most: running.most.clone(), closing: closing.clone() };
    let accept = |listener: Listener| {
        let labels = [&*listener.address.to_string(), "overloaded"];
        let refused = recorder.counter(names::CONNECTIONS_REFUSED, &labels);
        tasks::spawn_on(control.handle(), listen::accept(listener, accepting.clone(), refused))
    };
    listeners.into_iter().map(accept).collect()
}

/// The runtime of everything that is not a request.
fn control() -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("control").enable_all().build()
}

/// How many workers there are: as many as the processor has cores where the configuration does not say.
pub fn worker_count(server: &ServerConfig) -> usize {
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

fn codec_refusals(recorder: &Recorder) -> CodecRefusals {
    let counter = |code| recorder.counter(names::REFUSALS, &["none", code, "enforce"]);
    CodecRefusals { malformed: counter("bad_request"), too_large: counter("header_too_large") }
}

fn serve_admin(listener: Listener, desk: Arc<Desk>, retiring: CancellationToken, control: &Runtime) -> Task {
    tasks::spawn_on(control.handle(), async move {
        match tokio::net::TcpListener::from_std(listener.into_socket()) {
            Ok(listener) => admin::serve(listener, desk, retiring).await,
            Err(error) => tracing::error!(%error, "the admin listener failed"),
        }
    })
}
