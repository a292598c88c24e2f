//! What is allowed but probably not meant. Each rule has an id, which never changes its meaning.

mod auth;
mod cache;
mod limit;

use std::collections::HashMap;

use super::file::{BalanceSettings, ConfigFile};
use super::findings::Findings;
use super::key::KeyPath;
use super::order::{Entry, covers, covers_host, entries};
use super::text::{Fault, RedisAddress, SecretText};
use super::{Config, PathMatch};
use crate::upstream::policy::Balance;

/// Looks at a configuration that has no problem.
pub(super) fn lint(config: &Config, file: &ConfigFile, findings: &mut Findings) {
    no_routes(config, findings);
    unreachable_routes(config, findings);
    unused_upstreams(config, findings);
    open_admin(config, findings);
    trust_in_everybody(config, findings);
    shared_cookies(config, findings);
    short_secrets(config, findings);
    literal_secrets(file, findings);
    auth::lint(config, file, findings);
    cache::lint(config, findings);
    limit::lint(config, findings);
}

/// `no-routes`: every request would be refused.
fn no_routes(config: &Config, findings: &mut Findings) {
    if config.routes.is_empty() {
        let fault = Fault::new("there is no route: every request gets 404").hint("add `[[routes]]`");
        findings.warn("no-routes", &KeyPath::dotted("routes"), fault, None);
    }
}

/// `unreachable-route`: for each host of it an earlier route takes everything.
fn unreachable_routes(config: &Config, findings: &mut Findings) {
    let entries = entries(&config.routes);
    let mut covered_by: Vec<Vec<Option<usize>>> = vec![Vec::new(); config.routes.len()];
    for (at, Entry { route, host }) in entries.iter().enumerate() {
        let earlier = entries[..at].iter().find(|earlier| {
            let (wide, narrow) = (&config.routes[earlier.route], &config.routes[*route]);
            earlier.route != *route && covers_host(earlier.host, *host) && covers(wide, narrow)
        });
        covered_by[*route].push(earlier.map(|entry| entry.route));
    }
    for (route, covers) in covered_by.iter().enumerate() {
        let Some(Some(first)) = covers.first() else { continue };
        if covers.iter().all(Option::is_some) {
            let (PathMatch::Prefix(path) | PathMatch::Exact(path)) = &config.routes[route].path;
            let other = &config.routes[*first].name;
            let fault =
                Fault::new(format!("no request for `{path}` ever gets here: the route `{other}` takes them all"))
                    .hint("take it away, or give it more conditions");
            let (here, there) = (KeyPath::dotted("routes").index(route), KeyPath::dotted("routes").index(*first));
            findings.warn("unreachable-route", &here, fault, Some((&there, "matched before")));
        }
    }
}

/// `unused-upstream`: no route refers to it.
fn unused_upstreams(config: &Config, findings: &mut Findings) {
    for policy in &config.upstreams {
        if config.routes.iter().all(|route| route.upstream != policy.name) {
            let fault = Fault::new(format!("no route uses the upstream `{}`", policy.name));
            findings.warn("unused-upstream", &KeyPath::dotted("upstreams").key(&policy.name), fault, None);
        }
    }
}

/// `open-admin`: metrics and the status page for everybody who can reach the port.
fn open_admin(config: &Config, findings: &mut Findings) {
    let open = config.admin.listen.is_some_and(|address| !address.ip().is_loopback());
    if open && config.admin.token.is_none() {
        let fault = Fault::new("the operators' listener is open to the network and has no token")
            .hint("set `token = \"env:NAME\"`, or listen on 127.0.0.1");
        findings.warn("open-admin", &KeyPath::dotted("admin.listen"), fault, None);
    }
}

/// `trusts-everybody`: any client may say who it is.
fn trust_in_everybody(config: &Config, findings: &mut Findings) {
    let proxies = &config.server.trusted_proxies;
    for (at, _) in proxies.iter().enumerate().filter(|(_, network)| network.prefix_len() == 0) {
        let fault = Fault::new("every client is a trusted proxy: any of them can forge X-Forwarded-For")
            .hint("name the networks of your own proxies");
        findings.warn("trusts-everybody", &KeyPath::dotted("server.trusted_proxies").index(at), fault, None);
    }
}

/// `shared-cookie`: clients of two sticky upstreams would lose the one's cookie to the other's.
fn shared_cookies(config: &Config, findings: &mut Findings) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for policy in &config.upstreams {
        let Balance::Sticky(sticky) = &policy.balance else { continue };
        let place = |name: &str| KeyPath::dotted("upstreams").key(name).key("balance");
        if let Some(other) = seen.insert(&sticky.cookie, &policy.name) {
            let fault = Fault::new(format!("two upstreams set the cookie `{}`", sticky.cookie))
                .hint("give each a `cookie` of its own, unless they never share a host");
            findings.warn("shared-cookie", &place(&policy.name), fault, Some((&place(other), "the other one")));
        }
    }
}

/// `short-secret`: whoever guesses it can send clients to the address of their choice.
fn short_secrets(config: &Config, findings: &mut Findings) {
    const SHORTEST: usize = 16;
    for policy in &config.upstreams {
        let Balance::Sticky(sticky) = &policy.balance else { continue };
        if sticky.secret.as_ref().is_some_and(|secret| secret.expose().len() < SHORTEST) {
            let path = KeyPath::dotted("upstreams").key(&policy.name).key("balance").key("sticky").key("secret");
            let fault = Fault::new(format!("the secret is shorter than {SHORTEST} bytes"));
            findings.warn("short-secret", &path, fault.hint("`openssl rand -hex 32` makes a good one"), None);
        }
    }
}

/// `literal-secret`: a secret that ends up in version control, or in the list of processes.
fn literal_secrets(file: &ConfigFile, findings: &mut Findings) {
    let in_url = |url: &RedisAddress| matches!(url, RedisAddress::Url(url) if url.password.is_some());
    let url = file.redis.as_ref().filter(|redis| in_url(&redis.url.0)).map(|_| KeyPath::dotted("redis.url"));
    let literal = |secret: &SecretText| matches!(secret, SecretText::Literal(_));
    let written = secrets(file).into_iter().filter(|(_, secret)| literal(secret)).map(|(path, _)| path);
    for path in written.chain(url) {
        if !findings.is_from_environment(&path) {
            let fault =
                Fault::new("a secret stands in the configuration itself").hint("write `env:NAME` or `file:PATH`");
            findings.warn("literal-secret", &path, fault, None);
        }
    }
}

/// Every secret, with its place.
fn secrets(file: &ConfigFile) -> Vec<(KeyPath, &SecretText)> {
    let token = file.admin.token.iter().map(|text| (KeyPath::dotted("admin.token"), &text.0));
    let sticky = file.upstreams.iter().filter_map(|(name, upstream)| {
        let BalanceSettings::Table(table) = &upstream.balance else { return None };
        let path = KeyPath::dotted("upstreams").key(name).key("balance").key("sticky").key("secret");
        Some((path, &table.sticky.as_ref()?.secret.as_ref()?.0))
    });
    let redis = file.redis.iter().flat_map(|redis| {
        let passwords = [("password", &redis.password), ("sentinel_password", &redis.sentinel_password)];
        passwords.into_iter().filter_map(|(key, text)| Some((KeyPath::dotted("redis").key(key), &text.as_ref()?.0)))
    });
    token.chain(sticky).chain(redis).collect()
}
