//! The order in which routes are matched, which is not the order in which they are written: what is more specific
//! comes first. The router follows it, `tollgate routes` prints it.

use std::cmp::Reverse;

use http::{HeaderName, HeaderValue, Method};

use super::{HostMatch, PathMatch, RouteConfig};

/// A route for one of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Index of the route.
    pub route: usize,
    /// The host; `None` means any.
    pub host: Option<&'a HostMatch>,
}

/// Everything that decides whether a route takes a request, in a form in which equal is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conditions {
    path: PathMatch,
    hosts: Vec<HostMatch>,
    methods: Vec<String>,
    headers: Vec<(String, Vec<u8>)>,
    query: Vec<(String, String)>,
}

/// The routes in the order in which they are matched, once for each host: exact paths before prefixes, longer before
/// shorter, then exact hosts, wildcards (the longest first) and any host, then more conditions on method, headers and
/// query, then the order of writing. The first entry whose conditions hold takes the request.
pub fn entries(routes: &[RouteConfig]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for (route, config) in routes.iter().enumerate() {
        if config.hosts.is_empty() {
            entries.push(Entry { route, host: None });
        }
        entries.extend(config.hosts.iter().map(|host| Entry { route, host: Some(host) }));
    }
    entries.sort_by_cached_key(|entry| {
        let config = &routes[entry.route];
        let (exact, path) = match &config.path {
            PathMatch::Exact(path) => (true, path),
            PathMatch::Prefix(path) => (false, path),
        };
        let conditions = usize::from(!config.methods.is_empty()) + config.headers.len() + config.query.len();
        ((!exact, Reverse(path.len()), path.clone()), host_rank(entry.host), Reverse(conditions), entry.route)
    });
    entries
}

/// The indexes of the routes in the order in which they are matched, each once, where it comes first.
pub fn matching_order(routes: &[RouteConfig]) -> Vec<usize> {
    let mut seen = vec![false; routes.len()];
    let mut order = Vec::with_capacity(routes.len());
    for Entry { route, .. } in entries(routes) {
        if !std::mem::replace(&mut seen[route], true) {
            order.push(route);
        }
    }
    order
}

/// Whether every request that `narrow` takes is one that `wide` takes too.
pub fn covers(wide: &RouteConfig, narrow: &RouteConfig) -> bool {
    let path = match (&wide.path, &narrow.path) {
        (PathMatch::Exact(wide), PathMatch::Exact(narrow)) => wide == narrow,
        (PathMatch::Exact(_), PathMatch::Prefix(_)) => false,
        (PathMatch::Prefix(wide), PathMatch::Exact(narrow) | PathMatch::Prefix(narrow)) => {
            crate::base::path::is_below(narrow, wide)
        }
    };
    let methods = wide.methods.is_empty()
        || !narrow.methods.is_empty() && narrow.methods.iter().all(|method| has_method(wide, method));
    let headers = wide.headers.iter().all(|header| narrow.headers.contains(header));
    let query = wide.query.iter().all(|parameter| narrow.query.contains(parameter));
    path && methods && headers && query
}

/// Whether there is a host that both routes take.
pub fn shares_host(one: &RouteConfig, other: &RouteConfig) -> bool {
    let any = one.hosts.is_empty() || other.hosts.is_empty();
    let meet = |one: &HostMatch| {
        other.hosts.iter().any(|other| covers_host(Some(one), Some(other)) || covers_host(Some(other), Some(one)))
    };
    any || one.hosts.iter().any(meet)
}

/// The conditions of a route.
pub fn conditions(route: &RouteConfig) -> Conditions {
    fn sorted<T: Ord>(list: impl Iterator<Item = T>) -> Vec<T> {
        let mut list: Vec<T> = list.collect();
        list.sort();
        list
    }
    let header = |(name, value): &(HeaderName, HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
    Conditions {
        path: route.path.clone(),
        hosts: sorted(route.hosts.iter().cloned()),
        methods: sorted(route.methods.iter().map(Method::to_string)),
        headers: sorted(route.headers.iter().map(header)),
        query: sorted(route.query.iter().cloned()),
    }
}

/// Whether the pattern takes every host that the other one takes.
pub fn covers_host(wide: Option<&HostMatch>, narrow: Option<&HostMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(HostMatch::Exact(wide)), Some(HostMatch::Exact(narrow))) => wide == narrow,
        (Some(HostMatch::Exact(_)), Some(HostMatch::Wildcard(_))) => false,
        (Some(HostMatch::Wildcard(wide)), Some(HostMatch::Exact(narrow) | HostMatch::Wildcard(narrow))) => {
            narrow.ends_with(wide)
        }
    }
}

fn has_method(route: &RouteConfig, method: &Method) -> bool {
    route.methods.contains(method) || *method == Method::HEAD && route.methods.contains(&Method::GET)
}

fn host_rank(host: Option<&HostMatch>) -> (u8, Reverse<usize>) {
    match host {
        Some(HostMatch::Exact(_)) => (0, Reverse(0)),
        Some(HostMatch::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_text;

    fn order(routes: &str) -> Vec<String> {
        let text = routes.replace("R ", "[[routes]]\nupstream = 'http://u:1'\n").replace("; ", "\n");
        let config = from_text(&text).unwrap().config;
        let order = matching_order(&config.routes);
        order.into_iter().map(|at| config.routes[at].name.clone()).collect()
    }

    #[test]
    fn what_is_more_specific_comes_first() {
        let order = order(
            "R name = 'rest'; prefix = '/'\n\
             R name = 'any'; prefix = '/a'\n\
             R name = 'wild'; prefix = '/a'; hosts = ['*.b.c']\n\
             R name = 'wilder'; prefix = '/a'; hosts = ['*.c']\n\
             R name = 'host'; prefix = '/a'; hosts = ['x.c']\n\
             R name = 'get'; prefix = '/a'; methods = ['GET']\n\
             R name = 'more'; prefix = '/a'; methods = ['POST']; query = { a = '1' }\n\
             R name = 'deep'; prefix = '/a/b'\n\
             R name = 'exact'; path = '/a'\n",
        );
        assert_eq!(order, ["exact", "deep", "host", "wild", "wilder", "more", "get", "any", "rest"]);
    }

    #[test]
    fn a_route_of_several_hosts_has_several_places() {
        let text = "[[routes]]\nprefix='/'\nhosts=['*.org', 'a.com']\nupstream='http://u:1'\n\
                    [[routes]]\nprefix='/'\nhosts=['a.org']\nupstream='http://u:1'\n";
        let config = from_text(text).unwrap().config;
        let routes: Vec<usize> = entries(&config.routes).iter().map(|entry| entry.route).collect();
        assert_eq!(routes, [0, 1, 0]);
    }
}
