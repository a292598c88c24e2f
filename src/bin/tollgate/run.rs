//! `tollgate run`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use listenfd::ListenFd;
use tokio::signal::unix::SignalKind;
use tollgate::app::takeover::{self, Taken};
use tollgate::app::{self, Extras, Gateway, Inherited, Running, StartError};
use tollgate::config::load::Loaded;
use tollgate::config::{Config, LogConfig, LogFormat};
use tollgate::reload;
use tollgate::runtime::reloads::Trigger;
use tollgate::telemetry::logging::{self, Dial};

use crate::source::Source;
use crate::{Exit, io, runtime, service};

/// Serve. SIGTERM and SIGINT let the requests in flight finish, then end it; SIGHUP reloads the configuration, and so
/// does a change of its files; SIGUSR1 opens log files anew.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    source: Source,
    /// Take the listening sockets over from the gateway that offers them at PATH ([server] takeover unless given); it
    /// then finishes what it has and ends. Starts as usual where none does.
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    takeover: Option<Option<PathBuf>>,
}

/// How long the end waits for the program's log to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a start needs, when all that can be wrong in what was given has been looked at.
struct Prepared {
    config: Config,
    extras: Extras,
    taken: Option<Taken>,
    /// Where the sockets are offered to the next one.
    offer: Option<PathBuf>,
}

impl Run {
    pub(crate) fn run(&self) -> Exit {
        // Before there is another thread: it takes the variables out of the environment.
        let sockets = match inherited() {
            Ok(sockets) => sockets,
            Err(error) => {
                io::complain(&format!("error: cannot use a socket that was handed over: {error}\n"));
                return Exit::Unavailable;
            }
        };
        let files = reload::source::Source::new(self.source.input());
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        files.names(&loaded.files);
        io::complain(&loaded.warnings.render(io::style(&self.source.input().environment)));
        let dial = start_log(&loaded.config.log);
        let log = dial.clone();
        let extras = Extras { files: Some(Arc::new(files)), sockets, dial: Some(dial), ..Extras::default() };
        let exit = match self.prepare(loaded, extras) {
            Ok(prepared) => runtime::block_on(serve(prepared)),
            Err(exit) => exit,
        };
        log.flush(LAST_WORDS);
        exit
    }

    /// Takes over what there is to take over.
    fn prepare(&self, loaded: Loaded, mut extras: Extras) -> Result<Prepared, Exit> {
        let config = loaded.config;
        let named = self.takeover.clone().flatten();
        let offer = config.server.takeover.clone().or_else(|| named.clone());
        let Some(path) = self.takeover.as_ref().and(named.or_else(|| offer.clone())) else {
            if self.takeover.is_some() {
                io::complain("error: nobody says where: give --takeover a PATH, or set `server.takeover`\n");
                return Err(Exit::Problem);
            }
            return Ok(Prepared { config, extras, taken: None, offer });
        };
        let mut taken = takeover::ask(&path).map_err(|error| {
            io::complain(&format!("error: cannot take over at {}: {error}\n", path.display()));
            Exit::Unavailable
        })?;
        match &mut taken {
            Some(taken) => extras.sockets = taken.sockets(),
            None => tracing::info!(path = %path.display(), "nobody to take over from; starting as usual"),
        }
        Ok(Prepared { config, extras, taken, offer })
    }
}

async fn serve(prepared: Prepared) -> Exit {
    let Prepared { config, extras, taken, offer } = prepared;
    let (stop, mut hangup) = (runtime::stop(), runtime::hangup());
    let mut user1 = runtime::Wish::of(SignalKind::user_defined1());
    let inherited = extras.sockets.len();
    let mut running = match Gateway::start_with(&config, extras) {
        Ok(running) => running,
        Err(error) => {
            io::complain(&format!("error: {error}\n"));
            return match error {
                StartError::Listen { .. }
                | StartError::AccessLog { .. }
                | StartError::Unwanted { .. }
                | StartError::System(_) => Exit::Unavailable,
            };
        }
    };
    if let Some(Err(error)) = taken.map(Taken::ready) {
        tracing::warn!(%error, "the gateway before has gone by itself");
    }
    if let Some(path) = offer
        && let Err(error) = running.offer_takeover(&path)
    {
        tracing::error!(%error, path = %path.display(), "no other process can take over");
    }
    // Only now, since who reads this may let the next process take over.
    tracing::info!(listen = ?running.addresses(), admin = ?running.admin_address(), inherited, "serving");
    service::ready();
    tokio::select! {
        () = stop => {}
        () = running.taken_over() => {}
        () = reload_on(&mut hangup, &running) => {}
        () = reopen_on(&mut user1, &running) => {}
        () = service::live(&running) => {}
    }
    // Before anybody can know that it has begun.
    let again = runtime::stop();
    tracing::info!("shutting down");
    service::stopping();
    tokio::select! {
        _ = tokio::task::spawn_blocking(|| running.shutdown()) => tracing::info!("stopped"),
        () = again => tracing::warn!("told to stop once more: what is in flight is cut off"),
    }
    Exit::Fine
}

/// Reloads on each SIGHUP.
async fn reload_on(hangup: &mut runtime::Wish, running: &Running) {
    loop {
        hangup.next().await;
        service::reloading();
        running.reloads().from_files(Trigger::Signal).await;
        service::ready();
    }
}

/// Opens log files anew on each SIGUSR1.
async fn reopen_on(user1: &mut runtime::Wish, running: &Running) {
    loop {
        user1.next().await;
        running.reopen_logs();
    }
}

/// The sockets that a service manager hands over (sd_listen_fds(3)).
fn inherited() -> std::io::Result<Inherited> {
    let mut handed = ListenFd::from_env();
    let sockets = (0..handed.len()).filter_map(|at| handed.take_tcp_listener(at).transpose());
    Ok(Inherited::from_manager(sockets.collect::<Result<_, _>>()?))
}

fn start_log(config: &LogConfig) -> Dial {
    logging::start(app::level(config.level), config.format == LogFormat::Json)
}
