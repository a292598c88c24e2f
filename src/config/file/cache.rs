//! `[cache]`, and `cache` of a route, as they may be written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::Size;
use crate::config::text::Text;
use crate::layers::cache::policy::{CachePolicy, Part, RouteCachePolicy, Sharing};

/// What responses are kept in, for all routes that have a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Bytes for everything that is kept: bodies, heads and keys.
    #[schemars(extend("x-minimum" = "64KiB", "x-maximum" = "1024GiB"))]
    pub memory: Text<Size>,
    /// Largest body that is kept, at most an eighth of memory. Larger ones stream through.
    #[schemars(extend("x-minimum" = "1KiB"))]
    pub max_object: Text<Size>,
    /// Who shares what is kept: "memory" is this gateway alone; "redis" are all that have the same [redis] and prefix, each
    /// with a memory of its own before it.
    pub store: Text<Sharing>,
}

/// Whether and how a route keeps responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RouteCacheSettings {
    /// As far as the origin says so, or not at all.
    Flag(bool),
    /// With what the route says beside that.
    Table(RouteCacheTable),
}

/// How a route keeps responses, beside what the origin says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteCacheTable {
    /// How long a response is fresh that does not say so itself. It overrides nothing that the origin says: not a
    /// shorter time, not no-cache, no-store or private. "0s" means not at all.
    pub ttl: Text<Duration>,
    /// The share of its time since Last-Modified for which a response is fresh that does not say so itself, at most 24
    /// hours. 0 means not at all; 0.1 is usual.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub heuristic: f64,
    /// How long a stale response may be served while it is asked for anew: where it does not say so itself, and at most.
    /// Default: what it says, at most 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Text<Duration>>,
    /// How long a stale response may be served when asking fails: where it does not say so itself, and at most. Default:
    /// what it says, at most 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Text<Duration>>,
    /// What tells requests apart beside their URL: "subject", "claim:NAME", "header:NAME". With a subject, a claim or
    /// header:authorization in it, answers to requests with credentials are kept, each for its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vary_by: Vec<Text<Part>>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        (&CachePolicy::default()).into()
    }
}

impl From<&CachePolicy> for CacheSettings {
    fn from(policy: &CachePolicy) -> Self {
        Self { memory: Text(Size(policy.memory)), max_object: Text(Size(policy.max_object)), store: Text(policy.store) }
    }
}

impl From<&RouteCachePolicy> for RouteCacheSettings {
    fn from(policy: &RouteCachePolicy) -> Self {
        if *policy == RouteCachePolicy::default() {
            return Self::Flag(true);
        }
        Self::Table(RouteCacheTable {
            ttl: Text(policy.ttl),
            heuristic: policy.heuristic,
            stale_while_revalidate: policy.stale_while_revalidate.map(Text),
            stale_if_error: policy.stale_if_error.map(Text),
            vary_by: Text::list(&policy.vary_by),
        })
    }
}
