//! Which route takes a request, and why the others do not. The router and the mount are asked; what they say is put into
//! words here.

use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt;
use http::request::Parts;
use tower::Service;

use super::Candidate;
use crate::base::reject::Reject;
use crate::config::order::matching_order;
use crate::config::text::Syntax;
use crate::config::{HostMatch, RouteConfig};
use crate::runtime::build::takes;
use crate::runtime::mount::{Condition, Inquiry, Route};
use crate::runtime::snapshot::Snapshot;

/// What the router and the mount say.
pub(super) struct Found {
    /// The route that takes the request.
    pub(super) chosen: Result<Option<Arc<Route>>, Reject>,
    /// The routes whose path takes it.
    pub(super) candidates: Vec<Candidate>,
    /// The number of the others.
    pub(super) others: usize,
}

pub(super) fn find(snapshot: &Snapshot, host: &str, head: &Parts) -> Found {
    let inquiry = Inquiry::default();
    let mut request = http::Request::from_parts(head.clone(), Body::empty());
    request.extensions_mut().insert(inquiry.clone());
    // A mount answers while it is called, so there is nothing to wait for.
    let _ = snapshot.router(host).clone().call(request).now_or_never();
    let mounted: &[Arc<Route>] = inquiry.answer().map(|mount| mount.routes()).unwrap_or_default();
    let chosen = inquiry.answer().map_or(Ok(None), |mount| mount.choose(head).map(|route| route.cloned()));
    let taken = chosen.as_ref().ok().and_then(Option::as_ref);
    let routes = &snapshot.config().routes;
    let path = head.uri.path();
    let mut candidates = Vec::new();
    for config in matching_order(routes).into_iter().map(|at| &routes[at]).filter(|route| takes(&route.path, path)) {
        let here = mounted.iter().find(|route| *route.name == *config.name);
        let (takes, why) = match here {
            None => (false, Some(other_host(config, host))),
            Some(route) if taken.is_some_and(|taken| Arc::ptr_eq(taken, route)) => (true, None),
            Some(route) => (false, Some(passed_over(route, taken, head))),
        };
        candidates.push(Candidate { route: config.name.clone(), takes, why });
    }
    // A route of several hosts stands where its most specific one does, which may not be the one that counts here.
    candidates.sort_by_key(|candidate| {
        mounted.iter().position(|route| *route.name == *candidate.route).unwrap_or(usize::MAX)
    });
    let others = routes.len() - candidates.len();
    Found { chosen, candidates, others }
}

fn other_host(route: &RouteConfig, host: &str) -> String {
    let hosts: Vec<String> = route.hosts.iter().map(HostMatch::print).collect();
    let matches = route.hosts.iter().any(|pattern| match pattern {
        HostMatch::Exact(name) => name == host,
        HostMatch::Wildcard(suffix) => host.ends_with(suffix.as_str()),
    });
    match matches {
        true => format!("routes for a more specific host than {} come first", hosts.join(", ")),
        false => format!("the host is not {}", hosts.join(" or ")),
    }
}

fn passed_over(route: &Route, taken: Option<&Arc<Route>>, head: &Parts) -> String {
    match (route.unmet(head), taken) {
        (Some(Condition::Header(name, value)), _) => {
            format!("there is no field `{name}: {}`", String::from_utf8_lossy(value.as_bytes()))
        }
        (Some(Condition::Query(name, value)), _) => format!("there is no parameter `{name}={value}`"),
        (None, _) if !route.takes_method(&head.method) => {
            let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
            format!("the method is not {}", methods.join(" or "))
        }
        (None, Some(taken)) => format!("not asked: {} comes first", taken.name),
        (None, None) => "not asked: a more specific path takes other methods".to_owned(),
    }
}
