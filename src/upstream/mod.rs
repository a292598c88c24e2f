//! Floor 2: from an upstream's name to a response. Knows nothing of routes or layers.

pub mod answer;
pub mod answers;
mod attempt;
pub mod balance;
pub mod budget;
pub mod checkin;
pub mod connection;
pub mod discard;
pub mod eject;
pub mod endpoint;
mod following;
pub mod forward;
pub mod health;
pub mod interim;
pub mod keep_alive;
pub mod limit;
pub mod lookup;
pub mod metrics;
pub mod policy;
pub mod question;
pub mod record;
pub mod resolve;
pub mod retry;
pub mod rewrite;
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
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::base::clock;
use crate::base::reject::{Reason, Reject};
use crate::base::tasks::{self, Task};
use crate::telemetry::recorder::Recorder;
use balance::{Balancer, Endpoints, Sessions, Wanted, Wish};
use budget::Budget;
use endpoint::{Endpoint, Ticket};
use following::Following;
use lookup::Lookup;
use metrics::{Outcome, UpstreamMetrics};
use policy::{Discovery, DnsPolicy, UpstreamPolicy, WeightedAddress};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What upstreams need to run.
#[derive(Debug)]
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

/// A named set of addresses that answer the same requests.
pub struct Upstream {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    policy: Arc<UpstreamPolicy>,
    /// What it is called as a host.
    host: HeaderValue,
    endpoints: ArcSwap<Endpoints>,
    /// Addresses that have left and still have something to finish.
    draining: Mutex<Vec<Arc<Endpoint>>>,
    balancer: Balancer,
    metrics: UpstreamMetrics,
    /// The retries that it bears.
    budget: Budget,
    workers: usize,
    idle_per_worker: usize,
    retry_after: u64,
    control: Handle,
    /// Whether the name has been answered once, beyond doubt. Told of again whenever there may be an address where there
    /// was none.
    answered: watch::Sender<bool>,
    /// Held by whoever decides about the health of the addresses.
    ward: Mutex<()>,
    /// What lets checks of the addresses begin.
    checks: Arc<Semaphore>,
    following: OnceLock<Following>,
    sweeping: OnceLock<Task>,
    looking: OnceLock<Task>,
}

impl Upstream {
    /// Starts an upstream; it ends when it is dropped.
    pub fn start(policy: &Arc<UpstreamPolicy>, tools: &Tools) -> Arc<Self> {
        let workers = tools.workers.max(1);
        let upstream = Arc::new(Self {
            name: policy.name.as_str().into(),
            host: own_host(policy),
            endpoints: ArcSwap::default(),
            draining: Mutex::default(),
            balancer: Balancer::new(policy, &tools.sessions),
            metrics: UpstreamMetrics::new(&policy.name, &tools.recorder),
            budget: Budget::new(clock::now()),
            workers,
            idle_per_worker: policy.max_idle.div_ceil(workers),
            retry_after: tools.dns.refresh.as_secs().max(1),
            control: tools.control.clone(),
            answered: watch::Sender::new(false),
            ward: Mutex::default(),
            checks: health::permits(),
            following: OnceLock::new(),
            sweeping: OnceLock::new(),
            looking: OnceLock::new(),
            policy: policy.clone(),
        });
        let _entered = tools.control.enter();
        if let Discovery::Addresses(addresses) = &policy.discovery {
            upstream.replace(addresses);
        } else if let Some(following) = Following::start(&upstream, &policy.discovery, tools) {
            let _ = upstream.following.set(following);
        }
        let _ = upstream.sweeping.set(tasks::spawn(sweep(Arc::downgrade(&upstream), policy.keep_alive)));
        let _ = upstream.looking.set(tasks::spawn(watching::look(Arc::downgrade(&upstream))));
        upstream
    }

    /// Takes a new list of addresses: the ones that stay keep their state, the ones that left are drained.
    fn replace(self: &Arc<Self>, addresses: &[WeightedAddress]) {
        let (old, new) = self.renew(addresses);
        self.now_answered();
        for gone in old.missing_in(&new) {
            gone.retire();
            self.draining().push(gone.clone());
            let upstream = Arc::downgrade(self);
            let timeout = self.policy.drain_timeout;
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
        let wanted = Wanted { wish, tried: failed, now, random: fastrand::u64(..) };
        self.balancer.pick(&self.endpoints.load(), &wanted)
    }

    /// The same when there is none yet: waits, within the deadline, for the name's first answer, and for the first
    /// address of it to be checked.
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
        self.pick(wish, failed, clock::now()).ok_or_else(|| {
            Reject::new(Reason::NoEndpoints, "there is no address to send this request to")
                .because(format!("upstream {} has no address that takes requests", self.name))
                .retry_after(self.retry_after)
        })
    }

    /// Whether there is an address for a request that is not one of `failed`.
    fn has_other_than(&self, failed: &[SocketAddr]) -> bool {
        let endpoints = self.endpoints.load();
        endpoints.iter().any(|endpoint| endpoints.admits(endpoint) && !failed.contains(&endpoint.address))
    }

    /// Hears how each try at an address ended, after this time to the response head where one came: the one place that
    /// draws conclusions from it.
    fn tried(&self, endpoint: &Arc<Endpoint>, outcome: Outcome, took: Option<Duration>) {
        self.metrics.ended(outcome, took);
        self.balancer.tried(endpoint, outcome, took, clock::now);
        self.weigh(endpoint, outcome, took);
        if outcome == Outcome::Connect {
            // The name may have changed.
            self.ask_now();
        }
    }

    fn ask_now(&self) {
        if let Some(following) = self.following.get() {
            following.ask_now();
        }
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
        for endpoint in self.endpoints.load().iter() {
            endpoint.retire();
        }
    }
}

/// Looks through the idle connections, so often that one is kept for `keep` and little longer, and keeps the account of
/// retries.
async fn sweep(upstream: Weak<Upstream>, keep: Duration) {
    let period = SWEEP.min(keep / 2).max(Duration::from_millis(10));
    loop {
        tokio::time::sleep(period).await;
        let Some(upstream) = upstream.upgrade() else { return };
        let now = clock::now();
        upstream.endpoints.load().iter().for_each(|endpoint| endpoint.sweep(keep, now));
        upstream.draining().retain(|endpoint| endpoint.in_flight() > 0);
        upstream.budget.tick(now);
    }
}

/// The name and port as a `Host` field says them (RFC 9110 §7.2).
fn own_host(policy: &UpstreamPolicy) -> HeaderValue {
    let text = match &policy.discovery {
        Discovery::Dns { name, port: 80 } => name.trim_end_matches('.').to_owned(),
        Discovery::Dns { name, port } => format!("{}:{port}", name.trim_end_matches('.')),
        // `_service._protocol.name` (RFC 2782).
        Discovery::Services { name } => name.trim_end_matches('.').splitn(3, '.').last().unwrap_or(name).to_owned(),
        Discovery::Addresses(addresses) => addresses.first().map(|one| one.address.to_string()).unwrap_or_default(),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("upstream"))
}
