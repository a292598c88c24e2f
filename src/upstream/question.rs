//! What may be asked about a name: the addresses of a host or of a service's target, or the records of a service. The
//! task behind a name does the same for all of them.

use std::fmt::Debug;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::answers::{Answers, FamilyAnswer, Kind, LookupFailure};
use super::lookup::Lookup;
use super::policy::DnsPolicy;
use super::record::{Record, Service};

/// What is asked about a name, and what is made of the answers.
pub trait Question: Send + Sync + 'static {
    /// What the servers say.
    type Record: Record + Send;
    /// What the observer is told of each.
    type Told: Clone + PartialEq + Debug + Send;
    /// Whether a single answer may be a virtual IP, which deserves advice.
    const MAY_BE_VIRTUAL: bool = false;

    /// Nothing known yet.
    fn answers(policy: Arc<DnsPolicy>) -> Answers<Self::Record>;

    /// Asks once.
    fn ask(
        lookup: &Lookup,
        name: &str,
        kind: Kind,
    ) -> impl Future<Output = Result<FamilyAnswer<Self::Record>, LookupFailure>> + Send;

    /// What the observer is told of a record.
    fn tell(&self, record: &Self::Record) -> Self::Told;
}

/// The addresses of a host, each with this port.
#[derive(Debug)]
pub struct Host(pub u16);

/// The addresses of a service's target, which the service has the ports of.
#[derive(Debug)]
pub struct Target;

/// The records of a service.
#[derive(Debug)]
pub struct Records;

impl Question for Host {
    type Record = IpAddr;
    type Told = SocketAddr;
    const MAY_BE_VIRTUAL: bool = true;

    fn answers(policy: Arc<DnsPolicy>) -> Answers {
        Answers::new(policy)
    }

    async fn ask(lookup: &Lookup, name: &str, kind: Kind) -> Result<FamilyAnswer, LookupFailure> {
        lookup.lookup(name, kind).await
    }

    fn tell(&self, record: &IpAddr) -> SocketAddr {
        SocketAddr::new(*record, self.0)
    }
}

impl Question for Target {
    type Record = IpAddr;
    type Told = IpAddr;

    fn answers(policy: Arc<DnsPolicy>) -> Answers {
        Answers::new(policy)
    }

    async fn ask(lookup: &Lookup, name: &str, kind: Kind) -> Result<FamilyAnswer, LookupFailure> {
        lookup.lookup(name, kind).await
    }

    fn tell(&self, record: &IpAddr) -> IpAddr {
        *record
    }
}

impl Question for Records {
    type Record = Service;
    type Told = Service;

    fn answers(policy: Arc<DnsPolicy>) -> Answers<Service> {
        Answers::of_services(policy)
    }

    async fn ask(lookup: &Lookup, name: &str, _: Kind) -> Result<FamilyAnswer<Service>, LookupFailure> {
        lookup.services(name).await
    }

    fn tell(&self, record: &Service) -> Service {
        record.clone()
    }
}
