//! What an upstream is told to do, checked: where its addresses come from, how they are balanced, which
//! limits hold. Knows nothing of configuration files and nothing that runs.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

/// Everything that one upstream is told: `[upstreams.NAME]`, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPolicy {
    /// Label in metrics and logs: the table's name, or `host:port` of an inline upstream.
    pub name: String,
    /// Where the addresses come from.
    pub discovery: Discovery,
    /// How a request's address is chosen.
    pub balance: Balance,
    /// Time to establish a connection.
    pub connect_timeout: Duration,
    /// Time to the response head, per try; zero means no limit of its own.
    pub response_timeout: Duration,
    /// Time between two reads of a response body; event streams and upgraded connections are exempt. Zero: none.
    pub idle_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Idle connections kept per address, over all workers.
    pub max_idle: usize,
    /// How long the busy connections of an address that left get to finish.
    pub drain_timeout: Duration,
    /// What the `Host` field says to the upstream.
    pub host_header: HostHeader,
    /// Tries beyond the first, each on another address.
    pub retry_attempts: u32,
    /// When an address that fails is left out.
    pub eject: EjectPolicy,
    /// How addresses are asked whether they are well; `None`: they are not.
    pub health: Option<HealthPolicy>,
}

/// Passive health: what a failing address is left out for, from the requests that it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct EjectPolicy {
    /// Failures in a row that are one too many; at least 1.
    pub failures: u32,
    /// How long it is left out, times the ejections in a row.
    pub base: Duration,
    /// The longest that it is left out.
    pub max: Duration,
    /// Never more of the addresses than this, from 0 (none ever) to 1; one always stays.
    pub max_share: f64,
}

/// Active health: a GET to each address, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// What is asked for: a path, with a query if need be.
    pub path: PathAndQuery,
    /// Time between two checks of an address, give or take a tenth.
    pub interval: Duration,
    /// Time for one check, from connecting to the response head.
    pub timeout: Duration,
    /// Good checks in a row that bring an address back; at least 1.
    pub healthy: u32,
    /// Bad checks in a row that take it out; at least 1.
    pub unhealthy: u32,
    /// Statuses of a good answer.
    pub expect: Vec<u16>,
}

/// Where an upstream's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Every address that the name has now.
    Dns {
        /// The name as written, without a port; a final dot makes it absolute.
        name: String,
        /// The port that every address gets.
        port: u16,
    },
    /// A fixed list.
    Addresses(Vec<WeightedAddress>),
}

/// An address of a fixed list and its share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedAddress {
    /// The socket address.
    pub address: SocketAddr,
    /// Its share relative to the others; 1 is usual, 0 is refused when the configuration is read.
    pub weight: u32,
}

/// How a request's address is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, weights honoured; the turn is shared by all workers.
    #[default]
    RoundRobin,
    /// The less busy of two addresses drawn at random (Mitzenmacher, "The power of two choices", 2001).
    LeastRequest,
    /// Drawn at random, weights honoured.
    Random,
}

/// What the `Host` field says to the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client asked for.
    #[default]
    Client,
    /// The upstream's own name (and port, where it is not 80).
    Upstream,
    /// Always this.
    Fixed(HeaderValue),
}

/// How names are looked up: `[dns]`, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPolicy {
    /// Name servers to ask, in order; empty means those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Ask again at least this often, whatever the TTL says.
    pub refresh: Duration,
    /// A shorter TTL is honoured down to this.
    pub min_refresh: Duration,
    /// Time for one query.
    pub timeout: Duration,
    /// How long the last good answer serves while lookups fail.
    pub max_stale: Duration,
    /// How long it serves after NXDOMAIN or an empty answer.
    pub hold_empty: Duration,
    /// Which address families are asked for.
    pub family: Family,
}

/// Which address families are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// A and AAAA, merged.
    #[default]
    Both,
    /// A only.
    V4,
    /// AAAA only.
    V6,
}

impl Default for DnsPolicy {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            refresh: Duration::from_secs(5),
            min_refresh: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            max_stale: Duration::from_secs(3600),
            hold_empty: Duration::from_secs(30),
            family: Family::Both,
        }
    }
}

impl UpstreamPolicy {
    /// The defaults for an upstream of this name and these addresses.
    pub fn new(name: impl Into<String>, discovery: Discovery) -> Self {
        Self {
            name: name.into(),
            discovery,
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(60),
            max_idle: 64,
            drain_timeout: Duration::from_secs(30),
            host_header: HostHeader::Client,
            retry_attempts: 2,
            eject: EjectPolicy::default(),
            health: None,
        }
    }
}

impl Default for EjectPolicy {
    fn default() -> Self {
        Self { failures: 3, base: Duration::from_secs(5), max: Duration::from_secs(60), max_share: 0.5 }
    }
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            path: PathAndQuery::from_static("/healthz"),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            healthy: 2,
            unhealthy: 3,
            expect: vec![200],
        }
    }
}
