//! What the gateway says to the upstream in a request's head. It stands beside the fields that came, which then need not
//! grow: growing and hashing cost some 2,000 instructions a request.

use http::header::{CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE, VIA};

use super::exchange::Exchange;
use super::headers::{
    TRACEPARENT, VIA_US, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, X_REAL_IP,
    X_REQUEST_ID,
};
use super::time_left::X_REQUEST_TIMEOUT;
use super::trace::Trace;

/// The gateway's own fields of one request. Those whose values the exchange knows are not copied.
#[derive(Debug)]
pub struct Added {
    /// The host, in place of any that came; the canonical one of the client where it is none.
    host: Option<HeaderValue>,
    /// The prefix that was taken off.
    pub prefix: Option<HeaderValue>,
    /// The protocol that the client asks to switch to.
    pub upgrade: Option<HeaderValue>,
    /// The time that is left for an answer.
    pub timeout: Option<HeaderValue>,
    proto: bool,
    forwarded_host: bool,
    forwarded: bool,
}

impl Added {
    /// Decides what is said of where the request came from. What an untrusted peer says about that is dropped from the
    /// fields; what a trusted one says stays, and is extended.
    pub fn new(fields: &mut HeaderMap, exchange: &Exchange, host: Option<HeaderValue>) -> Self {
        let (present, trusted) = (exchange.survey.forwarding, exchange.origin.trusted);
        if present && !trusted {
            let all = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PREFIX, FORWARDED, X_REAL_IP];
            for name in all {
                fields.remove(name);
            }
        }
        let believed = |name| present && trusted && fields.contains_key(name);
        Self {
            host,
            prefix: None,
            upgrade: None,
            timeout: None,
            proto: !believed(X_FORWARDED_PROTO),
            forwarded_host: exchange.host.is_some() && !believed(X_FORWARDED_HOST),
            forwarded: believed(FORWARDED),
        }
    }

    /// The host that the upstream is told.
    pub fn host<'a>(&'a self, exchange: &'a Exchange) -> Option<&'a HeaderValue> {
        self.host.as_ref().or(exchange.host.as_ref())
    }

    /// Tells each line behind the fields that came; the host is not among them.
    pub fn each(&self, exchange: &Exchange, mut line: impl FnMut(HeaderName, &HeaderValue)) {
        let peer = exchange.busy.client().peer();
        if let Some(id) = exchange.id.as_ref().filter(|_| !exchange.survey.request_id) {
            line(X_REQUEST_ID, id);
        }
        line(X_FORWARDED_FOR, peer);
        if self.proto {
            line(X_FORWARDED_PROTO, &HeaderValue::from_static(exchange.origin.scheme));
        }
        if let Some(host) = exchange.host.as_ref().filter(|_| self.forwarded_host) {
            line(X_FORWARDED_HOST, host);
        }
        if self.forwarded {
            line(FORWARDED, &forwarded_element(peer, exchange.origin.scheme));
        }
        line(VIA, &VIA_US);
        if let Some(trace) = exchange.trace.as_ref().and_then(Trace::field) {
            line(TRACEPARENT, &trace);
        }
        if let Some(prefix) = &self.prefix {
            line(X_FORWARDED_PREFIX, prefix);
        }
        if let Some(timeout) = &self.timeout {
            line(X_REQUEST_TIMEOUT, timeout);
        }
        if let Some(protocol) = &self.upgrade {
            line(CONNECTION, &HeaderValue::from_static("upgrade"));
            line(UPGRADE, protocol);
        }
    }

    /// Puts the lines to the fields that came.
    pub fn merge(self, exchange: &Exchange, fields: &mut HeaderMap) {
        self.each(exchange, |name, value| {
            fields.append(name, value.clone());
        });
        if let Some(host) = self.host(exchange) {
            fields.insert(HOST, host.clone());
        }
    }
}

/// One element of `Forwarded` (RFC 7239 §4).
fn forwarded_element(peer: &HeaderValue, scheme: &str) -> HeaderValue {
    let peer = peer.to_str().unwrap_or("unknown");
    let text = match peer.contains(':') {
        true => format!("for=\"[{peer}]\";proto={scheme}"),
        false => format!("for={peer};proto={scheme}"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("for=unknown"))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::*;
    use crate::base::client::Client;
    use crate::base::clock;
    use crate::base::exchange::Origin;
    use crate::base::headers::Survey;

    /// The fields that an upstream sees of a request with these, from this peer.
    fn seen(peer: &str, trusted: bool, lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let peer: IpAddr = peer.parse().unwrap();
        let origin = Origin { peer: SocketAddr::new(peer, 1), trusted, scheme: "http", worker: 0 };
        let (head, ()) = http::Request::new(()).into_parts();
        let mut exchange = Exchange::new(origin, Client::new(peer, Vec::new()).begin(false), clock::now(), &head);
        let mut fields: HeaderMap = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        exchange.survey = Survey::of(&fields);
        exchange.host = Some(HeaderValue::from_static("shop.example"));
        exchange.id = Some(HeaderValue::from_static("id-1"));
        let added = Added::new(&mut fields, &exchange, Some(HeaderValue::from_static("backend")));
        added.merge(&exchange, &mut fields);
        fields
    }

    #[test]
    fn fields_replace_what_an_untrusted_peer_says() {
        let fields = seen(
            "9.9.9.9",
            false,
            &[
                ("host", "shop.example"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil"),
                ("x-forwarded-prefix", "/evil"),
                ("forwarded", "for=6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("via", "1.0 before"),
            ],
        );
        assert_eq!(fields.get_all("host").iter().collect::<Vec<_>>(), ["backend"]);
        assert_eq!(fields.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["9.9.9.9"]);
        assert_eq!(fields.get_all("x-forwarded-proto").iter().collect::<Vec<_>>(), ["http"]);
        assert_eq!(fields.get_all("x-forwarded-host").iter().collect::<Vec<_>>(), ["shop.example"]);
        for name in ["forwarded", "x-real-ip", "x-forwarded-prefix"] {
            assert!(!fields.contains_key(name), "{name}");
        }
        assert_eq!(fields.get_all("via").iter().collect::<Vec<_>>(), ["1.0 before", "1.1 tollgate"]);
        assert_eq!(fields["x-request-id"], "id-1");
    }

    #[test]
    fn fields_extend_what_a_trusted_peer_says() {
        let fields = seen(
            "::1",
            true,
            &[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "outer.example"),
                ("forwarded", "for=1.1.1.1"),
            ],
        );
        assert_eq!(fields.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["1.1.1.1", "::1"]);
        assert_eq!(fields.get_all("x-forwarded-proto").iter().collect::<Vec<_>>(), ["https"]);
        assert_eq!(fields.get_all("x-forwarded-host").iter().collect::<Vec<_>>(), ["outer.example"]);
        assert_eq!(fields.get_all("forwarded").iter().nth(1).unwrap(), "for=\"[::1]\";proto=http");
    }
}
