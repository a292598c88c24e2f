//! Who may do what through the operators' listener. Change something: whoever has the token, or, where there is none,
//! whoever can reach the loopback address and is no web page of somebody else's. Read: whoever can reach it, by a name
//! that no stranger can have made (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use super::Desk;
use super::problem::Problem;
use crate::base::secret::Secret;

/// Where a browser says whether a request is from a page of the same origin (W3C Fetch Metadata).
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The rule of one gateway.
#[derive(Debug)]
pub struct Guard {
    token: ArcSwapOption<Secret>,
    loopback: bool,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no token to show, and the listener is open to the network.
    NoneConfigured,
    /// None was shown.
    Missing,
    /// A wrong one was shown.
    Wrong,
    /// A web page asks, in the browser of somebody who can reach the listener.
    WebPage,
}

/// What it takes to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The token.
    Token,
    /// Nothing: only this machine can reach the listener.
    Free,
    /// Nothing will do: there is no token to show, and the listener is open to the network.
    Never,
}

/// That the request may change something: an argument of every handler that does.
#[derive(Debug)]
pub struct Allowed;

impl Guard {
    /// The rule for a listener at this address.
    pub fn new(token: Option<Secret>, listen: Option<IpAddr>) -> Self {
        Self {
            token: ArcSwapOption::from_pointee(token),
            loopback: listen.is_some_and(|ip| ip.to_canonical().is_loopback()),
        }
    }

    /// Another token counts from now on, or none.
    pub fn renew(&self, token: Option<Secret>) {
        self.token.store(token.map(Arc::new));
    }

    /// What it takes to change something.
    pub fn rule(&self) -> Rule {
        match (&*self.token.load(), self.loopback) {
            (Some(_), _) => Rule::Token,
            (None, true) => Rule::Free,
            (None, false) => Rule::Never,
        }
    }

    /// Whether a request is meant for this listener. A page of a stranger's, in a browser on this machine, can give its
    /// own name the address of the loopback; on other addresses names belong to whoever made the network.
    pub fn is_addressed(&self, fields: &HeaderMap) -> bool {
        !self.loopback || fields.get_all(HOST).iter().all(|host| host.to_str().is_ok_and(is_own_name))
    }

    /// Whether a request with these fields may change something.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn check(&self, fields: &HeaderMap) -> Result<(), Denied> {
        match &*self.token.load() {
            None if !self.loopback => Err(Denied::NoneConfigured),
            // Browsers say where a page comes from with each request of it that could change something.
            None if is_foreign(fields) => Err(Denied::WebPage),
            None => Ok(()),
            Some(token) => match fields.get(AUTHORIZATION).and_then(bearer) {
                None => Err(Denied::Missing),
                Some(given) if token.is(given) => Ok(()),
                Some(_) => Err(Denied::Wrong),
            },
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let (status, code, detail, challenge) = match denied {
            Denied::NoneConfigured => {
                let detail = "this listener is open to the network: set `token` in `[admin]`";
                (StatusCode::FORBIDDEN, "no_token", detail, None)
            }
            Denied::WebPage => {
                let detail = "web pages change nothing here without a token in `[admin]`";
                (StatusCode::FORBIDDEN, "web_page", detail, None)
            }
            Denied::Missing => {
                let detail = "send `Authorization: Bearer` and the token of `[admin]`";
                (StatusCode::UNAUTHORIZED, "token_missing", detail, Some("Bearer realm=\"tollgate\""))
            }
            Denied::Wrong => {
                let challenge = "Bearer realm=\"tollgate\", error=\"invalid_token\"";
                (StatusCode::UNAUTHORIZED, "token_invalid", "this is not the token of `[admin]`", Some(challenge))
            }
        };
        Self { challenge, ..Self::new(status, code, detail) }
    }
}

impl FromRequestParts<Arc<Desk>> for Allowed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        desk.guard.check(&parts.headers)?;
        Ok(Self)
    }
}

/// A name that nobody can point here from outside: an address, or one without a dot, which only the machine itself or its
/// own network knows.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    bare.parse::<IpAddr>().is_ok() || !bare.contains('.') || bare.to_ascii_lowercase().ends_with(".localhost")
}

