//! Refuses paths that a backend may read in another way than the gateway does. Escaped slashes and backslashes and double
//! escapes: by default only where the gateway's own reading decides something, since some applications need them.
//! Parameters of segments (`/admin;x`): only where without them the path would be one that not everybody may use, for
//! that is how some backends read it.

use super::gate::Gate;
use crate::base::path;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;

/// The policy of a route.
#[derive(Debug)]
pub struct PathGuard {
    /// Whether escaped slashes and the like are refused.
    pub ambiguous: bool,
    /// Paths of other routes that not everybody may use.
    pub kept: Vec<Kept>,
}

/// Paths that not everybody may use, canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// This one and those below it.
    Prefix(String),
    /// This one alone.
    Exact(String),
}

impl Gate for PathGuard {
    const NAME: Option<&'static str> = Some("path_guard");

    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        if self.ambiguous && request.exchange.ambiguous_path {
            let detail = "the path has an escaped slash or backslash, or a double escape; \
                          this route does not take them (encoded_slashes)";
            return Err(Reject::new(Reason::BadRequest, detail));
        }
        let path = request.head.uri.path();
        if !self.kept.is_empty() && self.leads_in(path) {
            let detail = "without its parameters (`;`) the path would be one that not everybody may use";
            return Err(Reject::new(Reason::BadRequest, detail));
        }
        Ok(())
    }
}

impl PathGuard {
    /// Whether a path is a kept one for somebody who does not see its parameters, and none for us.
    fn leads_in(&self, path: &str) -> bool {
        if !path.contains(';') && !path.contains("%3B") {
            return false;
        }
        let bare = without_parameters(path);
        self.kept.iter().any(|kept| kept.covers(&bare) && !kept.covers(path))
    }
}

impl Kept {
    fn covers(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => path::is_below(path, prefix),
            Self::Exact(exact) => exact == path,
        }
    }
}

/// A path as those read it who take what stands behind a semicolon for a parameter of its segment (RFC 3986 §3.3), and
/// empty segments for none.
fn without_parameters(path: &str) -> String {
    let bare = |segment: &'_ str| {
        let end = segment.find(';').into_iter().chain(segment.find("%3B")).min();
        segment[..end.unwrap_or(segment.len())].to_owned()
    };
    let full: Vec<String> = path.split('/').map(bare).filter(|segment| !segment.is_empty()).collect();
    let end = if path.ends_with('/') && !full.is_empty() { "/" } else { "" };
    format!("/{}{end}", full.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lead_nowhere_that_not_everybody_may_go() {
        let guard = PathGuard {
            ambiguous: false,
            kept: vec![Kept::Prefix("/admin".to_owned()), Kept::Exact("/a/b".to_owned())],
        };
        for path in [
            "/admin;x",
            "/admin;x/users",
            "/admin;/users",
            "/admin%3Bx/users",
            "/;x/admin",
            "/;x/admin;y=1/users",
            "/a/b;x",
            "/a;x/b",
            "/a;x;y/b",
        ] {
            assert!(guard.leads_in(path), "{path}");
        }
        for path in
            ["/", "/admin", "/admin/users;x", "/administrator;x", "/shop;x", "/a/b", "/a/b/c;x", "/a/;x/c", "/x;admin"]
        {
            assert!(!guard.leads_in(path), "{path}");
        }
    }
}
