//! `[upstreams.NAME]` as it may be written.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::health::{EjectSettings, HealthSettings};
use crate::config::text::{DnsTarget, Text};
use crate::upstream::policy::{Balance, Discovery, HostHeader, UpstreamPolicy};

/// Where requests go, and how they are balanced over the addresses there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamSettings {
    /// "name:port": every address that the name has right now. This or addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Text<DnsTarget>>,
    /// A fixed list: "ip:port", or { address = "ip:port", weight = 2 }. This or dns.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<AddressSettings>>,
    /// How a request's address is chosen: "round_robin", "least_request" or "random".
    pub balance: Text<Balance>,
    /// Time to establish a connection.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub connect_timeout: Text<Duration>,
    /// Time to the response head, per try. "0s" means no limit of its own.
    pub response_timeout: Text<Duration>,
    /// Time between two reads of a response body; event streams and upgraded connections are exempt. "0s" means none.
    pub idle_timeout: Text<Duration>,
    /// How long an idle connection is kept.
    pub keep_alive: Text<Duration>,
    /// Idle connections kept per address, over all workers.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_idle: usize,
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

/// What is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Tries beyond the first, each on another address.
    #[schemars(range(min = 0, max = 10))]
    pub attempts: u32,
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

impl Default for RetrySettings {
    fn default() -> Self {
        UpstreamSettings::default().retry
    }
}

fn usual_weight() -> u32 {
    1
}
