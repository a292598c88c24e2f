//! What may be written: one struct per table, one field per key, unknown keys refused. The comment on a field is the
//! product's documentation of the key, in the schema and in editors; its default is the checked type's own. Knows
//! nothing of files on disk, and nothing that holds between two keys.

mod auth;
mod balance;
mod cache;
mod cors;
mod health;
mod limit;
mod redis;
mod route;
mod tracing;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::auth::{
    AuthSettings, ClaimSettings, ClaimValue, FilesSettings, NamesSettings, RouteAuthSettings, RouteAuthTable,
};
pub use self::balance::{BalanceSettings, BalanceTable, StickySettings};
pub use self::cache::{CacheSettings, RouteCacheSettings, RouteCacheTable};
pub use self::cors::CorsSettings;
pub use self::health::{EjectSettings, HealthSettings};
pub use self::limit::{LimitKeySettings, LimitSettings, LimitUseSettings, LimitUseTable, RouteLimitsSettings};
pub use self::redis::RedisSettings;
pub use self::route::RouteSettings;
pub use self::tracing::TracingSettings;
pub use self::upstream::{AddressSettings, CircuitSettings, RetrySettings, UpstreamSettings, WeightedSettings};
use super::text::{AdminListen, NameServer, SecretText, SocketPath, Text};
use super::{AccessTarget, AdminConfig, LogConfig, LogFormat, LogLevel, ServerConfig};
use crate::base::units::{ByteRate, Size};
use crate::upstream::policy::{DnsPolicy, Family};

/// The configuration of Tollgate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Tollgate configuration")]
#[serde(default, deny_unknown_fields)]
pub struct ConfigFile {
    /// What clients connect to, and what they may send.
    pub server: ServerSettings,
    /// The operators' listener: metrics, health, status.
    pub admin: AdminSettings,
    /// How the names of upstreams are looked up.
    pub dns: DnsSettings,
    /// The program's log and the access log.
    pub log: LogSettings,
    /// What responses are kept in, for all routes that have a cache.
    pub cache: CacheSettings,
    /// Which requests leave a trace, and who gets it.
    pub tracing: TracingSettings,
    /// Ways to prove who one is: tables by name, which routes refer to.
    #[schemars(extend("propertyNames" = { "format": "label" }))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auth: BTreeMap<String, AuthSettings>,
    /// How much may pass: tables by name, which routes refer to.
    #[schemars(extend("propertyNames" = { "format": "label" }))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rate_limits: BTreeMap<String, LimitSettings>,
    /// The Redis or Valkey that several gateways share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSettings>,
    /// Where requests go: tables by name, which routes refer to.
    #[schemars(extend("propertyNames" = { "format": "upstream-name" }))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<String, UpstreamSettings>,
    /// Which requests go where. The order does not matter: exact paths come before prefixes, longer prefixes before
    /// shorter ones, exact hosts before wildcards, more conditions before fewer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSettings>,
}

/// What clients connect to, and what they may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Addresses to serve on, each with its port.
    #[schemars(length(min = 1))]
    pub listen: Vec<Text<SocketAddr>>,
    /// Worker threads. 0 means one per core.
    #[schemars(range(min = 0, max = 1024))]
    pub workers: usize,
    /// Networks of the proxies in front. Only from these are X-Forwarded-*, Forwarded and X-Request-Id believed.
    pub trusted_proxies: Vec<Text<IpNet>>,
    /// Client connections at one time.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: usize,
    /// Fields in a request head.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_headers: usize,
    /// Bytes in a request head.
    #[schemars(extend("x-minimum" = "8KiB", "x-maximum" = "16MiB"))]
    pub max_header_bytes: Text<Size>,
    /// Bytes in a request body, where the route does not say. 0 means no limit.
    pub max_body: Text<Size>,
    /// Time to read a request head.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub header_read_timeout: Text<Duration>,
    /// How long a client may pause in a request body, and leave a response unread.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub body_idle_timeout: Text<Duration>,
    /// What a client must reach on average, with a body that it sends or reads, after five seconds of waiting for it. 0
    /// means no limit.
    pub min_body_rate: Text<ByteRate>,
    /// How long an idle client connection is kept.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub keep_alive_timeout: Text<Duration>,
    /// Concurrent streams on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub http2_max_streams: u32,
    /// How long /readyz says 503 before accepting stops.
    pub shutdown_delay: Text<Duration>,
    /// How long requests in flight get after that.
    pub shutdown_grace: Text<Duration>,
    /// Unix socket over which another process of the same user may take the listening sockets over:
    /// tollgate run --takeover. Nobody may unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover: Option<Text<SocketPath>>,
}

/// The operators' listener: metrics, health, status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Where it listens; "off" means not at all.
    pub listen: Text<AdminListen>,
    /// Bearer token of requests that change state; needed where the address is not loopback. Written as "env:NAME"
    /// or "file:PATH".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Text<SecretText>>,
}

/// How the names of upstreams are looked up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsSettings {
    /// Name servers to ask, in order: "ip" or "ip:port". Empty means those of /etc/resolv.conf.
    pub servers: Vec<Text<NameServer>>,
    /// Ask again at least this often, whatever the TTL says.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub refresh: Text<Duration>,
    /// A shorter TTL is honoured down to this.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub min_refresh: Text<Duration>,
    /// Time for one query.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub timeout: Text<Duration>,
    /// How long the last good answer serves while lookups fail.
    pub max_stale: Text<Duration>,
    /// How long it serves after NXDOMAIN or an empty answer.
    pub hold_empty: Text<Duration>,
    /// Which addresses are asked for: "both", "v4" or "v6".
    pub family: Text<Family>,
}

/// The program's log and the access log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Least severe level that is written.
    pub level: Text<LogLevel>,
    /// Form of the program's log and of access lines: "json" or "text".
    pub format: Text<LogFormat>,
    /// Where access lines go: "stdout", "stderr", "off" or a file, which is opened anew on SIGUSR1.
    pub access: Text<AccessTarget>,
    /// Share of the access lines of 2xx and 3xx answers that are written. All others are, and those of answers that broke
    /// off.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
}

impl Default for ServerSettings {
    fn default() -> Self {
        (&ServerConfig::default()).into()
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        (&AdminConfig::default()).into()
    }
}

impl Default for DnsSettings {
    fn default() -> Self {
        (&DnsPolicy::default()).into()
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        (&LogConfig::default()).into()
    }
}
