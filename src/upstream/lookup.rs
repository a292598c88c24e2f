//! Asks the name servers one question, as the system's files say: servers, search list, hosts. Keeps no
//! answer and has no schedule; what an answer means for a name is for `answers` to say.

mod silence;
mod system;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use self::system::{Contents, Server, System};
use super::answers::{FamilyAnswer, Kind, LookupFailure};
use super::policy::DnsPolicy;
use super::record::Service;
use crate::base::clock;

/// How often the system's files are looked at again.
const RECHECK: Duration = Duration::from_secs(30);

/// The time to live of what no server said. Any would do: it is the policy's `refresh` that counts.
const LOCAL_TTL: Duration = Duration::from_secs(24 * 3600);

/// Asks name servers. One is enough for all names; share it behind an `Arc`.
#[derive(Debug)]
pub struct Lookup {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    files: Files,
    loaded: Mutex<Loaded>,
}

/// Where the system keeps what a resolver must know.
#[derive(Clone, Debug)]
struct Files {
    resolv_conf: PathBuf,
    hosts: PathBuf,
}

#[derive(Debug)]
struct Loaded {
    checked: Instant,
    contents: Contents,
    system: Arc<System>,
}

impl Lookup {
    /// Asks the servers of `policy`, or else those of `/etc/resolv.conf`; search list, `ndots` and `/etc/hosts`
    /// count in any case. Reads these files now, and again when they have changed.
    pub fn from_policy(policy: &DnsPolicy) -> Self {
        Self::from_files(policy, Path::new("/etc/resolv.conf"), Path::new("/etc/hosts"))
    }

    /// The same with other files.
    pub fn from_files(policy: &DnsPolicy, resolv_conf: &Path, hosts: &Path) -> Self {
        let files = Files { resolv_conf: resolv_conf.to_owned(), hosts: hosts.to_owned() };
        let contents = Contents {
            resolv_conf: std::fs::read(&files.resolv_conf).unwrap_or_default(),
            hosts: std::fs::read(&files.hosts).unwrap_or_default(),
        };
        let system = Arc::new(System::new(&contents, &policy.servers, policy.timeout));
        let loaded = Mutex::new(Loaded { checked: clock::now(), contents, system });
        Self { servers: policy.servers.clone(), timeout: policy.timeout, files, loaded }
    }