/// Whether a browser sends this for a page that is not the listener's own.
pub fn is_foreign(fields: &HeaderMap) -> bool {
    let text = |name: &str| fields.get(name).map(|value| value.to_str().unwrap_or_default());
    let elsewhere = text(SEC_FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let own = text(HOST.as_str()).filter(|host| is_own_name(host));
    let scheme = |origin: &str| origin.strip_prefix("http://").or(origin.strip_prefix("https://")).map(str::to_owned);
    elsewhere || text(ORIGIN.as_str()).is_some_and(|origin| own.is_none() || scheme(origin).as_deref() != own)
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1); the scheme has no case (RFC 9110 §11.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(guard: &Guard, fields: &[(&'static str, &'static str)]) -> Result<(), Denied> {
        let named = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        guard.check(&fields.iter().map(named).collect())
    }

    #[test]
    fn a_token_is_needed_wherever_there_is_one() {
        for listen in ["127.0.0.1", "10.0.0.1"] {
            let guard = Guard::new(Some(Secret::new("hunter2")), listen.parse().ok());
            assert_eq!(asks(&guard, &[]), Err(Denied::Missing));
            assert_eq!(asks(&guard, &[("authorization", "Basic hunter2")]), Err(Denied::Missing));
            for wrong in ["Bearer hunter3", "Bearer ", "Bearer hunter2 hunter2"] {
                assert_eq!(asks(&guard, &[("authorization", wrong)]), Err(Denied::Wrong), "{wrong}");
            }
            for right in ["Bearer hunter2", "bearer  hunter2"] {
                assert_eq!(asks(&guard, &[("authorization", right), ("origin", "http://a")]), Ok(()), "{right}");
            }
        }
    }

    #[test]
    fn without_a_token_only_loopback_will_do_and_no_web_page() {
        for (listen, may) in
            [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("0.0.0.0", false), ("10.0.0.1", false)]
        {
            let guard = Guard::new(None, listen.parse().ok());
            assert_eq!(asks(&guard, &[]), if may { Ok(()) } else { Err(Denied::NoneConfigured) }, "{listen}");
            assert!(asks(&guard, &[("origin", "http://127.0.0.1:9901")]).is_err(), "{listen}");
        }
        assert_eq!(asks(&Guard::new(None, None), &[]), Err(Denied::NoneConfigured));
    }

    #[test]
    fn the_own_page_may_what_its_reader_may() {
        let guard = Guard::new(None, "127.0.0.1".parse().ok());
        let own = [("host", "127.0.0.1:9901"), ("origin", "http://127.0.0.1:9901")];
        assert_eq!(asks(&guard, &own), Ok(()));
        assert_eq!(asks(&guard, &[own[0], own[1], ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(asks(&guard, &[("host", "localhost:9901"), ("origin", "http://localhost:9901")]), Ok(()));
        for foreign in [
            &[own[0], ("origin", "http://127.0.0.1:8080")][..],
            &[own[0], ("origin", "http://127.0.0.1")],
            &[own[0], ("origin", "null")],
            &[own[0], ("origin", "https://evil.example")],
            &[own[0], ("sec-fetch-site", "cross-site")],
            &[own[0], ("sec-fetch-site", "same-site")],
            // A name that was made to lead here.
            &[("host", "evil.example:9901"), ("origin", "http://evil.example:9901")],
        ] {
            assert_eq!(asks(&guard, foreign), Err(Denied::WebPage), "{foreign:?}");
        }
    }

    #[test]
    fn a_listener_on_loopback_answers_to_names_that_no_stranger_can_have_made() {
        let host = |name: &'static str| [(HOST, HeaderValue::from_static(name))].into_iter().collect::<HeaderMap>();
        let (inside, outside) = (Guard::new(None, "::1".parse().ok()), Guard::new(None, "10.0.0.1".parse().ok()));
        for own in ["127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost", "LOCALHOST:1", "gateway:9901", "a.localhost."]
        {
            assert!(inside.is_addressed(&host(own)), "{own}");
        }
        for strange in
            ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "localhost.evil.example", "a.b:c"]
        {
            assert!(!inside.is_addressed(&host(strange)), "{strange}");
            assert!(outside.is_addressed(&host(strange)), "{strange}");
        }
        assert!(inside.is_addressed(&HeaderMap::new()), "no browser leaves it out");
    }

    #[test]
    fn the_rule_says_what_it_takes() {
        for (token, listen, rule) in [
            (Some("hunter2"), "127.0.0.1", Rule::Token),
            (Some("hunter2"), "10.0.0.1", Rule::Token),
            (None, "127.0.0.1", Rule::Free),
            (None, "10.0.0.1", Rule::Never),
        ] {
            assert_eq!(Guard::new(token.map(Secret::new), listen.parse().ok()).rule(), rule);
        }
    }
}
