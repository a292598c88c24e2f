//! Cross-origin requests: answers the preflights of browsers, and says on every other answer, refusals included, which page
//! may read it. It keeps nobody out: who has no browser has no use for it.

pub mod policy;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};

use self::policy::{CorsPolicy, Origin};
use super::gate::{Gate, Verdict};
use crate::base::headers::has_token;
use crate::base::reject::Reject;
use crate::base::request::{Outcome, Reply, Request};

/// Fields that only the gateway says on a route with this policy.
const OURS: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];
const VARIES: HeaderValue = HeaderValue::from_static("Origin");

/// The policy of a route, with everything that it says made beforehand.
#[derive(Debug)]
pub struct Cors {
    origins: Vec<Origin>,
    any: bool,
    credentials: bool,
    /// What only a preflight is told.
    preflight: Vec<(HeaderName, HeaderValue)>,
    /// What every other answer says.
    exposed: Option<HeaderValue>,
}

impl Cors {
    /// The policy `policy` on a route that takes these methods; none means any.
    pub fn new(policy: &CorsPolicy, methods: &[Method]) -> Self {
        const SIMPLE: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];
        let methods = match (policy.methods.as_slice(), methods) {
            ([], []) => SIMPLE.to_vec(),
            ([], of_route) => of_route.to_vec(),
            (own, _) => own.to_vec(),
        };
        let mut preflight = Vec::new();
        let names = |names: &[HeaderName]| list(names.iter().map(HeaderName::as_str));
        preflight.extend(list(methods.iter().map(Method::as_str)).map(|list| (ACCESS_CONTROL_ALLOW_METHODS, list)));
        preflight.extend(names(&policy.headers).map(|list| (ACCESS_CONTROL_ALLOW_HEADERS, list)));
        preflight.push((ACCESS_CONTROL_MAX_AGE, HeaderValue::from(policy.max_age.as_secs())));
        Self {
            any: policy.origins.contains(&Origin::Any),
            origins: policy.origins.clone(),
            credentials: policy.credentials,
            preflight,
            exposed: names(&policy.expose_headers),
        }
    }

    /// What is said of the page that asks: whose answer it may be, if it may be any page's but its own origin's.
    fn allowed(&self, fields: &HeaderMap) -> Option<HeaderValue> {
        let mut lines = fields.get_all(ORIGIN).iter();
        let (Some(sent), None) = (lines.next(), lines.next()) else { return None };
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        let text = sent.to_str().ok()?;
        self.origins.iter().any(|origin| origin.covers(text)).then(|| sent.clone())
    }

    fn answer(&self, allowed: Option<HeaderValue>) -> Reply {
        let mut reply = Reply::new(StatusCode::NO_CONTENT);
        if let Some(origin) = allowed {
            reply.head.headers.extend(self.said(origin, &self.preflight));
        }
        reply
    }

    fn said(&self, origin: HeaderValue, more: &[(HeaderName, HeaderValue)]) -> Vec<(HeaderName, HeaderValue)> {
        let mut said = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin)];
        if self.credentials {
            said.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        said.extend_from_slice(more);
        said
    }
}

impl Gate for Cors {
    /// Whose answer an answer may be.
    const NAME: Option<&'static str> = Some("cors");

    type Pass = Option<HeaderValue>;

    fn check(&self, request: &mut Request) -> Result<Option<HeaderValue>, Reject> {
        Ok(self.allowed(&request.head.headers))
    }

    fn look(&self, request: &mut Request) -> Verdict<Option<HeaderValue>> {
        let allowed = self.allowed(&request.head.headers);
        if is_preflight(&request.head) {
            if allowed.is_none() {
                request.exchange.answer.cause = Some("cors: no page of this origin may".into());
            }
            let mut reply = self.answer(allowed);
            reply.head.headers.insert(VARY, VARIES);
            return Verdict::Answer(reply);
        }
        Verdict::Pass(allowed)
    }

    fn finish(&self, allowed: Option<HeaderValue>, outcome: &mut Outcome) {
        let exposed = self.exposed.iter().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names.clone()));
        let said = allowed.map(|origin| self.said(origin, &exposed.collect::<Vec<_>>())).unwrap_or_default();
        match outcome {
            Ok(response) => {
                let fields = &mut response.head.headers;
                for name in OURS {
                    fields.remove(name);
                }
                fields.extend(said);
                let varies = fields.get_all(VARY).iter().any(|line| has_token(line, "origin") || line == "*");
                if !varies {
                    fields.append(VARY, VARIES);
                }
            }
            Err(refused) => {
                refused.reject.fields.extend(said);
                refused.reject.fields.push((VARY, VARIES));
            }
        }
    }
}

/// Whether a browser asks whether it may ask (Fetch, "CORS-preflight request").
pub fn is_preflight(head: &http::request::Parts) -> bool {
    head.method == Method::OPTIONS && head.headers.contains_key(ORIGIN) && requested(head).is_some()
}

/// The method of the request that a preflight is about.
pub fn requested(head: &http::request::Parts) -> Option<Method> {
    let line = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(line.as_bytes()).ok()
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let words: Vec<&str> = words.collect();
    (!words.is_empty()).then(|| HeaderValue::try_from(words.join(", ")).ok())?
}
