//! What keeps the addresses of a running upstream current: the task behind a name, or those behind a service.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::answers::State;
use super::policy::{Discovery, WeightedAddress};
use super::resolve::{Observer, Resolving, Update};
use super::services::{Audience, Services};
use super::{Tools, Upstream};
use crate::base::clock;
use crate::base::tasks::{self, Task};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// How long a name that nobody knows is not believed to be nobody's: where containers start together, a name may come
/// seconds after who asks for it. Requests wait meanwhile, each within its own deadline.
const BENEFIT_OF_DOUBT: Duration = Duration::from_secs(5);
/// How often it is asked for meanwhile; `min_refresh` holds.
const IN_DOUBT: Duration = Duration::from_millis(500);

/// What is followed.
pub(super) enum Following {
    /// The addresses of a name.
    Host(Resolving),
    /// A service.
    Service(Services),
}

impl Following {
    /// Begins to follow what the discovery names, on the current Tokio runtime; nothing where the addresses are known.
    /// What is `known` of the same name goes on to count.
    pub(super) fn start(
        upstream: &Arc<Upstream>,
        generation: u64,
        discovery: &Discovery,
        known: Option<&Self>,
        tools: &Tools,
    ) -> Option<Self> {
        let told = Told::new(upstream, generation, tools);
        let (dns, lookup) = (tools.dns.clone(), tools.lookup.clone());
        match (discovery, known) {
            (Discovery::Dns { .. }, Some(Self::Host(known))) => Some(Self::Host(known.renewed(dns, lookup, told))),
            (Discovery::Dns { name, port }, _) => {
                Some(Self::Host(Resolving::start(name.clone(), *port, dns, lookup, told)))
            }
            (Discovery::Services { name }, _) => Some(Self::Service(Services::start(name.clone(), dns, lookup, told))),
            (Discovery::Addresses(_), _) => None,
        }
    }

    /// Asks out of turn.
    pub(super) fn ask_now(&self) {
        match self {
            Self::Host(resolving) => resolving.ask_now(),
            Self::Service(services) => services.ask_now(),
        }
    }
}

/// Hears of the addresses for an upstream.
struct Told {
    upstream: Weak<Upstream>,
    /// Which source this is, in the order in which the upstream had them.
    generation: u64,
    recorder: Arc<Recorder>,
    since: Instant,
    /// Waits for the end of the doubt, once there is one.
    doubt: OnceLock<Task>,
}

impl Told {
    fn new(upstream: &Arc<Upstream>, generation: u64, tools: &Tools) -> Self {
        let (upstream, recorder) = (Arc::downgrade(upstream), tools.recorder.clone());
        Self { upstream, generation, recorder, since: clock::now(), doubt: OnceLock::new() }
    }

    fn take(&self, addresses: &[WeightedAddress]) {
        let Some(upstream) = self.upstream.upgrade() else { return };
        let until = self.since + BENEFIT_OF_DOUBT;
        if addresses.is_empty() && !upstream.is_answered() && clock::now() < until {
            self.doubt.get_or_init(|| tasks::spawn(doubt(self.upstream.clone(), until)));
        } else {
            upstream.replace(self.generation, addresses);
        }
    }

    fn count(&self, result: &'static str) {
        if let Some(upstream) = self.upstream.upgrade() {
            self.recorder.counter(names::DNS_LOOKUPS, &[&upstream.name, result]).increment(1);
        }
    }
}

impl Observer for Told {
    fn changed(&self, update: &Update) {
        if update.state != State::Waiting {
            self.take(&update.addresses.iter().copied().map(WeightedAddress::new).collect::<Vec<_>>());
        }
    }

    fn looked_up(&self, result: &'static str) {
        self.count(result);
    }
}

impl Audience for Told {
    fn changed(&self, addresses: &[WeightedAddress]) {
        self.take(addresses);
    }

    fn looked_up(&self, result: &'static str) {
        self.count(result);
    }
}

/// Asks again and again until there is an address; then, or when the time is over, there is no doubt any more.
async fn doubt(upstream: Weak<Upstream>, until: Instant) {
    loop {
        tokio::time::sleep_until(until.min(clock::now() + IN_DOUBT).into()).await;
        let Some(upstream) = upstream.upgrade() else { return };
        if upstream.is_answered() {
            return;
        }
        if clock::now() >= until {
            return upstream.now_answered();
        }
        upstream.ask_now();
    }
}
