//! Floor 2: from an upstream's name to a response. Knows nothing of routes or layers.

pub mod admission;
mod adopt;
pub mod answer;
pub mod answers;
mod attempt;
pub mod balance;
pub mod bound;
pub mod boxes;
pub mod breaker;
pub mod budget;
pub mod checkin;
pub mod circuit;
pub mod connection;
mod dials;
pub mod discard;
pub mod eject;
pub mod endpoint;
mod following;
pub mod forward;
mod framing;
pub mod health;
pub mod heard;
pub mod interim;
pub mod keep_alive;
pub mod limit;
pub mod lookup;
pub mod metrics;
mod noted;
pub mod policy;
pub mod preview;
pub mod question;
pub mod record;
pub mod resolve;
pub mod retry;
pub mod rewrite;
pub mod room;
pub mod services;
pub mod spare;
pub mod standing;
pub mod status;
mod swarm;
pub mod time_left;
pub mod upgrade;
pub mod ward;
mod watching;
pub mod wire;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::base::clock;
use crate::base::reject::{Reason, Reject};
use crate::base::seat::Seats;
use crate::base::tasks::{self, Task};
use crate::telemetry::recorder::Recorder;
use admission::Queue;
use adopt::Source;
use balance::{Balancer, Endpoints, Sessions, Wanted, Wish};
use boxes::Boxes;
use breaker::Breaker;
use budget::Budget;
use dials::Dials;
use endpoint::{Endpoint, Ticket};
use following::Following;
use lookup::Lookup;
use metrics::{Outcome, UpstreamMetrics};
use policy::{DnsPolicy, UpstreamPolicy, WeightedAddress};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What upstreams need to run.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Where background work runs: never on a worker.
    pub control: Handle,
    /// How many workers there are.
    pub workers: usize,
    /// Where numbers go.
    pub recorder: Arc<Recorder>,
    /// How names are looked up.
    pub dns: Arc<DnsPolicy>,
    /// What looks them up.
    pub lookup: Arc<Lookup>,
    /// What the cookies of clients that come back are made with.
    pub sessions: Arc<Sessions>,
}

/// A named set of addresses that answer the same requests. It outlives the configurations that name it: what it is told
/// may change ([`Upstream::adopt`]), while its addresses keep their state and their connections.
pub struct Upstream {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    /// What it was told last. Requests have the policy that they began with: see [`bound::Bound`].
    policy: ArcSwap<UpstreamPolicy>,
    dials: Dials,
    endpoints: ArcSwap<Endpoints>,
    /// Addresses that have left and still have something to finish.
    draining: Mutex<Vec<Arc<Endpoint>>>,
    balancer: ArcSwap<Balancer>,
    /// Requests in flight, counted under `max_in_flight`.
    in_flight: Arc<Seats>,
    /// Requests that wait for a place under `max_connections`.
    queue: Arc<Queue>,
    breaker: Arc<Breaker>,
    metrics: UpstreamMetrics,
    /// The retries that it bears.
    budget: Budget,
    /// For requests on their way.
    boxes: Arc<Boxes>,
    workers: usize,
    /// Seconds after which it is worth asking again when there is no address.
    retry_after: AtomicU64,
    control: Handle,
    /// Whether the name has been answered once, beyond doubt. Told of again whenever there may be an address where there
    /// was none.
    answered: watch::Sender<bool>,
    source: Mutex<Source>,
    /// Held by whoever decides about the health of the addresses.
    ward: Mutex<()>,
    /// What lets checks of the addresses begin.
    checks: Arc<Semaphore>,
    following: ArcSwapOption<Following>,
    sweeping: OnceLock<Task>,
    looking: OnceLock<Task>,
}

impl Upstream {
    /// Starts an upstream; it ends when it is dropped.
    pub fn start(policy: &Arc<UpstreamPolicy>, tools: &Tools) -> Arc<Self> {
        let workers = tools.workers.max(1);
        let balancer = Balancer::new(policy, &tools.sessions);
        let upstream = Arc::new(Self {
            dials: Dials::new(policy, &balancer),
            name: policy.name.as_str().into(),
            endpoints: ArcSwap::default(),
            draining: Mutex::default(),
            balancer: ArcSwap::from_pointee(balancer),
            in_flight: Arc::default(),
            queue: Arc::default(),
            breaker: Arc::default(),
            metrics: UpstreamMetrics::new(&policy.name, &tools.recorder),
            budget: Budget::new(clock::now()),
            boxes: Arc::new(Boxes::new(workers)),
            workers,
            retry_after: AtomicU64::default(),
            control: tools.control.clone(),
            answered: watch::Sender::new(false),
            source: Mutex::default(),
            ward: Mutex::default(),
            checks: health::permits(),
            following: ArcSwapOption::empty(),
            sweeping: OnceLock::new(),
            looking: OnceLock::new(),
            policy: ArcSwap::new(policy.clone()),
        });
        upstream.queue.belongs_to(&upstream);
        let _entered = tools.control.enter();
        upstream.follow(None, policy, tools);
        let _ = upstream.sweeping.set(tasks::spawn(sweep(Arc::downgrade(&upstream))));
        let _ = upstream.looking.set(tasks::spawn(watching::look(Arc::downgrade(&upstream))));
        upstream
    }

