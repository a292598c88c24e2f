//! The Redis that several gateways share: connections, whether it is worth asking, and how many gateways there are. Knows
//! nothing of what it is asked for: limits and caches stand on top.
//!
//! ```text
//! let answer = redis.ask(worker, &cmd("GET").arg(redis.key("thing"))).await;     // never longer than `timeout`
//! let answer = redis.run(worker, &script, &keys, &arguments).await;              // likewise, one round trip
//! let task = redis.subscribe("channel".into(), |heard| …);                       // reconnects by itself, says where it was deaf
//! ```
//!
//! One connection per worker, made on the worker and shared by its requests; whoever is no worker asks as [`CONTROL`]. A
//! request that gets no answer in time opens the breaker for all: until a background task, which tries all the while, gets
//! an answer again, everybody is told at once that there is none. After that every connection is made anew.

mod breaker;
mod heart;
mod link;
mod listen;
pub mod policy;
mod script;
mod slot;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

pub use ::redis::{Cmd, Value, cmd};
use metrics::Gauge;
use serde::Serialize;
use thiserror::Error;
use tokio::runtime::Handle;

use self::breaker::Breaker;
pub use self::listen::Heard;
use self::policy::RedisPolicy;
pub use self::script::Script;
use self::slot::Slot;
use crate::base::clock;
use crate::base::tasks::{self, Task};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// Asks in the name of no worker: what operators order, and what is done in the background.
pub const CONTROL: usize = usize::MAX;

/// What a connection needs to run.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Where background work runs: never on a worker.
    pub control: Handle,
    /// How many workers there are.
    pub workers: usize,
    /// Where numbers go.
    pub recorder: Arc<Recorder>,
}

/// A Redis, as one gateway uses it. Dropping it ends all that it does.
pub struct Redis {
    shared: Arc<Shared>,
    /// What keeps the connection of each worker, and of those who are none.
    keepers: Box<[OnceLock<Task>]>,
    control: Handle,
    heart: OnceLock<Task>,
}

/// What the handle and the tasks have in common.
struct Shared {
    policy: Arc<RedisPolicy>,
    breaker: Breaker,
    slots: Box<[Slot]>,
    /// Gateways that were seen last, this one among them.
    replicas: AtomicUsize,
    /// How often it was lost, every beginning among them.
    losses: Arc<AtomicU32>,
    last_error: Mutex<Option<String>>,
    up: Gauge,
    seen: Gauge,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum RedisError {
    /// It did not answer a moment ago, so it is not asked now.
    #[error("redis is not asked: it gave no answer a moment ago")]
    Resting,
    /// There is no connection to it yet.
    #[error("redis is being connected to")]
    Connecting,
    /// It did not answer in time.
    #[error("redis gave no answer in time")]
    TimedOut,
    /// It could not be asked, or said no.
    #[error("redis: {0}")]
    Failed(#[from] ::redis::RedisError),
}

/// What an operator wants to know of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RedisStatus {
    /// Whether it answers.
    pub up: bool,
    /// Gateways that share it, this one among them, as they were seen last.
    pub replicas: usize,
    /// What was wrong last; nothing once it answers again.
    pub last_error: Option<String>,
}

/// The running connections of a gateway. Settings that stay the same over a reload keep theirs.
#[derive(Debug, Default)]
pub struct Connections {
    kept: Mutex<Option<(RedisPolicy, Weak<Redis>)>>,
    losses: Arc<AtomicU32>,
}

impl Connections {
    /// What runs for these settings, begun if it does not run yet.
    pub fn get(&self, policy: &Arc<RedisPolicy>, tools: &Tools) -> Arc<Redis> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.as_ref().filter(|(known, _)| known == &**policy).and_then(|(_, running)| running.upgrade());
        known.unwrap_or_else(|| {
            let begun = Redis::start_after(policy, tools, self.losses.clone());
            *kept = Some(((**policy).clone(), Arc::downgrade(&begun)));
            begun
        })
    }
}

impl Redis {
    /// Begins to speak to it. Nothing is wrong if it is not there yet.
    pub fn start(policy: &Arc<RedisPolicy>, tools: &Tools) -> Arc<Self> {
        Self::start_after(policy, tools, Arc::default())
    }

