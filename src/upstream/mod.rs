//! Floor 2: from an upstream's name to a response. Knows nothing of routes or layers.

pub mod answer;
pub mod answers;
pub mod balance;
pub mod connection;
pub mod eject;
pub mod endpoint;
pub mod forward;
pub mod health;
pub mod interim;
pub mod limit;
pub mod lookup;
pub mod metrics;
pub mod policy;
pub mod resolve;
pub mod rewrite;
pub mod standing;
pub mod status;
mod swarm;
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

use crate::base::reject::{Reason, Reject};
use crate::base::tasks::{self, Task};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;
use balance::{Balancer, Endpoints};
use endpoint::{Endpoint, Ticket};
use lookup::Lookup;
use metrics::{Outcome, UpstreamMetrics};
use policy::{Discovery, DnsPolicy, UpstreamPolicy, WeightedAddress};
use resolve::{Observer, Resolving, Update};

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
    workers: usize,
    idle_per_worker: usize,
    retry_after: u64,
    control: Handle,
    /// Whether the name has been answered once. Told of again whenever there may be an address where there was none.
    answered: watch::Sender<bool>,
    /// Held by whoever decides about the health of the addresses.
    ward: Mutex<()>,
    /// What lets checks of the addresses begin.
    checks: Arc<Semaphore>,
    resolving: OnceLock<Resolving>,
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
            balancer: Balancer::new(policy.balance),
            metrics: UpstreamMetrics::new(&policy.name, &tools.recorder),
            workers,
            idle_per_worker: policy.max_idle.div_ceil(workers),
            retry_after: tools.dns.refresh.as_secs().max(1),
            control: tools.control.clone(),
            answered: watch::Sender::new(false),
            ward: Mutex::default(),
            checks: health::permits(),
            resolving: OnceLock::new(),
            sweeping: OnceLock::new(),
            looking: OnceLock::new(),
            policy: policy.clone(),
        });
        let _entered = tools.control.enter();
        match &policy.discovery {
            Discovery::Addresses(addresses) => upstream.replace(addresses),
            Discovery::Dns { name, port } => {
                let told = Told { upstream: Arc::downgrade(&upstream), recorder: tools.recorder.clone() };
                let resolving = Resolving::start(name.clone(), *port, tools.dns.clone(), tools.lookup.clone(), told);
                let _ = upstream.resolving.set(resolving);
            }
        }
        let _ = upstream.sweeping.set(tasks::spawn(sweep(Arc::downgrade(&upstream), policy.keep_alive)));
        let _ = upstream.looking.set(tasks::spawn(watching::look(Arc::downgrade(&upstream))));
        upstream
    }

    /// Takes a new list of addresses: the ones that stay keep their state, the ones that left are drained.
    fn replace(self: &Arc<Self>, addresses: &[WeightedAddress]) {
        let (old, new) = self.renew(addresses);
        self.answered.send_replace(true);
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

    /// A place at an address that is not one of `failed`.
    fn pick(&self, failed: &[SocketAddr]) -> Option<Ticket> {
        self.balancer.pick(&self.endpoints.load(), failed, fastrand::u64(..))
    }

    /// The same when there is none yet: waits, within the deadline, for the name's first answer, and for the first
    /// address of it to be checked.
    async fn pick_later(&self, failed: &[SocketAddr], deadline: Option<Instant>) -> Result<Ticket, Reject> {
        let mut answered = self.answered.subscribe();
        let first_answer = answered.wait_for(|answered| *answered && !self.is_checking());
        match deadline {
            Some(due) => drop(tokio::time::timeout_at(due.into(), first_answer).await),
            None => drop(first_answer.await),
        }
        self.pick(failed).ok_or_else(|| {
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
        self.weigh(endpoint, outcome, took);
        if outcome == Outcome::Connect {
            // The name may have changed.
            self.ask_now();
        }
    }

    fn ask_now(&self) {
        if let Some(resolving) = self.resolving.get() {
            resolving.ask_now();
        }
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

/// Hears of a name's answers for an upstream.
struct Told {
    upstream: Weak<Upstream>,
    recorder: Arc<Recorder>,
}

impl Observer for Told {
    fn changed(&self, update: &Update) {
        let Some(upstream) = self.upstream.upgrade() else {
            return;
        };
        if update.state == answers::State::Waiting {
            return;
        }
        let addresses: Vec<_> =
            update.addresses.iter().map(|&address| WeightedAddress { address, weight: 1 }).collect();
        upstream.replace(&addresses);
    }

    fn looked_up(&self, result: &'static str) {
        if let Some(upstream) = self.upstream.upgrade() {
            self.recorder.counter(names::DNS_LOOKUPS, &[&upstream.name, result]).increment(1);
        }
    }
}

/// Looks through the idle connections, so often that one is kept for `keep` and little longer.
async fn sweep(upstream: Weak<Upstream>, keep: Duration) {
    let period = SWEEP.min(keep / 2).max(Duration::from_millis(10));
    let most = u32::try_from(keep.as_millis() / period.as_millis()).unwrap_or(u32::MAX);
    loop {
        tokio::time::sleep(period).await;
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.endpoints.load().iter().for_each(|endpoint| endpoint.sweep(most));
        upstream.draining().retain(|endpoint| endpoint.in_flight() > 0);
    }
}

/// The name and port as a `Host` field says them (RFC 9110 §7.2).
fn own_host(policy: &UpstreamPolicy) -> HeaderValue {
    let text = match &policy.discovery {
        Discovery::Dns { name, port: 80 } => name.trim_end_matches('.').to_owned(),
        Discovery::Dns { name, port } => format!("{}:{port}", name.trim_end_matches('.')),
        Discovery::Addresses(addresses) => addresses.first().map(|one| one.address.to_string()).unwrap_or_default(),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("upstream"))
}
