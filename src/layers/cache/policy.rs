//! What a route and the gateway as a whole have decided about their cache. Checked settings, no state.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

/// `[cache]`: the room that all routes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Bytes for everything that is kept: bodies, heads and keys.
    pub memory: u64,
    /// Largest body that is kept.
    pub max_object: u64,
    /// Who shares it.
    pub store: Sharing,
}

/// Who shares what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// This gateway alone has it.
    #[default]
    Memory,
    /// Others have it too, through Redis.
    Redis,
}

impl CachePolicy {
    /// Most that one body may be of all memory.
    pub const LARGEST_SHARE: u64 = 8;
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self { memory: 64 << 20, max_object: 1 << 20, store: Sharing::Memory }
    }
}

/// `cache` of a route. The default is what the origin allows and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteCachePolicy {
    /// How long a response is fresh that does not say so itself; zero means that it is not.
    pub ttl: Duration,
    /// The share of its time since `Last-Modified` for which a response is fresh that does not say so itself (RFC 9111
    /// §4.2.2); 0 means that it is not.
    pub heuristic: f64,
    /// How long a response may serve while it is asked for anew: where it does not say so, and at most.
    pub stale_while_revalidate: Option<Duration>,
    /// How long it may serve when that fails: likewise.
    pub stale_if_error: Option<Duration>,
    /// What tells requests apart beside their URL.
    pub vary_by: Vec<Part>,
}

/// Something of a request that is part of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Who asks, as the credential says.
    Subject,
    /// A claim of the credential, by its path.
    Claim(Arc<str>),
    /// A field.
    Header(HeaderName),
}
