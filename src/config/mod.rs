//! The configuration, checked: values that cannot be wrong, comparable, printable without a secret. The text
//! forms are in `file`, the way from one to the other in `load` and `check`. Knows the policies of the floors
//! below, never what runs.

mod check;
pub mod effective;
pub mod file;
mod findings;
pub mod key;
mod lint;
pub mod load;
pub mod order;
pub mod problem;
pub mod schema;
mod source;
pub mod text;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use crate::base::secret::Secret;
use crate::layers::auth::policy::{AuthPolicy, RouteAuth};
use crate::layers::cache::policy::{CachePolicy, RouteCachePolicy};
use crate::layers::cors::policy::CorsPolicy;
use crate::layers::rate_limit::policy::{LimitPolicy, LimitUse};
use crate::layers::redis::policy::RedisPolicy;
use crate::upstream::policy::{DnsPolicy, UpstreamPolicy};

/// A whole configuration that has no problem left.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[dns]`
    pub dns: DnsPolicy,
    /// `[log]`
    pub log: LogConfig,
    /// `[cache]`
    pub cache: CachePolicy,
    /// `[tracing]`
    pub tracing: TracingConfig,
    /// `[auth.*]`, in name order.
    pub auth: Vec<Arc<AuthPolicy>>,
    /// `[rate_limits.*]`, in name order.
    pub rate_limits: Vec<Arc<LimitPolicy>>,
    /// `[redis]`
    pub redis: Option<Arc<RedisPolicy>>,
    /// `[upstreams.*]` and the inline ones of the routes, in name order, each name once.
    pub upstreams: Vec<Arc<UpstreamPolicy>>,
    /// `[[routes]]`, in the order in which they were written.
    pub routes: Vec<RouteConfig>,
}

/// `[server]`: what clients connect to, and what they may send.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Addresses to serve on.
    pub listen: Vec<SocketAddr>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Client connections at one time.
    pub max_connections: usize,
    /// Fields in a request head.
    pub max_headers: usize,
    /// Bytes in a request head.
    pub max_header_bytes: usize,
    /// Bytes in a request body, where the route does not say; 0 means no limit.
    pub max_body: u64,
    /// Time to read a request head.
    pub header_read_timeout: Duration,
    /// Time between two reads of a request body.
    pub body_idle_timeout: Duration,
    /// Bytes per second that a body must reach on average after its first five seconds; 0 means no limit.
    pub min_body_rate: u64,
    /// How long an idle client connection is kept.
    pub keep_alive_timeout: Duration,
    /// Concurrent streams on one HTTP/2 connection.
    pub http2_max_streams: u32,
    /// How long `/readyz` says 503 before accepting stops.
    pub shutdown_delay: Duration,
    /// How long requests in flight get after that.
    pub shutdown_grace: Duration,
    /// The Unix socket over which another process may take the listening sockets over; `None` means none may.
    pub takeover: Option<PathBuf>,
}

/// `[admin]`: the operators' listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens; `None` means not at all.
    pub listen: Option<SocketAddr>,
    /// What a request that changes state must bring as a bearer token.
    pub token: Option<Secret>,
}

/// `[log]`: the program's log and the access log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Least severe level that is written.
    pub level: LogLevel,
    /// Form of the program's log and of access lines.
    pub format: LogFormat,
    /// Where access lines go.
    pub access: AccessTarget,
    /// Share of 2xx and 3xx access lines that are written.
    pub sample: f64,
}

/// `[tracing]`: which requests leave a trace, and who gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingConfig {
    /// Base URL of the collector; `None` means that there are no traces.
    pub otlp: Option<String>,
    /// Fields of every request to the collector.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Share of the traces begun here that are recorded.
    pub sample: f64,
    /// Whether requests that fail are recorded whatever the share.
    pub errors: bool,
    /// What the gateway is called in traces.
    pub service_name: String,
}

/// Severity of the program's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why it happened.
    Debug,
    /// Everything.
    Trace,
}

/// Form of the program's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Where access lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessTarget {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// Appended to this file.
    File(PathBuf),
}

impl Default for LogConfig {
    fn default() -> Self {
        let (level, format, access) = Default::default();
        Self { level, format, access, sample: 1.0 }
    }
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self { otlp: None, headers: Vec::new(), sample: 0.01, errors: false, service_name: "tollgate".to_owned() }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8080))],
            workers: 0,
            trusted_proxies: Vec::new(),
            max_connections: 20_000,
            max_headers: 100,
            max_header_bytes: 64 << 10,
            max_body: 10 << 20,
            header_read_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            min_body_rate: 1 << 10,
            keep_alive_timeout: Duration::from_secs(75),
            http2_max_streams: 128,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(30),
            takeover: None,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9901))), token: None }
    }
}

/// `[[routes]]`: which requests, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Label in metrics and logs, unique.
    pub name: String,
    /// Which paths.
    pub path: PathMatch,
    /// Which hosts; empty means any.
    pub hosts: Vec<HostMatch>,
    /// Which methods; empty means any. `GET` takes `HEAD` with it.
    pub methods: Vec<Method>,
    /// Fields that must be present with exactly this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters that must be present with exactly this value, as written in the URL.
    pub query: Vec<(String, String)>,
    /// Name of the upstream in [`Config::upstreams`].
    pub upstream: String,
    /// Whether the prefix is taken off before the request goes on.
    pub strip_prefix: bool,
    /// Replaces the path; `{path}` stands for what is left after `strip_prefix`.
    pub rewrite: Option<String>,
    /// What escaped slashes, backslashes and double escapes in the path mean.
    pub encoded_slashes: EncodedSlashes,
    /// One budget for all tries, to the response head; zero means none.
    pub timeout: Duration,
    /// Bytes in a request body; 0 means no limit.
    pub max_body: u64,
    /// Most requests at a time; 0 means no limit.
    pub max_in_flight: usize,
    /// Clients that may use the route; empty means any.
    pub allow_ips: Vec<IpNet>,
    /// Clients that may not, allowed or not.
    pub deny_ips: Vec<IpNet>,
    /// Who may pass; `None` means everybody.
    pub auth: Option<RouteAuth>,
    /// What it keeps; `None` means nothing.
    pub cache: Option<RouteCachePolicy>,
    /// What pages of other origins may; `None` leaves it to the upstream.
    pub cors: Option<CorsPolicy>,
    /// How much may pass; empty means everything.
    pub rate_limits: Vec<LimitUse>,
}

impl RouteConfig {
    /// What `timeout` is where nothing is written.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// Whether not everybody may use it.
    pub fn is_guarded(&self) -> bool {
        self.auth.is_some() || !self.allow_ips.is_empty() || !self.deny_ips.is_empty()
    }
}

/// Which paths a route takes. Both hold canonical paths (see `base::path`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path and everything below it, on segment boundaries; `/` is everything. Never ends in `/` otherwise.
    Prefix(String),
    /// This path alone.
    Exact(String),
}

/// Which hosts a route takes: lower case, without port and final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostMatch {
    /// This name.
    Exact(String),
    /// Any name that ends in this one, which begins with a dot: `*.example.com` is `.example.com`.
    Wildcard(String),
}

/// What `%2F`, `%5C` and double escapes in a path mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// 400, naming the key.
    Reject,
    /// Forwarded as they came.
    Allow,
}
