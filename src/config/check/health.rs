//! `[upstreams.*.eject]` and `[upstreams.*.health]`: what holds between two of their keys.

use crate::config::file::{EjectSettings, HealthSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::Fault;
use crate::upstream::policy::{EjectPolicy, HealthPolicy};

/// Checks the table at `path`.
pub(super) fn eject(settings: &EjectSettings, path: &KeyPath, findings: &mut Findings) -> EjectPolicy {
    if settings.max_for.0 < settings.base.0 {
        let fault = Fault::new("`max_for` is shorter than `for`")
            .hint("no ejection is shorter than `for`: raise `max_for` as well");
        findings.clash(&path.key("max_for"), fault, &path.key("for"), "for");
    }
    EjectPolicy {
        failures: settings.failures,
        base: settings.base.0,
        max: settings.max_for.0,
        max_share: settings.max_share,
    }
}

/// The policy of a table in which nothing depends on anything else.
pub(super) fn health(settings: &HealthSettings) -> HealthPolicy {
    HealthPolicy {
        path: settings.path.0.clone(),
        interval: settings.interval.0,
        timeout: settings.timeout.0,
        healthy: settings.healthy,
        unhealthy: settings.unhealthy,
        expect: settings.expect.clone(),
    }
}
