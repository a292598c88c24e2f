//! What an upstream is told to do, checked: where its addresses come from, how they are balanced, which
//! limits hold. Knows nothing of configuration files and nothing that runs.

mod retry;

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::base::secret::Secret;

pub use self::retry::{Allowance, Condition, RetryPolicy};

/// Everything that one upstream is told: `[upstreams.NAME]`, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPolicy {
    /// Label in metrics and logs: the table's name, or `host:port` of an inline upstream.
    pub name: String,
    /// Where the addresses come from.
    pub discovery: Discovery,
    /// How a request's address is chosen.
    pub balance: Balance,
    /// How long a new or returned address takes to get its full share; zero means none.
    pub slow_start: Duration,
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
    /// What is tried again.
    pub retry: RetryPolicy,
    /// When an address that fails is left out.
    pub eject: EjectPolicy,
    /// How addresses are asked whether they are well; `None`: they are not.
    pub health: Option<HealthPolicy>,
    /// Most open connections per address, and so most requests there at a time; 0 means no limit.
    pub max_connections: usize,
    /// Most requests in flight; 0 means no limit.
    pub max_in_flight: usize,
    /// When requests are refused because too many have failed; never, where it is absent.
    pub circuit: Option<CircuitPolicy>,
}

/// When requests are refused because too many have failed: `[upstreams.NAME.circuit]`, validated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitPolicy {
    /// The share of failures from which on it opens: above 0, at most 1.
    pub failure_rate: f64,
    /// How far back failures count.
    pub window: Duration,
    /// Tries in that time without which nothing is concluded.
    pub min_requests: u32,
    /// How long requests are refused before a few are let through.
    pub open_for: Duration,
}

impl Default for CircuitPolicy {
    fn default() -> Self {
        Self { failure_rate: 0.5, window: Duration::from_secs(10), min_requests: 20, open_for: Duration::from_secs(10) }
    }
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
    /// Every address of every target that the service has now (SRV records, RFC 2782).
    Services {
        /// The name as written, such as `_http._tcp.orders`; a final dot makes it absolute.
        name: String,
    },
    /// A fixed list.
    Addresses(Vec<WeightedAddress>),
}

/// An address and what it is worth beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedAddress {
    /// The socket address.
    pub address: SocketAddr,
    /// Its share relative to the others; 1 is usual, 0 is refused when the configuration is read.
    pub weight: u32,
    /// Addresses of a higher number serve only while none of a lower one can; 0 is usual.
    pub priority: u16,
}

impl WeightedAddress {
    /// An address with the usual weight and priority.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, weight: 1, priority: 0 }
    }
}

/// How a request's address is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, weights honoured; the turn is shared by all workers.
    #[default]
    RoundRobin,
    /// The less busy of two addresses drawn at random (Mitzenmacher, "The power of two choices", 2001).
    LeastRequest,
    /// Of two addresses drawn at random, the one that answers sooner and is less busy.
    PeakEwma,
    /// Drawn at random, weights honoured.
    Random,
    /// The same address for the same key.
    Hash(HashKey),
    /// The same address for the same client, which keeps a cookie.
    Sticky(StickyPolicy),
}

/// What of a request says to which address it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Ip,
    /// The path, before it is rewritten.
    Path,
    /// The value of a field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter, as written in the URL.
    Query(String),
}

/// The cookie by which a client comes back to its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyPolicy {
    /// Its name.
    pub cookie: String,
    /// How long a client that does not come keeps its address; zero means as long as its browser runs.
    pub max_age: Duration,
    /// What the cookie is signed with; `None` means a key that is made when the gateway starts.
    pub secret: Option<Secret>,
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
            slow_start: Duration::ZERO,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(60),
            max_idle: 64,
            drain_timeout: Duration::from_secs(30),
            host_header: HostHeader::Client,
            retry: RetryPolicy::default(),
            eject: EjectPolicy::default(),
            health: None,
            max_connections: 0,
            max_in_flight: 0,
            circuit: None,
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
