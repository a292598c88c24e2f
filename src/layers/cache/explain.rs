//! What a cache has to say to a request, and under what it would keep the answer, for those who ask why. Looks at what is
//! stored and changes nothing.

use std::time::Instant;

use http::Method;
use http::header::CONTENT_LENGTH;
use serde::Serialize;

use super::Cache;
use super::ask::Ask;
use super::decide::{Verdict, decide};
use super::entry::Meta;
use super::invalidation::is_safe;
use super::key::{self, Key};
use super::policy::Part;
use super::status::Forwarded;
use super::store::Found;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;

/// What a cache would do with a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// What becomes of it: `hit`, `stale`, `fetch`, `pass` or `refuse`.
    pub does: &'static str,
    /// The URL that the answer is kept under, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What tells the answers apart that are kept under it, beside what they say in `Vary`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vary_by: Vec<String>,
    /// What is stored under it, where something is that would do for this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// Why, and what may be kept.
    pub says: String,
    /// Whether the upstream is asked for the whole, whatever part or condition the client has asked for.
    #[serde(skip)]
    pub is_made_plain: bool,
}

/// A response that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// Its age, in seconds.
    pub age_seconds: u64,
    /// Seconds that it stays fresh; less than none if it is stale.
    pub ttl_seconds: i64,
    /// Whether it is fresh.
    pub fresh: bool,
}

impl Cache {
    /// What would become of a request; none where the route has no cache. A refusal comes beside it.
    pub fn explain(&self, request: &Request) -> Option<(Explained, Option<Reject>)> {
        let policy = self.policy.as_ref()?;
        let method = &request.head.method;
        let pass = |says: &str| {
            let says = says.to_owned();
            let (vary_by, stored) = Default::default();
            Some((Explained { does: "pass", key: None, vary_by, stored, says, is_made_plain: false }, None))
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return pass(match is_safe(method) {
                true => "only GET and HEAD are answered from it",
                false => "only GET and HEAD are answered from it; what is kept of this URL is void when this succeeds",
            });
        }
        let ask = Ask::of(method, &request.head.headers);
        let survey = &request.exchange.survey;
        let length = (survey.lengths > 0).then(|| request.head.headers.get(CONTENT_LENGTH)).flatten();
        // The body itself is not there to be asked.
        let has_body = survey.codings > 0 || length.is_some_and(|length| length != "0");
        if ask.strange || ask.directives.no_store || has_body {
            return pass("the request has what no key covers, or wants nothing kept: it goes past the cache");
        }
        let key = Key::of(&policy.vary_by, &request.head.headers, &request.exchange);
        let (entry, missing) = match self.store.find(&key, &request.head.headers) {
            Found::Entry(entry) => (Some(entry), Forwarded::Stale),
            Found::Others => (None, Forwarded::VaryMiss),
            Found::Nothing => (None, Forwarded::UriMiss),
        };
        let verdict = decide(&ask, entry.as_ref().map(|entry| &*entry.meta), missing, self.store.now().instant);
        let (does, reject) = match verdict {
            Verdict::Serve => ("hit", None),
            Verdict::ServeStale | Verdict::Refresh => ("stale", None),
            Verdict::Ask(_) => ("fetch", None),
            Verdict::Nowhere => {
                let detail = "no stored response will do, and only one is asked for";
                ("refuse", Some(Reject::new(Reason::NotCached, detail)))
            }
        };
        let personal = key.personal || !(ask.authorized || request.exchange.is_somebodys());
        let explained = Explained {
            does,
            key: key::parts(key.bytes()).map(|parts| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                format!(
                    "{}://{}{} of route {}",
                    text(parts.scheme),
                    text(parts.host),
                    text(parts.target),
                    text(parts.route)
                )
            }),
            vary_by: policy.vary_by.iter().map(named).collect(),
            stored: entry.map(|entry| stored(&entry.meta, self.store.now().instant)),
            says: may_be_kept(&ask, personal).to_owned(),
            is_made_plain: does == "fetch" && ask.conditional && !ask.head && !ask.range,
        };
        Some((explained, reject))
    }
}

fn stored(meta: &Meta, now: Instant) -> Stored {
    Stored {
        status: meta.status.as_u16(),
        age_seconds: meta.age(now).as_secs(),
        ttl_seconds: meta.ttl(now),
        fresh: meta.is_fresh(now),
    }
}

/// What the request says about keeping what answers it.
fn may_be_kept(ask: &Ask, personal: bool) -> &'static str {
    match () {
        () if ask.head => "the answer to HEAD is not kept",
        () if ask.range => "a part is answered from the whole, and not kept by itself",
        () if !personal => {
            "somebody is known to ask: kept only where the answer says public, must-revalidate or s-maxage"
        }
        () => "kept as the answer allows",
    }
}

fn named(part: &Part) -> String {
    match part {
        Part::Subject => "subject".to_owned(),
        Part::Claim(path) => format!("claim {path}"),
        Part::Header(name) => format!("field {name}"),
    }
}
