//! `[upstreams.*]`: each has exactly one source of addresses, and no address twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::health;
use crate::config::file::{AddressSettings, ConfigFile, UpstreamSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::Fault;
use crate::upstream::policy::{Discovery, UpstreamPolicy, WeightedAddress};

/// The upstreams by name.
pub(super) type Upstreams = BTreeMap<String, Arc<UpstreamPolicy>>;

/// Checks the tables; one that cannot be used is left out.
pub(super) fn upstreams(file: &ConfigFile, findings: &mut Findings) -> Upstreams {
    let mut checked = Upstreams::new();
    for (name, settings) in &file.upstreams {
        let path = KeyPath::dotted("upstreams").key(name);
        if let Some(discovery) = discovery(settings, &path, findings) {
            let mut policy = policy(name, discovery, settings);
            policy.eject = health::eject(&settings.eject, &path.key("eject"), findings);
            policy.health = settings.health.as_ref().map(health::health);
            checked.insert(name.clone(), Arc::new(policy));
        }
    }
    checked
}

fn discovery(settings: &UpstreamSettings, path: &KeyPath, findings: &mut Findings) -> Option<Discovery> {
    let (dns, addresses) = (path.key("dns"), path.key("addresses"));
    match (&settings.dns, &settings.addresses) {
        (Some(_), Some(_)) => {
            let fault = Fault::new("an upstream has `dns` or `addresses`, not both").hint("leave one of them out");
            findings.clash(&addresses, fault, &dns, "the other one");
            None
        }
        (Some(target), None) => Some(Discovery::Dns { name: target.0.name.clone(), port: target.0.port }),
        (None, Some(list)) => Some(Discovery::Addresses(weighted(list, &addresses, findings))),
        (None, None) => {
            if !findings.is_broken(&dns) && !findings.is_broken(&addresses) {
                let fault = Fault::new("the upstream has no addresses");
                findings.value(path, fault.hint("add `dns = \"name:port\"` or `addresses = [\"ip:port\"]`"));
            }
            None
        }
    }
}

fn weighted(list: &[AddressSettings], path: &KeyPath, findings: &mut Findings) -> Vec<WeightedAddress> {
    let mut checked: Vec<WeightedAddress> = Vec::with_capacity(list.len());
    for (at, settings) in list.iter().enumerate() {
        let (address, weight) = settings.parts();
        if address.port() == 0 {
            findings.value(&path.index(at), Fault::new(format!("`{address}` has port 0, which nothing listens on")));
        }
        if let Some(first) = checked.iter().position(|earlier| earlier.address == address) {
            let fault = Fault::new(format!("`{address}` is listed twice")).hint("give it a `weight` to send it more");
            findings.clash(&path.index(at), fault, &path.index(first), "listed here already");
        }
        checked.push(WeightedAddress { address, weight });
    }
    checked
}

fn policy(name: &str, discovery: Discovery, settings: &UpstreamSettings) -> UpstreamPolicy {
    UpstreamPolicy {
        balance: settings.balance.0,
        connect_timeout: settings.connect_timeout.0,
        response_timeout: settings.response_timeout.0,
        idle_timeout: settings.idle_timeout.0,
        keep_alive: settings.keep_alive.0,
        max_idle: settings.max_idle,
        drain_timeout: settings.drain_timeout.0,
        host_header: settings.host_header.0.clone(),
        retry_attempts: settings.retry.attempts,
        ..UpstreamPolicy::new(name, discovery)
    }
}