    /// Takes a new list of addresses: the ones that stay keep their state, the ones that left are drained. What an
    /// earlier source still says is not heard.
    fn replace(self: &Arc<Self>, generation: u64, addresses: &[WeightedAddress]) {
        let mut source = self.source();
        let Some(old) = source.spoke(generation, || self.endpoints.load_full()) else { return };
        let new = self.renew(&old, addresses);
        self.apply_limits();
        self.now_answered();
        for gone in old.missing_in(&new) {
            gone.retire();
            self.draining().push(gone.clone());
            let upstream = Arc::downgrade(self);
            let timeout = self.policy.load().drain_timeout;
            // The connections of an address belong to it, so this is all that keeps them.
            tasks::detach_on(&self.control, async move {
                tokio::time::sleep(timeout).await;
                gone.cut_off();
                if let Some(upstream) = upstream.upgrade() {
                    upstream.draining().retain(|endpoint| !Arc::ptr_eq(endpoint, &gone));
                }
            });
        }
    }

    /// A place at an address that is not one of `failed`, for a request that began at about this time.
    fn pick(&self, wish: &Wish, failed: &[SocketAddr], now: Instant) -> Option<Ticket> {
        let pass = self.passes()?;
        let mut ticket = self.take_place(wish, failed, now)?;
        ticket.pass = pass;
        Some(ticket)
    }

    /// An address that is not one of `failed`, whether or not it has room.
    fn choose(&self, wish: &Wish, failed: &[SocketAddr], now: Instant) -> Option<Ticket> {
        let wanted = Wanted { wish, tried: failed, now, random: fastrand::u64(..) };
        self.balancer.load().pick(&self.endpoints.load(), &wanted)
    }

    /// The same when there is none yet: waits, within the deadline, for the name's first answer, for the first address of
    /// it to be checked, and for room.
    async fn pick_later(
        &self,
        wish: &Wish,
        failed: &[SocketAddr],
        deadline: Option<Instant>,
    ) -> Result<Ticket, Reject> {
        let mut answered = self.answered.subscribe();
        let first_answer = answered.wait_for(|answered| *answered && !self.is_checking());
        match deadline {
            Some(due) => drop(tokio::time::timeout_at(due.into(), first_answer).await),
            None => drop(first_answer.await),
        }
        self.admit(wish, failed, deadline).await
    }

    fn nowhere(&self) -> Reject {
        Reject::new(Reason::NoEndpoints, "there is no address to send this request to")
            .because(format!("upstream {} has no address that takes requests", self.name))
            .retry_after(self.retry_after.load(Ordering::Relaxed))
    }

    /// Whether there is an address for a request that is not one of `failed`.
    fn has_other_than(&self, failed: &[SocketAddr]) -> bool {
        let endpoints = self.endpoints.load();
        endpoints.iter().any(|endpoint| endpoints.admits(endpoint) && !failed.contains(&endpoint.address))
    }

    /// Hears how each try at an address ended, after this time to the response head where one came: the one place that
    /// draws conclusions from it.
    fn tried(&self, ticket: &Ticket, outcome: Outcome, took: Option<Duration>) {
        self.metrics.ended(outcome, took);
        if let Some(pass) = &ticket.pass
            && let Some(circuit) = &self.policy.load().circuit
        {
            self.breaker.hear(circuit, &self.name, pass, outcome);
        }
        if self.dials.balancer_hears() {
            self.balancer.load().tried(ticket.endpoint(), outcome, took, clock::now);
        }
        self.weigh(ticket.endpoint(), outcome, took);
        if outcome == Outcome::Connect {
            // The name may have changed.
            self.ask_now();
        }
    }

    fn ask_now(&self) {
        if let Some(following) = self.following.load().as_ref() {
            following.ask_now();
        }
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_answered(&self) -> bool {
        *self.answered.borrow()
    }

    fn now_answered(&self) {
        self.answered.send_replace(true);
    }

    fn draining(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Endpoint>>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({})", self.name)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let before = self.source().forget();
        for endpoint in self.endpoints.load().iter().chain(before.iter().flat_map(|before| before.iter())) {
            endpoint.retire();
        }
    }
}

/// Looks through the idle connections, so often that one is kept for `keep_alive` and little longer, and keeps the
/// account of retries.
async fn sweep(upstream: Weak<Upstream>) {
    let keep_alive = |upstream: &Weak<Upstream>| Some(upstream.upgrade()?.policy.load().keep_alive);
    while let Some(keep) = keep_alive(&upstream) {
        let period = SWEEP.min(keep / 2).max(Duration::from_millis(10));
        tokio::time::sleep(period).await;
        let Some(upstream) = upstream.upgrade() else { return };
        let now = clock::now();
        upstream.endpoints.load().iter().for_each(|endpoint| endpoint.sweep(keep, now));
        upstream.draining().retain(|endpoint| endpoint.in_flight() > 0);
        upstream.budget.tick(now);
    }
}
