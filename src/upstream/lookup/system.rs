//! What the system's files tell a resolver (resolv.conf(5), hosts(5)), and the resolvers made of it. Reads no
//! file itself.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver, TokioResolver};

use super::silence::Silence;

/// Whom to ask when no server is known: the one on the local machine (resolv.conf(5), `nameserver`).
const DEFAULT_RESOLV_CONF: &str = "\nnameserver 127.0.0.1\n";

/// The files as last read. What cannot be read is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) resolv_conf: Vec<u8>,
    pub(super) hosts: Vec<u8>,
}

/// What the files say, ready to use.
#[derive(Debug)]
pub(super) struct System {
    search: Vec<Name>,
    ndots: usize,
    hosts: Hosts,
    pub(super) servers: Vec<Server>,
}

/// One name server. Each has a resolver of its own: hickory's deadline covers all servers of a resolver
/// together, so that a first one which is silent would leave no time for the second.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) resolver: TokioResolver,
    pub(super) silence: Silence,
}

impl System {
    pub(super) fn new(contents: &Contents, servers: &[SocketAddr], timeout: Duration) -> Self {
        let (config, options) = read_resolv_conf(&contents.resolv_conf);
        let mut hosts = Hosts::default();
        if let Err(error) = hosts.read_hosts_conf(contents.hosts.as_slice()) {
            tracing::warn!(%error, "the hosts file cannot be read to its end");
        }
        let own = config.name_servers.iter().map(|server| SocketAddr::new(server.ip, 53));
        let servers = if servers.is_empty() { own.collect() } else { servers.to_vec() };
        Self {
            // resolv.conf(5): the host's own domain counts only where no list is given.
            search: if config.search.is_empty() { config.domain.into_iter().collect() } else { config.search },
            ndots: options.ndots,
            hosts,
            servers: servers.into_iter().filter_map(|address| Server::new(address, timeout)).collect(),
        }
    }

    /// The addresses of either kind that the hosts file has for a name, if it knows it.
    pub(super) fn hosts_file(&self, name: &Name) -> Option<Vec<IpAddr>> {
        let records = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|kind| {
            let found = self.hosts.lookup_static_host(&Query::query(name.clone(), kind))?;
            Some(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        });
        Some(records.flatten().collect()).filter(|addresses: &Vec<IpAddr>| !addresses.is_empty())
    }

    /// The servers as configured, but those last that have been silent.
    pub(super) fn in_order(&self, now: Instant) -> impl Iterator<Item = &Server> {
        let silent = |wanted| self.servers.iter().filter(move |server| server.silence.is_long(now) == wanted);
        silent(false).chain(silent(true))
    }

    /// The full names that `name` may stand for, in order (resolv.conf(5), `search` and `ndots`).
    pub(super) fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut plain = name.clone();
        plain.set_fqdn(true);
        if name.is_fqdn() {
            return vec![plain];
        }
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = searched.collect();
        for name in &mut names {
            name.set_fqdn(true);
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let place = if dots >= self.ndots || name.is_localhost() { 0 } else { names.len() };
        names.insert(place, plain);
        names
    }
}

impl Server {
    /// A resolver that asks this server once, over UDP and after truncation over TCP, and remembers nothing.
    fn new(address: SocketAddr, timeout: Duration) -> Option<Self> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        let server = NameServerConfig::new(address.ip(), true, connections.to_vec());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = timeout;
        options.attempts = 0; // Further ones: the task behind a name retries by itself.
        options.cache_size = 0;
        options.edns0 = true;
        options.num_concurrent_reqs = 1;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        match builder.build() {
            Ok(resolver) => Some(Self { address, resolver, silence: Silence::default() }),
            Err(error) => {
                tracing::error!(%address, %error, "no resolver for this name server");
                None
            }
        }
    }
}

/// The settings of a resolv.conf. One without a server, which hickory refuses, asks the local machine.
fn read_resolv_conf(text: &[u8]) -> (ResolverConfig, ResolverOpts) {
    parse_resolv_conf(text)
        .or_else(|_| parse_resolv_conf([text, DEFAULT_RESOLV_CONF.as_bytes()].concat()))
        .or_else(|error| {
            tracing::warn!(%error, "resolv.conf is not understood; the name server on this machine is asked");
            parse_resolv_conf(DEFAULT_RESOLV_CONF)
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(resolv_conf: &str) -> System {
        let contents = Contents { resolv_conf: resolv_conf.into(), hosts: Vec::new() };
        System::new(&contents, &[], Duration::from_secs(1))
    }

    fn candidates(system: &System, name: &str) -> Vec<String> {
        system.candidates(&Name::from_str_relaxed(name).unwrap()).iter().map(Name::to_string).collect()
    }

    #[test]
    fn the_search_list_comes_before_or_after_by_the_number_of_dots() {
        let pod = system("search shop.svc.cluster.local svc.cluster.local\noptions ndots:2\nnameserver 10.0.0.10");
        assert_eq!(candidates(&pod, "app"), ["app.shop.svc.cluster.local.", "app.svc.cluster.local.", "app."]);
        assert_eq!(candidates(&pod, "a.b.c")[0], "a.b.c.");
        assert_eq!(candidates(&pod, "a.b.c").len(), 3);
        assert_eq!(candidates(&pod, "app."), ["app."]);
        assert_eq!(candidates(&system("nameserver 127.0.0.11\noptions ndots:0\nsearch lan"), "my_app")[0], "my_app.");
    }

    #[test]
    fn without_a_server_the_local_machine_is_asked_and_the_search_list_stays() {
        for text in ["", "search lan", "\u{0}\u{1}"] {
            let asked: Vec<SocketAddr> = system(text).servers.iter().map(|server| server.address).collect();
            assert_eq!(asked, ["127.0.0.1:53".parse().unwrap()], "{text:?}");
        }
        assert_eq!(candidates(&system("search lan"), "app"), ["app.lan.", "app."]);
    }

    #[test]
    fn servers_given_replace_those_of_the_file_and_nothing_else() {
        let contents = Contents { resolv_conf: b"nameserver 10.0.0.1\nsearch lan".to_vec(), hosts: Vec::new() };
        let given: SocketAddr = "127.0.0.11:5353".parse().unwrap();
        let system = System::new(&contents, &[given], Duration::from_secs(1));
        assert_eq!(system.servers.iter().map(|server| server.address).collect::<Vec<_>>(), [given]);
        assert_eq!(candidates(&system, "app"), ["app.lan.", "app."]);
    }
}
