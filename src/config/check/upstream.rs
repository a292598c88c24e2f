//! `[upstreams.*]`: each has exactly one source of addresses, no address twice, and one way to balance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Context, balance, health};
use crate::config::file::{AddressSettings, ConfigFile, RetrySettings, UpstreamSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{Fault, Text};
use crate::upstream::policy::{
    Allowance, Balance, CircuitPolicy, Discovery, RetryPolicy, UpstreamPolicy, WeightedAddress,
};

/// The upstreams by name.
pub(super) type Upstreams = BTreeMap<String, Arc<UpstreamPolicy>>;

/// Checks the tables; one that cannot be used is left out.
pub(super) fn upstreams(file: &ConfigFile, context: &Context, findings: &mut Findings) -> Upstreams {
    let mut checked = Upstreams::new();
    for (name, settings) in &file.upstreams {
        let path = KeyPath::dotted("upstreams").key(name);
        circuit(settings, &path, findings);
        let balance = balance::balance(&settings.balance, &path.key("balance"), context, findings);
        if let Some(discovery) = discovery(settings, &path, findings) {
            let mut policy = policy(name, discovery, balance, settings);
            policy.eject = health::eject(&settings.eject, &path.key("eject"), findings);
            policy.health = settings.health.as_ref().map(health::health);
            checked.insert(name.clone(), Arc::new(policy));
        }
    }
    checked
}

fn discovery(settings: &UpstreamSettings, path: &KeyPath, findings: &mut Findings) -> Option<Discovery> {
    let written =
        [("dns", settings.dns.is_some()), ("srv", settings.srv.is_some()), ("addresses", settings.addresses.is_some())];
    let mut sources = written.iter().filter(|(_, written)| *written).map(|(key, _)| *key);
    if let (Some(first), Some(second)) = (sources.next(), sources.next()) {
        let fault = Fault::new(format!("an upstream has `{first}` or `{second}`, not both"));
        let other = path.key(first);
        findings.clash(&path.key(second), fault.hint("leave one of them out"), &other, "the other one");
        return None;
    }
    if let Some(target) = &settings.dns {
        return Some(Discovery::Dns { name: target.0.name.clone(), port: target.0.port });
    }
    if let Some(service) = &settings.srv {
        return Some(Discovery::Services { name: service.0.0.clone() });
    }
    if let Some(list) = &settings.addresses {
        return Some(Discovery::Addresses(weighted(list, &path.key("addresses"), findings)));
    }
    if !written.iter().any(|(key, _)| findings.is_broken(&path.key(key))) {
        let fault = Fault::new("the upstream has no addresses");
        findings.value(
            path,
            fault.hint("add `dns = \"name:port\"`, `srv = \"_http._tcp.name\"` or `addresses = [\"ip:port\"]`"),
        );
    }
    None
}

/// A share is above 0, or the first try would open the circuit, whatever came of it.
fn circuit(settings: &UpstreamSettings, path: &KeyPath, findings: &mut Findings) {
    let Some(circuit) = &settings.circuit else { return };
    let rate = circuit.failure_rate;
    if !(rate > 0.0 && rate <= 1.0) {
        let fault =
            Fault::new(format!("{rate} is no share of failures")).hint("write it like `0.5`: above 0, at most 1");
        findings.value(&path.key("circuit").key("failure_rate"), fault);
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
        checked.push(WeightedAddress { address, weight, priority: 0 });
    }
    checked
}

fn policy(name: &str, discovery: Discovery, balance: Balance, settings: &UpstreamSettings) -> UpstreamPolicy {
    UpstreamPolicy {
        balance,
        slow_start: settings.slow_start.0,
        connect_timeout: settings.connect_timeout.0,
        response_timeout: settings.response_timeout.0,
        idle_timeout: settings.idle_timeout.0,
        keep_alive: settings.keep_alive.0,
        max_idle: settings.max_idle,
        drain_timeout: settings.drain_timeout.0,
        host_header: settings.host_header.0.clone(),
        retry: retry(&settings.retry),
        max_connections: settings.max_connections,
        max_in_flight: settings.max_in_flight,
        circuit: settings.circuit.as_ref().map(|circuit| CircuitPolicy {
            failure_rate: circuit.failure_rate,
            window: circuit.window.0,
            min_requests: circuit.min_requests,
            open_for: circuit.open_for.0,
        }),
        ..UpstreamPolicy::new(name, discovery)
    }
}

fn retry(settings: &RetrySettings) -> RetryPolicy {
    let mut on = Text::values(&settings.on);
    on.sort_unstable();
    on.dedup();
    RetryPolicy {
        attempts: settings.attempts,
        allowance: Allowance { share: settings.budget, min_per_second: settings.min_per_second },
        on,
        per_try_timeout: settings.per_try_timeout.0,
    }
}
