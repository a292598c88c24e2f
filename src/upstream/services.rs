//! Keeps the addresses of a service current (RFC 2782): its SRV records, and the addresses of every target that they
//! name. Each name is followed by itself, under the same rules as any other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::Serialize;

use super::answers::State;
use super::lookup::Lookup;
use super::policy::{DnsPolicy, WeightedAddress};
use super::question::{Records, Target};
use super::record::{Service, addresses_of};
use super::resolve::{Observer, Resolving, Status, Update};

/// A service that is being followed; dropping it ends that.
pub struct Services {
    shared: Arc<Shared>,
    records: Resolving<Records>,
}

/// Is told what becomes of a service. Called by background tasks, so it must not block.
pub trait Audience: Send + Sync + 'static {
    /// These are the addresses now.
    fn changed(&self, addresses: &[WeightedAddress]);

    /// A question was answered or not: `ok`, `nxdomain`, `empty`, `timeout` or `error`.
    fn looked_up(&self, result: &'static str);
}

/// What an operator wants to know of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// The name as configured.
    pub name: String,
    /// The records in use.
    pub records: Vec<Service>,
    /// What they are worth.
    pub state: State,
    /// The age of the answer.
    pub age_seconds: Option<f64>,
    /// Its time to live, as its sender has it.
    pub ttl_seconds: Option<u64>,
    /// Who gave it.
    pub server: Option<SocketAddr>,
    /// Time to the next lookup.
    pub next_refresh_seconds: f64,
    /// What was wrong with the latest one.
    pub last_error: Option<String>,
    /// Questions that were answered, be it with "no such name".
    pub lookups_ok: u64,
    /// Questions that were not.
    pub lookups_failed: u64,
    /// The names that the records lead to.
    pub targets: Vec<Status<IpAddr>>,
}

struct Shared {
    policy: Arc<DnsPolicy>,
    lookup: Arc<Lookup>,
    audience: Box<dyn Audience>,
    book: Mutex<Book>,
}

/// What is known, and what was said of it.
#[derive(Default)]
struct Book {
    answered: bool,
    services: Vec<Service>,
    /// The records that last led to an address. They serve while the targets of newer ones are not known yet.
    before: Vec<Service>,
    targets: BTreeMap<String, Followed>,
    told: Option<Vec<WeightedAddress>>,
}

/// A target and its addresses.
struct Followed {
    addresses: Vec<IpAddr>,
    /// Whether there is an answer.
    answered: bool,
    resolving: Resolving<Target>,
}

impl Services {
    /// Begins to follow the service of this name, on the current Tokio runtime.
    pub fn start(name: String, policy: Arc<DnsPolicy>, lookup: Arc<Lookup>, audience: impl Audience) -> Self {
        let (audience, book) = (Box::new(audience), Mutex::default());
        let shared = Arc::new(Shared { policy: policy.clone(), lookup: lookup.clone(), audience, book });
        let records = Resolving::begin(name, Records, policy, lookup, OfRecords(Arc::downgrade(&shared)));
        Self { shared, records }
    }

    /// Asks for everything out of turn, because an address turned out to be dead.
    pub fn ask_now(&self) {
        self.records.ask_now();
        self.shared.book().targets.values().for_each(|target| target.resolving.ask_now());
    }

    /// What there is to tell of the service.
    pub fn status(&self) -> ServiceStatus {
        let own = self.records.status();
        let targets = self.shared.book().targets.values().map(|target| target.resolving.status()).collect();
        ServiceStatus {
            name: own.name,
            records: own.addresses,
            state: own.state,
            age_seconds: own.age_seconds,
            ttl_seconds: own.ttl_seconds,
            server: own.server,
            next_refresh_seconds: own.next_refresh_seconds,
            last_error: own.last_error,
            lookups_ok: own.lookups_ok,
            lookups_failed: own.lookups_failed,
            targets,
        }
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in new records, and follows the targets that they name.
    fn services(self: &Arc<Self>, update: &Update<Service>) {
        let mut book = self.book();
        book.answered = update.state != State::Waiting;
        book.services.clone_from(&update.addresses);
        let names: BTreeSet<&str> = update.addresses.iter().map(|service| service.target.as_str()).collect();
        for name in names {
            if !book.targets.contains_key(name) {
                let observer = OfTarget { shared: Arc::downgrade(self), name: name.to_owned() };
                let (policy, lookup) = (self.policy.clone(), self.lookup.clone());
                let resolving = Resolving::begin(name.to_owned(), Target, policy, lookup, observer);
                let followed = Followed { addresses: Vec::new(), answered: false, resolving };
                book.targets.insert(name.to_owned(), followed);
            }
        }
        self.tell(&mut book);
    }

    /// Takes in the addresses of a target.
    fn target(&self, name: &str, update: &Update<IpAddr>) {
        let mut book = self.book();
        let Some(target) = book.targets.get_mut(name) else { return };
        target.answered = update.state != State::Waiting;
        target.addresses.clone_from(&update.addresses);
        self.tell(&mut book);
    }

    /// Tells what has changed, if anything has. Under the lock, so that what is told last is what is true.
    fn tell(&self, book: &mut Book) {
        let Some(addresses) = book.settle() else { return };
        if book.told.as_ref() != Some(&addresses) {
            self.audience.changed(&addresses);
            book.told = Some(addresses);
        }
    }
}

impl Book {
    /// The addresses now; `None` while that is not known. Gives up what nothing leads to any more.
    fn settle(&mut self) -> Option<Vec<WeightedAddress>> {
        if !self.answered {
            return None;
        }
        let mut addresses = self.addresses_of(&self.services);
        let unknown = |service: &Service| self.targets.get(&service.target).is_some_and(|target| !target.answered);
        let known = !self.services.iter().any(unknown);
        if addresses.is_empty() && !known {
            addresses = self.addresses_of(&self.before);
            return (!addresses.is_empty()).then_some(addresses);
        }
        self.before.clone_from(&self.services);
        let services = &self.services;
        self.targets.retain(|name, _| services.iter().any(|service| service.target == *name));
        Some(addresses)
    }

    fn addresses_of(&self, services: &[Service]) -> Vec<WeightedAddress> {
        addresses_of(services, |name| self.targets.get(name).map(|target| target.addresses.as_slice()))
    }
}

/// Hears of the records.
struct OfRecords(Weak<Shared>);

impl Observer<Service> for OfRecords {
    fn changed(&self, update: &Update<Service>) {
        if let Some(shared) = self.0.upgrade() {
            shared.services(update);
        }
    }

    fn looked_up(&self, result: &'static str) {
        if let Some(shared) = self.0.upgrade() {
            shared.audience.looked_up(result);
        }
    }
}

/// Hears of one target.
struct OfTarget {
    shared: Weak<Shared>,
    name: String,
}

impl Observer<IpAddr> for OfTarget {
    fn changed(&self, update: &Update<IpAddr>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.target(&self.name, update);
        }
    }

    fn looked_up(&self, result: &'static str) {
        if let Some(shared) = self.shared.upgrade() {
            shared.audience.looked_up(result);
        }
    }
}
