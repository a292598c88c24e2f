//! What is allowed in `[rate_limits.*]` and around routes that use them, but probably not meant.

use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::Fault;
use crate::layers::rate_limit::bucket::Bucket;
use crate::layers::rate_limit::policy::{LimitPolicy, Measure, Store};

/// The longest that a count is worth keeping where a restart forgets it, in nanoseconds: an hour.
const LONGEST: u64 = 3600 * 1_000_000_000;

pub(super) fn lint(config: &Config, findings: &mut Findings) {
    unused(config, findings);
    forgotten(config, findings);
    without_auth(config, findings);
}

/// `unused-limit`: no route refers to it.
fn unused(config: &Config, findings: &mut Findings) {
    for policy in &config.rate_limits {
        let used = config.routes.iter().any(|route| route.rate_limits.iter().any(|limit| limit.name == policy.name));
        if !used {
            let fault = Fault::new(format!("no route uses `[rate_limits.{}]`", policy.name));
            findings.warn("unused-limit", &KeyPath::dotted("rate_limits").key(&policy.name), fault, None);
        }
    }
}

/// `local-quota`: what is used up of a day is forgotten when the gateway restarts, and each gateway has a day of its own.
fn forgotten(config: &Config, findings: &mut Findings) {
    for policy in &config.rate_limits {
        let Measure::Rate(rate) = &policy.measure else { continue };
        let long = rate.each().any(|(_, rate, burst)| Bucket::new(rate, burst).depth() > LONGEST);
        if rate.store == Store::Local && long {
            let path = KeyPath::dotted("rate_limits").key(&policy.name);
            let fault = Fault::new("a quota of more than an hour is forgotten when the gateway restarts")
                .hint("`store = \"redis\"` remembers it");
            findings.warn("local-quota", &path, fault, None);
        }
    }
}

/// `limit-without-auth`: nobody says who asks, so that everybody is counted by address.
fn without_auth(config: &Config, findings: &mut Findings) {
    for (at, route) in config.routes.iter().enumerate().filter(|(_, route)| route.auth.is_none()) {
        let by_identity = |policy: &&std::sync::Arc<LimitPolicy>| {
            policy.needs_identity() && route.rate_limits.iter().any(|limit| limit.name == policy.name)
        };
        if let Some(policy) = config.rate_limits.iter().find(by_identity) {
            let fault = Fault::new(format!("nobody says who asks here: `{}` counts everybody by ip", policy.name))
                .hint("add `auth`, or use a limit whose key is `ip`");
            let path = KeyPath::dotted("routes").index(at).key("rate_limit");
            findings.warn("limit-without-auth", &path, fault, None);
        }
    }
}