    /// The addresses of one kind that `name` has. An address in place of a name answers itself, the hosts file
    /// comes before any server, and a final dot keeps the search list out.
    ///
    /// Only NXDOMAIN goes on to the next name of the search list, as in musl: after a failure the next one could
    /// be somebody else's, and a name without this kind of address is still the right name.
    ///
    /// # Errors
    ///
    /// Says whether there is no such address or nobody could tell. Each server gets the policy's `timeout`.
    pub async fn lookup(&self, name: &str, kind: Kind) -> Result<FamilyAnswer, LookupFailure> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return kind.pick([address], LOCAL_TTL, None);
        }
        let (name, system) = (parsed(name)?, self.system().await);
        if let Some(addresses) = system.hosts_file(&name) {
            return kind.pick(addresses, LOCAL_TTL, None);
        }
        let read = |name: &Name, records: &[Record], server| addresses_of(name, records, kind, server);
        self.search(&system, &name, kind, read).await
    }

    /// Where the service of this name is (RFC 2782). The search list counts as for other names.
    ///
    /// # Errors
    ///
    /// As for addresses.
    pub async fn services(&self, name: &str) -> Result<FamilyAnswer<Service>, LookupFailure> {
        let (name, system) = (parsed(name)?, self.system().await);
        self.search(&system, &name, Kind::Srv, services_of).await
    }

    async fn search<R>(
        &self,
        system: &System,
        name: &Name,
        kind: Kind,
        read: impl Fn(&Name, &[Record], SocketAddr) -> Result<FamilyAnswer<R>, LookupFailure>,
    ) -> Result<FamilyAnswer<R>, LookupFailure> {
        for candidate in system.candidates(name) {
            match self.ask(system, &candidate, kind, &read).await {
                Err(LookupFailure::NxDomain) => {}
                verdict => return verdict,
            }
        }
        Err(LookupFailure::NxDomain)
    }

    /// Asks the servers for the full name, in order, those last that have been silent; the first that knows or denies
    /// it has the word.
    async fn ask<R>(
        &self,
        system: &System,
        name: &Name,
        kind: Kind,
        read: impl Fn(&Name, &[Record], SocketAddr) -> Result<FamilyAnswer<R>, LookupFailure>,
    ) -> Result<FamilyAnswer<R>, LookupFailure> {
        let mut failure = LookupFailure::Failed("there is no name server to ask".to_owned());
        for Server { address, resolver, silence } in system.in_order(clock::now()) {
            let asked = clock::now();
            let question = resolver.lookup(name.clone(), kind.record_type());
            let answer = tokio::time::timeout(self.timeout, question).await.unwrap_or(Err(NetError::Timeout));
            match &answer {
                Err(NetError::Timeout) => silence.lasts(asked, clock::now()),
                _ => silence.broken(),
            }
            let error = match answer {
                Ok(answer) => return read(name, answer.answers(), *address),
                Err(error) => error,
            };
            failure = match error {
                NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                    ResponseCode::NXDomain => return Err(LookupFailure::NxDomain),
                    ResponseCode::NoError => return Err(LookupFailure::Empty),
                    code => LookupFailure::Failed(format!("{address}: {code}")),
                },
                NetError::Timeout => LookupFailure::Timeout,
                error => LookupFailure::Failed(format!("{address}: {error}")),
            };
        }
        Err(failure)
    }

    /// What the files say, as of at most [`RECHECK`] ago. The first caller after that reads them; the others
    /// go on with what there is.
    async fn system(&self) -> Arc<System> {
        let now = clock::now();
        {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            if now.saturating_duration_since(loaded.checked) < RECHECK {
                return Arc::clone(&loaded.system);
            }
            loaded.checked = now;
        }
        self.reload().await
    }

    /// Reads the files and, when they have changed, builds the resolvers anew. A file that cannot be read
    /// right now stays as it was.
    async fn reload(&self) -> Arc<System> {
        let resolv_conf = tokio::fs::read(&self.files.resolv_conf).await;
        let hosts = tokio::fs::read(&self.files.hosts).await;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = Contents {
            resolv_conf: resolv_conf.unwrap_or_else(|_| loaded.contents.resolv_conf.clone()),
            hosts: hosts.unwrap_or_else(|_| loaded.contents.hosts.clone()),
        };
        if contents != loaded.contents {
            tracing::info!(resolv_conf = %self.files.resolv_conf.display(), "name server settings have changed");
            loaded.system = Arc::new(System::new(&contents, &self.servers, self.timeout));
            loaded.contents = contents;
        }
        Arc::clone(&loaded.system)
    }
}

impl Kind {
    fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Srv => RecordType::SRV,
        }
    }

    /// The answer made of those addresses that are of this kind.
    fn pick(
        self,
        addresses: impl IntoIterator<Item = IpAddr>,
        ttl: Duration,
        server: Option<SocketAddr>,
    ) -> Result<FamilyAnswer, LookupFailure> {
        let own = addresses.into_iter().filter(|address| address.is_ipv4() == (self == Self::A));
        let records: Vec<IpAddr> = own.collect();
        if records.is_empty() { Err(LookupFailure::Empty) } else { Ok(FamilyAnswer { records, ttl, server }) }
    }
}

fn parsed(name: &str) -> Result<Name, LookupFailure> {
    Name::from_str_relaxed(name).map_err(|error| LookupFailure::Failed(format!("{name:?} is not a name: {error}")))
}

/// The addresses that `records` give `name`.
fn addresses_of(
    name: &Name,
    records: &[Record],
    kind: Kind,
    server: SocketAddr,
) -> Result<FamilyAnswer, LookupFailure> {
    let (own, ttl) = own_records(name, records, kind);
    kind.pick(own.filter_map(|record| record.data.ip_addr()), ttl, Some(server))
}

