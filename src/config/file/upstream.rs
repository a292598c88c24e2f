//! `[upstreams.NAME]` as it may be written.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BalanceSettings;
use super::health::{EjectSettings, HealthSettings};
use crate::config::text::{DnsTarget, ServiceName, Text};
use crate::upstream::policy::{CircuitPolicy, Condition, Discovery, HostHeader, UpstreamPolicy};

/// Where requests go, and how they are balanced over the addresses there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamSettings {
    /// "name:port": every address that the name has right now. This, srv or addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Text<DnsTarget>>,
    /// "_http._tcp.name": every address of the service's targets, with the ports, priorities and weights of its SRV
    /// records. This, dns or addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<Text<ServiceName>>,
    /// A fixed list: "ip:port", or { address = "ip:port", weight = 2 }. This, dns or srv.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<AddressSettings>>,
    /// How a request's address is chosen: "round_robin", "least_request", "peak_ewma", "random", { hash = "ip" } or
    /// { sticky = {} }.
    pub balance: BalanceSettings,
    /// How long the share of a new or returned address takes to grow to its full size; not for hash and sticky.
    pub slow_start: Text<Duration>,
    /// Time to establish a connection.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub connect_timeout: Text<Duration>,
    /// Time to the response head, per try. "0s" means no limit of its own.
    pub response_timeout: Text<Duration>,
    /// Time between two reads of a response body; event streams are exempt, and upgraded connections until one side has
    /// closed. "0s" means none.
    pub idle_timeout: Text<Duration>,
    /// How long an idle connection is kept; less where its server says so, or was seen to close earlier.
    pub keep_alive: Text<Duration>,
    /// Idle connections kept per address, over all workers.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_idle: usize,
    /// Open connections per address, idle ones included, and so requests there at a time. Where every address has as many,
    /// requests wait in order, at most as many as can be served at a time, each for at most connect_timeout; the others
    /// are answered 503. 0 means no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_connections: usize,
    /// Requests in flight, over all addresses; one more is answered 503. 0 means no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_in_flight: usize,
    /// How long the busy connections of an address that left get to finish.
    pub drain_timeout: Text<Duration>,
    /// What the Host field says to the upstream: "client", "upstream" or a fixed name.
    pub host_header: Text<HostHeader>,
    /// What is tried again.
    pub retry: RetrySettings,
    /// Passive health: an address whose requests fail is left out for a while.
    pub eject: EjectSettings,
    /// Active health: each address is asked again and again whether it is well. Off unless the table is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSettings>,
    /// When requests are refused because too many have failed; never, unless the table is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitSettings>,
}

/// An address of a fixed list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddressSettings {
    /// With the usual weight, 1.
    Plain(Text<SocketAddr>),
    /// With a weight.
    Weighted(WeightedSettings),
}

/// An address and its share of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedSettings {
    /// "ip:port"
    pub address: Text<SocketAddr>,
    /// Share of the requests, relative to the other addresses.
    #[serde(default = "usual_weight")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

/// What is tried again: any request that was not sent yet, and what may be acted on twice (an idempotent method, or an
/// Idempotency-Key) while its body is at most 64 KiB. The last answer is passed on as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Tries beyond the first, each on another address.
    #[schemars(range(min = 0, max = 10))]
    pub attempts: u32,
    /// The most retries that the upstream bears, as a share of its requests of the last ten seconds or so.
    #[schemars(range(min = 0, max = 1))]
    pub budget: f64,
    /// Retries a second that are allowed in any case.
    #[schemars(range(min = 0, max = 100_000))]
    pub min_per_second: u32,
    /// The failures: "connect" (no connection), "reset" (broken off before the response head, or not HTTP), "timeout"
    /// (response_timeout ran out), and statuses from "400" to "599".
    pub on: Vec<Text<Condition>>,
    /// Time to the response head, per try, the connection included; a try that takes longer is tried again. "0s" means
    /// none.
    pub per_try_timeout: Text<Duration>,
}

/// When requests are refused because too many have failed: no answer, or 502, 503 or 504. After a while a few are let
/// through, and what comes of them decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitSettings {
    /// Share of failures at which requests are refused.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failure_rate: f64,
    /// How far back failures count.
    #[schemars(extend("x-minimum" = "100ms"))]
    pub window: Text<Duration>,
    /// Tries in that time without which nothing is concluded.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// How long requests are refused before a few are let through.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub open_for: Text<Duration>,
}

impl AddressSettings {
    /// An address with its weight.
    pub fn new(address: SocketAddr, weight: u32) -> Self {
        match weight {
            1 => Self::Plain(Text(address)),
            _ => Self::Weighted(WeightedSettings { address: Text(address), weight }),
        }
    }

    /// The address and its weight.
    pub fn parts(&self) -> (SocketAddr, u32) {
        match self {
            Self::Plain(address) => (address.0, usual_weight()),
            Self::Weighted(weighted) => (weighted.address.0, weighted.weight),
        }
    }
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        let mut settings = Self::from(&UpstreamPolicy::new("", Discovery::Addresses(Vec::new())));
        settings.addresses = None;
        settings
    }
}

impl Default for CircuitSettings {
    fn default() -> Self {
        (&CircuitPolicy::default()).into()
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        UpstreamSettings::default().retry
    }
}

fn usual_weight() -> u32 {
    1
}
