//! An upstream as one configuration has it. A route holds this, and a request keeps it to its end, so that what was
//! asked under one policy is finished under it, whatever is reloaded meanwhile.

use std::ops::Deref;
use std::sync::Arc;

use http::HeaderValue;

use super::Upstream;
use super::policy::{Discovery, UpstreamPolicy};

/// An upstream and the policy of one configuration for it.
#[derive(Debug)]
pub struct Bound {
    /// What the configuration says.
    pub policy: Arc<UpstreamPolicy>,
    /// What the upstream is called as a host.
    pub host: HeaderValue,
    /// Idle connections that each worker keeps per address.
    pub idle_per_worker: usize,
    upstream: Arc<Upstream>,
}

impl Bound {
    /// This upstream under this policy.
    pub fn new(upstream: Arc<Upstream>, policy: &Arc<UpstreamPolicy>) -> Self {
        let idle_per_worker = policy.max_idle.div_ceil(upstream.workers);
        Self { policy: policy.clone(), host: own_host(policy), idle_per_worker, upstream }
    }
}

impl Deref for Bound {
    type Target = Upstream;

    fn deref(&self) -> &Upstream {
        &self.upstream
    }
}

/// The name and port as a `Host` field says them (RFC 9110 §7.2).
pub(super) fn own_host(policy: &UpstreamPolicy) -> HeaderValue {
    let text = match &policy.discovery {
        Discovery::Dns { name, port: 80 } => name.trim_end_matches('.').to_owned(),
        Discovery::Dns { name, port } => format!("{}:{port}", name.trim_end_matches('.')),
        // `_service._protocol.name` (RFC 2782).
        Discovery::Services { name } => name.trim_end_matches('.').splitn(3, '.').last().unwrap_or(name).to_owned(),
        Discovery::Addresses(addresses) => addresses.first().map(|one| one.address.to_string()).unwrap_or_default(),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("upstream"))
}