/// The services that `records` give `name`.
fn services_of(name: &Name, records: &[Record], server: SocketAddr) -> Result<FamilyAnswer<Service>, LookupFailure> {
    let (own, ttl) = own_records(name, records, Kind::Srv);
    let service = |record: &Record| match &record.data {
        RData::SRV(srv) => {
            let mut target = srv.target.clone();
            target.set_fqdn(true);
            Some(Service { priority: srv.priority, weight: srv.weight, port: srv.port, target: target.to_ascii() })
        }
        _ => None,
    };
    let records: Vec<Service> = own.filter_map(service).collect();
    if records.is_empty() { Err(LookupFailure::Empty) } else { Ok(FamilyAnswer { records, ttl, server: Some(server) }) }
}

/// The records of one kind that are the name's own or at the end of its chain of aliases (RFC 1034, section 3.6.2), and
/// how long they may be kept. Records about other names are nobody's answer.
fn own_records<'a>(name: &'a Name, records: &'a [Record], kind: Kind) -> (impl Iterator<Item = &'a Record>, Duration) {
    let mut owner = name;
    let mut ttl = u32::MAX;
    for _ in records {
        let alias = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, alias_ttl)) = alias else { break };
        owner = target;
        ttl = ttl.min(alias_ttl);
    }
    let own = records.iter().filter(move |record| record.name == *owner && record.record_type() == kind.record_type());
    let ttl = own.clone().map(|record| record.ttl).fold(ttl, u32::min);
    (own, Duration::from_secs(ttl.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_records_of_the_name_or_of_its_alias_count() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let address = |owner: &str, last, ttl| {
            Record::from_rdata(name(owner), ttl, RData::A(std::net::Ipv4Addr::new(10, 0, 0, last).into()))
        };
        let alias = Record::from_rdata(
            name("www.test."),
            7,
            RData::CNAME(hickory_resolver::proto::rr::rdata::CNAME(name("app.test."))),
        );
        let records = [alias, address("app.test.", 1, 600), address("other.test.", 2, 600)];
        let server = "127.0.0.1:53".parse().unwrap();
        let answer = addresses_of(&name("WWW.test."), &records, Kind::A, server).unwrap();
        assert_eq!(answer.records, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(answer.ttl, Duration::from_secs(7));
        assert_eq!(addresses_of(&name("none.test."), &records, Kind::A, server), Err(LookupFailure::Empty));
    }
    #[tokio::test]
    async fn changed_files_count_and_lost_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (resolv_conf, hosts) = (folder.path().join("resolv.conf"), folder.path().join("hosts"));
        std::fs::write(&resolv_conf, "nameserver 10.0.0.1").unwrap();
        let lookup = Lookup::from_files(&DnsPolicy::default(), &resolv_conf, &hosts);
        let first = lookup.system().await;
        assert!(Arc::ptr_eq(&first, &lookup.reload().await), "nothing has changed");
        std::fs::write(&resolv_conf, "nameserver 10.0.0.2").unwrap();
        let second = lookup.reload().await;
        assert_eq!(second.servers[0].address, "10.0.0.2:53".parse().unwrap());
        std::fs::remove_file(&resolv_conf).unwrap();
        assert!(Arc::ptr_eq(&second, &lookup.reload().await), "better the old one than none");
    }

    #[tokio::test]
    async fn an_address_answers_itself() {
        let lookup = Lookup::from_files(&DnsPolicy::default(), Path::new("/dev/null"), Path::new("/dev/null"));
        assert_eq!(lookup.lookup("10.0.0.1", Kind::A).await.unwrap().records, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(lookup.lookup("10.0.0.1", Kind::Aaaa).await, Err(LookupFailure::Empty));
        assert!(matches!(lookup.lookup("a..b", Kind::A).await, Err(LookupFailure::Failed(_))));
    }
}
