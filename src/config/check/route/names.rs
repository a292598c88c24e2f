//! The names of routes: those that are written, and for the rest one made from the path, each of them once.

use std::collections::HashMap;

use super::path_of;
use crate::config::PathMatch;
use crate::config::file::RouteSettings;
use crate::config::findings::Findings;
use crate::config::text::{Fault, Label, Syntax};

/// The longest label.
const LONGEST: usize = 64;

/// Names that are taken, by whom.
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// Takes the names that are written; they come before those that are made.
    pub(super) fn of(routes: &[RouteSettings], findings: &mut Findings) -> Self {
        let mut taken = HashMap::new();
        for (at, route) in routes.iter().enumerate() {
            let Some(name) = &route.name else { continue };
            if let Some(first) = taken.get(&name.0.0) {
                let fault = Fault::new(format!("two routes are named `{}`", name.0.0));
                findings.clash(&path_of(at).key("name"), fault, &path_of(*first).key("name"), "the other one");
            } else {
                taken.insert(name.0.0.clone(), at);
            }
        }
        Self(taken)
    }

    /// A name made from the path of this route.
    pub(super) fn make(&mut self, route: usize, path: &PathMatch) -> String {
        let base = from_path(path);
        let mut name = base.clone();
        let mut count = 1;
        while self.0.contains_key(&name) || Label::parse(&name).is_err() {
            count += 1;
            let suffix = format!("_{count}");
            name = format!("{}{suffix}", &base[..base.len().min(LONGEST - suffix.len())]);
        }
        self.0.insert(name.clone(), route);
        name
    }
}

/// `/orders` is `orders`, `/a/b` is `a_b`, `/` is `root`. ASCII, at most as long as a label.
fn from_path(path: &PathMatch) -> String {
    let (PathMatch::Prefix(text) | PathMatch::Exact(text)) = path;
    let of_a_label = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }
    };
    let name: String = text.trim_matches('/').chars().map(of_a_label).take(LONGEST).collect();
    match name.is_empty() {
        true => "root".to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths_and_are_unique() {
        let mut names = Names(HashMap::new());
        let mut make = |route, path: &str| names.make(route, &PathMatch::Prefix(path.to_owned()));
        assert_eq!(make(0, "/orders"), "orders");
        assert_eq!(make(1, "/orders"), "orders_2");
        assert_eq!(make(2, "/a/b%20c"), "a_b_20c");
        assert_eq!(make(3, "/"), "root");
        assert_eq!(make(4, "/none"), "none_2");
        let long = format!("/{}", "x".repeat(100));
        assert_eq!(make(5, &long).len(), 64);
        assert!(make(6, &long).ends_with("x_2"));
    }
}
