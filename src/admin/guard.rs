//! Who may change something through the operators' listener: whoever has the token, or, where there is none, whoever can
//! reach the loopback address and is no web page.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Desk;
use super::problem::Problem;
use crate::base::secret::Secret;

/// The rule of one gateway.
#[derive(Debug)]
pub struct Guard {
    token: Option<Secret>,
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

/// That the request may change something: an argument of every handler that does.
#[derive(Debug)]
pub struct Allowed;

impl Guard {
    /// The rule for a listener at this address.
    pub fn new(token: Option<Secret>, listen: Option<IpAddr>) -> Self {
        Self { token, loopback: listen.is_some_and(|ip| ip.to_canonical().is_loopback()) }
    }

    /// Whether a request with these fields may change something.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn check(&self, fields: &HeaderMap) -> Result<(), Denied> {
        match &self.token {
            None if !self.loopback => Err(Denied::NoneConfigured),
            // Browsers say where a page comes from with each request of it that could change something.
            None if fields.contains_key(ORIGIN) => Err(Denied::WebPage),
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
}