    /// The same after others, each of which knows less of what was before than the one before it.
    fn start_after(policy: &Arc<RedisPolicy>, tools: &Tools, losses: Arc<AtomicU32>) -> Arc<Self> {
        let places = tools.workers.max(1) + 1;
        losses.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            policy: policy.clone(),
            breaker: Breaker::new(clock::now()),
            slots: (0..places).map(|_| Slot::default()).collect(),
            replicas: AtomicUsize::new(1),
            losses,
            last_error: Mutex::default(),
            up: tools.recorder.gauge(names::REDIS_UP, &[]),
            seen: tools.recorder.gauge(names::REDIS_REPLICAS, &[]),
        });
        shared.up.set(1.0);
        let redis = Arc::new(Self {
            shared,
            keepers: (0..places).map(|_| OnceLock::new()).collect(),
            control: tools.control.clone(),
            heart: OnceLock::new(),
        });
        let beating = heart::beat(Arc::downgrade(&redis), heart::id(), policy.heartbeat);
        let _ = redis.heart.set(tasks::spawn_on(&tools.control, beating));
        redis
    }

    /// Whether it is worth asking: false from a failure on, until it has answered again.
    pub fn is_up(&self) -> bool {
        !self.shared.breaker.is_open()
    }

    /// Gateways that share it, this one among them, as they were seen last.
    pub fn replicas(&self) -> usize {
        self.shared.replicas.load(Ordering::Relaxed)
    }

    /// How often it was lost, or the connection to it. It may have forgotten what it knew before.
    pub fn losses(&self) -> u32 {
        self.shared.losses.load(Ordering::Relaxed)
    }

    /// Whether keys are spread over several servers: then a script may touch only keys with one hash tag (`{…}`).
    pub fn is_cluster(&self) -> bool {
        matches!(self.shared.policy.url.kind, policy::Kind::Cluster)
    }

    /// The key of this name that the gateways of one prefix share.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.shared.policy.prefix)
    }

    /// Asks for something; an answer comes within `timeout`, or none does. A command that was sent when its connection
    /// broke is sent once more over another, so it may be carried out twice.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, worker: usize, command: &Cmd) -> Result<Value, RedisError> {
        self.judged(self.attempt(worker, command, self.in_time())).await
    }

    /// The same for a script, which is sent whole only to a server that has never seen it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn run(
        &self,
        worker: usize,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<Value, RedisError> {
        self.judged(self.attempt_script(worker, script, keys, arguments, self.in_time())).await
    }

    /// Calls `hear` with everything that is published in the channel, on the control runtime, until the task is dropped.
    pub fn subscribe(&self, channel: String, hear: impl FnMut(Heard) + Send + 'static) -> Task {
        tasks::spawn_on(&self.control, listen::hear_all(self.shared.policy.clone(), channel, hear))
    }

    /// What there is to tell of it.
    pub fn status(&self) -> RedisStatus {
        let last_error = self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        RedisStatus { up: self.is_up(), replicas: self.replicas(), last_error }
    }

    /// The same as `run`, also while nobody should ask: what finds out whether it answers again. A connection may take as
    /// long as it takes.
    async fn probe(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Value, RedisError> {
        self.slot(CONTROL).link_by(clock::now() + link::CONNECT).await;
        self.attempt_script(CONTROL, script, keys, arguments, self.in_time()).await
    }

    /// Where a worker's connection is. One lives where it was made, so whoever asks first makes it.
    fn slot(&self, worker: usize) -> &Slot {
        let at = worker.min(self.keepers.len() - 1);
        let slot = &self.shared.slots[at];
        self.keepers[at].get_or_init(|| {
            slot.begins();
            tasks::spawn(slot::keep(self.shared.clone(), at))
        });
        slot
    }

    /// When an answer that is asked for now has to be there.
    fn in_time(&self) -> Instant {
        clock::now() + self.shared.policy.timeout
    }

    /// Asks, if it is worth it, and draws the conclusions.
    async fn judged(&self, asked: impl Future<Output = Result<Value, RedisError>>) -> Result<Value, RedisError> {
        if !self.is_up() {
            return Err(RedisError::Resting);
        }
        let answer = asked.await;
        if let Err(error) = &answer
            && error.is_an_outage()
        {
            self.shared.is_down(error);
        }
        answer
    }

    async fn attempt_script(
        &self,
        worker: usize,
        script: &Script,
        keys: &[String],
        arguments: &[String],
        until: Instant,
    ) -> Result<Value, RedisError> {
        match self.attempt(worker, &script.short(keys, arguments), until).await {
            Err(RedisError::Failed(error)) if script::is_unknown(&error) => {
                self.attempt(worker, &script.whole(keys, arguments), until).await
            }
            other => other,
        }
    }

    async fn attempt(&self, worker: usize, command: &Cmd, until: Instant) -> Result<Value, RedisError> {
        let slot = self.slot(worker);
        // Nobody waits for one that takes longer than an answer may.
        let patience = until.min(slot.trying_since() + self.shared.policy.timeout);
        let (turn, mut link) = slot.link_by(patience).await.ok_or(RedisError::Connecting)?;
        match tokio::time::timeout_at(until.into(), link.ask(command)).await {
            Ok(Err(error)) if error.is_connection_dropped() => {
                self.shared.losses.fetch_add(1, Ordering::Relaxed);
                slot.lost(turn);
                let (_, mut link) = slot.link_by(until).await.ok_or(RedisError::Failed(error))?;
                let again = tokio::time::timeout_at(until.into(), link.ask(command)).await;
                Ok(again.map_err(|_| RedisError::TimedOut)??)
            }
            Ok(answer) => Ok(answer?),
            Err(_) => Err(RedisError::TimedOut),
        }
    }
}

