//! What a request looks like to the upstream: its path, its host, and the fields that say who asked. Decided by the
//! route, applied to each request once, before its first try.

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Uri, Version};

use super::policy::HostHeader;
use crate::base::added::Added;
use crate::base::exchange::Exchange;
use crate::base::headers::{self, X_FORWARDED_PREFIX};
use crate::base::path;

/// How a route changes its requests.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The prefix to take off.
    pub strip_prefix: Option<String>,
    /// The new path; `{path}` stands for what is left.
    pub template: Option<String>,
}

impl Rewrite {
    /// Turns the client's head into the upstream's, and tells what is to be added to it.
    pub fn apply(&self, head: &mut Parts, exchange: &Exchange, host: &HostHeader, own_name: &HeaderValue) -> Added {
        let survey = &exchange.survey;
        let fields = &mut head.headers;
        // HTTP/1.0 cannot switch protocols (RFC 9110 §7.8), and HTTP/2 has no such fields.
        let may_upgrade = survey.hop_by_hop.any() && head.version == Version::HTTP_11;
        let upgrade = may_upgrade.then(|| headers::requested_upgrade(fields)).flatten();
        headers::remove_surveyed(fields, survey);
        if survey.codings > 0 {
            fields.remove(CONTENT_LENGTH);
        }
        if head.version == Version::HTTP_2 {
            headers::join_cookies(fields);
        }
        let host = match host {
            HostHeader::Client if exchange.host.is_some() => None,
            HostHeader::Client | HostHeader::Upstream => Some(own_name),
            HostHeader::Fixed(value) => Some(value),
        };
        let mut added = Added::new(fields, exchange, host.cloned());
        added.upgrade = upgrade;
        if let Some(prefix) = self.strip_prefix.as_deref() {
            added.prefix = HeaderValue::from_str(prefix).ok();
            if survey.forwarding {
                fields.remove(X_FORWARDED_PREFIX);
            }
        }
        self.set_target(head);
        head.version = Version::HTTP_11;
        added
    }

    fn set_target(&self, head: &mut Parts) {
        let changed = self.path(head.uri.path());
        let Some(path) = changed else { return };
        let target = match head.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        // A canonical path in a checked template is a path; were it not, the request would go on unchanged.
        if let Ok(target) = PathAndQuery::try_from(target) {
            head.uri = Uri::from(target);
        }
    }

    /// The new path, where it is another.
    fn path(&self, original: &str) -> Option<String> {
        let stripped = self.strip_prefix.as_deref().map_or(original, |prefix| path::strip(original, prefix));
        match &self.template {
            Some(template) => Some(collapse(&template.replace("{path}", stripped))),
            None => (stripped.len() != original.len()).then(|| stripped.to_owned()),
        }
    }
}

/// `/v2{path}` and `/v2/{path}` both mean `/v2/orders`.
fn collapse(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !out.ends_with('/') {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_stripped_and_rewritten_on_segment_boundaries() {
        for (strip, template, original, expected) in [
            (None, None, "/orders/1", None),
            (Some("/orders"), None, "/orders/1", Some("/1")),
            (Some("/orders"), None, "/orders", Some("/")),
            (Some("/"), None, "/orders", None),
            (None, Some("/v2{path}"), "/orders", Some("/v2/orders")),
            (None, Some("/v2/{path}"), "/orders/", Some("/v2/orders/")),
            (Some("/orders"), Some("/v2{path}"), "/orders/1", Some("/v2/1")),
            (None, Some("/fixed"), "/anything", Some("/fixed")),
        ] {
            let rewrite = Rewrite { strip_prefix: strip.map(Into::into), template: template.map(Into::into) };
            assert_eq!(rewrite.path(original).as_deref(), expected, "{original}");
        }
    }
}
