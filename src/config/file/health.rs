//! `[upstreams.NAME.eject]` and `[upstreams.NAME.health]` as they may be written.

use std::time::Duration;

use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::Text;
use crate::upstream::policy::{EjectPolicy, HealthPolicy};

/// Passive health: an address whose requests fail is left out for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EjectSettings {
    /// Failures in a row that eject an address: no connection, a reset, no answer in time, 502, 503, 504.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// How long it is left out, times the number of ejections in a row.
    #[serde(rename = "for")]
    #[schemars(extend("x-minimum" = "1ms"))]
    pub base: Text<Duration>,
    /// The longest that it is left out.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub max_for: Text<Duration>,
    /// Never more of the addresses than this share; one always stays. 0 means that none is ejected.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_share: f64,
}

/// Active health: each address is asked again and again whether it is well. Off unless the table is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// What is asked for with GET, over a connection of its own: a path, with a query if need be.
    pub path: Text<PathAndQuery>,
    /// Time between two checks of an address, give or take a tenth.
    #[schemars(extend("x-minimum" = "10ms"))]
    pub interval: Text<Duration>,
    /// Time for one check, to the response head.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub timeout: Text<Duration>,
    /// Good checks in a row that bring an address back. A new one takes requests after its first.
    #[schemars(range(min = 1, max = 1000))]
    pub healthy: u32,
    /// Bad checks in a row that take it out.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy: u32,
    /// Statuses of a good check.
    #[schemars(length(min = 1), inner(range(min = 200, max = 599)))]
    pub expect: Vec<u16>,
}

impl Default for EjectSettings {
    fn default() -> Self {
        (&EjectPolicy::default()).into()
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        (&HealthPolicy::default()).into()
    }
}

impl From<&EjectPolicy> for EjectSettings {
    fn from(policy: &EjectPolicy) -> Self {
        Self {
            failures: policy.failures,
            base: Text(policy.base),
            max_for: Text(policy.max),
            max_share: policy.max_share,
        }
    }
}

impl From<&HealthPolicy> for HealthSettings {
    fn from(policy: &HealthPolicy) -> Self {
        Self {
            path: Text(policy.path.clone()),
            interval: Text(policy.interval),
            timeout: Text(policy.timeout),
            healthy: policy.healthy,
            unhealthy: policy.unhealthy,
            expect: policy.expect.clone(),
        }
    }
}