impl Shared {
    /// Nobody is to ask any more. What is connected may lead to one that is gone, or no longer in charge.
    fn is_down(&self, error: &RedisError) {
        if self.breaker.open(clock::now()) {
            tracing::warn!(%error, "redis gives no answer: what needs it goes on as it is told to");
            self.up.set(0.0);
            self.losses.fetch_add(1, Ordering::Relaxed);
            self.slots.iter().for_each(Slot::drop_link);
        }
        self.note(error);
    }

    /// No connection can be made.
    fn is_out_of_reach(&self, error: &RedisError) {
        if self.breaker.is_open() {
            self.note(error);
        } else {
            self.is_down(error);
        }
    }

    fn is_back(&self) {
        if self.breaker.close(clock::now()) {
            tracing::info!("redis answers again");
            self.up.set(1.0);
            // What was connected meanwhile may lead to a server that is not in charge any more.
            self.slots.iter().rev().skip(1).for_each(Slot::drop_link);
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Remembers what was wrong. That there was no answer says less than why there is no connection.
    fn note(&self, error: &RedisError) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none() || !matches!(error, RedisError::TimedOut | RedisError::Connecting | RedisError::Resting) {
            *last = Some(error.to_string());
        }
    }
}

impl RedisError {
    /// Whether others would fare no better: nobody is there, or it cannot do its work. What is wrong with one command
    /// alone is nothing of the kind.
    fn is_an_outage(&self) -> bool {
        use ::redis::{ErrorKind, ServerErrorKind};
        /// What servers say that cannot do their work, and that the client has no word for.
        const CODES: &[&str] = &["NOAUTH", "WRONGPASS", "MISCONF", "OOM", "BUSY", "NOREPLICAS", "UNKILLABLE"];
        match self {
            Self::Resting | Self::Connecting => false,
            Self::TimedOut => true,
            Self::Failed(error) => match error.kind() {
                ErrorKind::Server(kind) => matches!(
                    kind,
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::TryAgain
                        | ServerErrorKind::ReadOnly
                        | ServerErrorKind::NoPerm
                        // One server of a Cluster, spoken to as if it were alone.
                        | ServerErrorKind::Moved
                        | ServerErrorKind::Ask
                        | ServerErrorKind::CrossSlot
                ),
                ErrorKind::Extension => error.code().is_some_and(|code| CODES.contains(&code)),
                ErrorKind::UnexpectedReturnType => false,
                _ => true,
            },
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({:?})", self.shared.policy.url.servers)
    }
}
