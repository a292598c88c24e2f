//! `[[routes]]`: each has one path and one upstream, a name of its own, and differs from every other.

mod names;

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;

use super::upstream::Upstreams;
use crate::config::file::{ConfigFile, RouteSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{Fault, Target, Text, did_you_mean};
use crate::config::{EncodedSlashes, PathMatch, RouteConfig, order};
use crate::layers::rate_limit::policy::LimitPolicy;
use crate::upstream::policy::UpstreamPolicy;

/// Checks the routes and adds the inline upstreams; a route that cannot be used is left out.
pub(super) fn routes(
    file: &ConfigFile,
    upstreams: &mut Upstreams,
    limits: &[Arc<LimitPolicy>],
    findings: &mut Findings,
) -> Vec<RouteConfig> {
    let mut names = names::Names::of(&file.routes, findings);
    let mut checked: Vec<(usize, RouteConfig)> = Vec::new();
    for (at, settings) in file.routes.iter().enumerate() {
        let place = path_of(at);
        let path = path(settings, &place, findings);
        let upstream = upstream(settings, &place.key("upstream"), file, upstreams, findings);
        let headers = headers(settings, &place.key("headers"), findings);
        if let (Some(path), Some(upstream)) = (path, upstream) {
            let written = settings.name.as_ref().map(|name| name.0.0.clone());
            let name = written.unwrap_or_else(|| names.make(at, &path));
            let mut route = route(settings, name, path, upstream, file.server.max_body.0.0);
            route.headers = headers;
            route.cors = settings.cors.as_ref().map(|cors| super::cors::cors(cors, &place.key("cors"), findings));
            route.auth =
                settings.auth.as_ref().map(|auth| super::auth::route(auth, &place.key("auth"), file, findings));
            route.cache = super::cache::route(settings, &place.key("cache"), findings);
            if let Some(written) = &settings.rate_limit {
                route.rate_limits = super::limit::route(written, &place.key("rate_limit"), file, limits, findings);
            }
            checked.push((at, route));
        }
    }
    guard_hosts_with_auth(file, &mut checked);
    report_identical(&checked, findings);
    checked.into_iter().map(|(_, route)| route).collect()
}

/// Where the route is written.
fn path_of(index: usize) -> KeyPath {
    KeyPath::dotted("routes").index(index)
}

fn route(settings: &RouteSettings, name: String, path: PathMatch, upstream: String, max_body: u64) -> RouteConfig {
    let changes_path = settings.strip_prefix || settings.rewrite.is_some();
    let default = match changes_path {
        true => EncodedSlashes::Reject,
        false => EncodedSlashes::Allow,
    };
    RouteConfig {
        name,
        path,
        hosts: distinct(&settings.hosts),
        methods: distinct(&settings.methods),
        headers: Vec::new(),
        query: settings.query.clone().into_iter().collect(),
        upstream,
        strip_prefix: settings.strip_prefix,
        rewrite: settings.rewrite.as_ref().map(|rewrite| rewrite.0.0.clone()),
        encoded_slashes: settings.encoded_slashes.as_ref().map_or(default, |choice| choice.0),
        timeout: settings.timeout.0,
        max_body: settings.max_body.as_ref().map_or(max_body, |size| size.0.0),
        max_in_flight: settings.max_in_flight,
        allow_ips: distinct(&settings.allow_ips),
        deny_ips: distinct(&settings.deny_ips),
        auth: None,
        cache: None,
        cors: None,
        rate_limits: Vec::new(),
    }
}

/// Where a path decides who may pass, no path may have two spellings: not even on routes where anybody may, or
/// `/x%2Fadmin` would be a way around the auth of `/x/admin`, or around its lists of addresses.
fn guard_hosts_with_auth(file: &ConfigFile, routes: &mut [(usize, RouteConfig)]) {
    let asking: Vec<RouteConfig> =
        routes.iter().filter(|(_, route)| route.is_guarded()).map(|(_, route)| route.clone()).collect();
    for (at, route) in routes {
        if file.routes[*at].encoded_slashes.is_none() && asking.iter().any(|other| order::shares_host(route, other)) {
            route.encoded_slashes = EncodedSlashes::Reject;
        }
    }
}

fn path(settings: &RouteSettings, place: &KeyPath, findings: &mut Findings) -> Option<PathMatch> {
    let (prefix, exact) = (place.key("prefix"), place.key("path"));
    match (&settings.prefix, &settings.path) {
        (Some(_), Some(_)) => {
            let fault = Fault::new("a route has `prefix` or `path`, not both").hint("leave one of them out");
            findings.clash(&exact, fault, &prefix, "the other one");
            None
        }
        (Some(written), None) => Some(PathMatch::Prefix(written.0.0.clone())),
        (None, Some(written)) => {
            if settings.strip_prefix {
                let fault =
                    Fault::new("there is no prefix to strip").hint("use `rewrite`, or `prefix` instead of `path`");
                findings.clash(&place.key("strip_prefix"), fault, &exact, "the whole path");
            }
            Some(PathMatch::Exact(written.0.0.clone()))
        }
        (None, None) => {
            if !findings.is_broken(&prefix) && !findings.is_broken(&exact) {
                findings.value(place, Fault::new("the route has no path").hint("`prefix = \"/\"` takes every request"));
            }
            None
        }
    }
}

/// The name of the upstream; an inline one is added where it is not there yet.
fn upstream(
    settings: &RouteSettings,
    place: &KeyPath,
    file: &ConfigFile,
    upstreams: &mut Upstreams,
    findings: &mut Findings,
) -> Option<String> {
    match settings.upstream.as_ref().map(|text| &text.0) {
        None => {
            let fault = Fault::new("the route has no upstream");
            findings.value(place, fault.hint("add `upstream = \"http://host:port\"`, or the name of one"));
            None
        }
        Some(Target::Named(name)) => {
            let table = KeyPath::dotted("upstreams").key(name);
            if !file.upstreams.contains_key(name) && !findings.is_broken(&table) {
                findings.value(place, unknown_upstream(name, file));
            }
            Some(name.clone())
        }
        Some(Target::Inline(authority)) => {
            let name = authority.name();
            let inline = UpstreamPolicy::new(name.clone(), authority.discovery());
            let known = upstreams.entry(name.clone()).or_insert_with(|| Arc::new(inline.clone()));
            if known.discovery != inline.discovery {
                let fault = Fault::new(format!("the upstream `{name}` leads elsewhere"));
                let table = KeyPath::dotted("upstreams").key(&name);
                findings.clash(place, fault.hint("give the table another name"), &table, "the upstream of this name");
            }
            Some(name)
        }
    }
}

fn unknown_upstream(name: &str, file: &ConfigFile) -> Fault {
    let known = file.upstreams.keys().map(String::as_str);
    let hint = did_you_mean(name, known).unwrap_or_else(|| match name.contains([':', '.']) {
        true => format!("a host is written as `http://{name}`"),
        false => format!("add a table `[upstreams.{name}]`"),
    });
    Fault::new(format!("no upstream is named `{name}`")).hint(hint)
}

fn headers(settings: &RouteSettings, place: &KeyPath, findings: &mut Findings) -> Vec<(HeaderName, http::HeaderValue)> {
    let mut checked: Vec<(HeaderName, http::HeaderValue)> = Vec::new();
    for (written, value) in &settings.headers {
        // The walk has refused what is not a name.
        let Ok(name) = written.parse::<HeaderName>() else {
            continue;
        };
        if checked.iter().any(|(earlier, _)| *earlier == name) {
            findings.key(&place.key(written), Fault::new(format!("the field `{name}` is listed twice")));
        }
        checked.push((name, value.0.clone()));
    }
    checked
}

/// The values without repetitions, in order.
pub(super) fn distinct<T: Clone + PartialEq>(list: &[Text<T>]) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(list.len());
    for Text(value) in list {
        if !kept.contains(value) {
            kept.push(value.clone());
        }
    }
    kept
}

/// Of two routes that take the same requests, one would never be reached.
fn report_identical(routes: &[(usize, RouteConfig)], findings: &mut Findings) {
    let mut seen = HashMap::new();
    for (at, route) in routes {
        let conditions = ["hosts", "methods", "headers", "query"];
        if conditions.iter().any(|key| findings.is_broken(&path_of(*at).key(key))) {
            continue;
        }
        if let Some(first) = seen.insert(order::conditions(route), *at) {
            let fault = Fault::new("the route takes the same requests as another one")
                .hint("take one away, or tell them apart by `hosts`, `methods`, `headers` or `query`");
            findings.clash(&path_of(*at), fault, &path_of(first), "the other one");
            seen.insert(order::conditions(route), first);
        }
    }
}
