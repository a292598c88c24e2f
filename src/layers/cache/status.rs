//! `Cache-Status` (RFC 9211): what the cache did, for whoever looks at a response.

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// `Cache-Status`.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went on to the upstream (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// It is none of the cache's business.
    Bypass,
    /// Its method asks for something to be done.
    Method,
    /// Nothing is stored under its URL.
    UriMiss,
    /// What is stored there depends on fields that are others now.
    VaryMiss,
    /// What is stored has to be asked for anew.
    Stale,
    /// The client wanted it to.
    Request,
}

impl Forwarded {
    /// Whether something that may be stored was asked for.
    pub const fn is_miss(self) -> bool {
        !matches!(self, Self::Bypass | Self::Method)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// What the cache did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Why it went on, if it did.
    pub forwarded: Option<Forwarded>,
    /// What the upstream said, where the client hears something else.
    pub status: Option<u16>,
    /// Whether the response is being kept.
    pub stored: bool,
    /// Whether another request had asked for it.
    pub collapsed: bool,
    /// Seconds that it stays fresh; less than none if it is stale.
    pub ttl: Option<i64>,
}

impl Told {
    /// Answered from the store.
    pub fn hit(ttl: i64) -> Self {
        Self { forwarded: None, status: None, stored: false, collapsed: false, ttl: Some(ttl) }
    }

    /// Answered by the upstream.
    pub fn forwarded(why: Forwarded) -> Self {
        Self { forwarded: Some(why), status: None, stored: false, collapsed: false, ttl: None }
    }

    /// As the last member of the list.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.append(CACHE_STATUS, self.value());
    }

    /// As a field.
    pub fn value(self) -> HeaderValue {
        HeaderValue::try_from(self.text()).unwrap_or(HeaderValue::from_static("tollgate"))
    }

    fn text(self) -> String {
        let mut text = String::with_capacity(48);
        text.push_str("tollgate; ");
        match self.forwarded {
            None => text.push_str("hit"),
            Some(why) => {
                text.push_str("fwd=");
                text.push_str(why.as_str());
            }
        }
        if let Some(status) = self.status {
            let _ = write!(text, "; fwd-status={status}");
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        text
    }
}

/// Whole seconds until a response of this age is not fresh any more.
pub fn ttl(fresh: Duration, age: Duration) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    seconds(fresh) - seconds(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_happened() {
        assert_eq!(Told::hit(12).text(), "tollgate; hit; ttl=12");
        let missed = Told { stored: true, ttl: Some(60), ..Told::forwarded(Forwarded::UriMiss) };
        assert_eq!(missed.text(), "tollgate; fwd=uri-miss; stored; ttl=60");
        let asked = Told { status: Some(304), collapsed: true, ..Told::forwarded(Forwarded::Stale) };
        assert_eq!(asked.text(), "tollgate; fwd=stale; fwd-status=304; collapsed");
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("inner; hit"));
        Told::forwarded(Forwarded::Bypass).write(&mut headers);
        assert_eq!(headers.get_all(CACHE_STATUS).iter().collect::<Vec<_>>(), ["inner; hit", "tollgate; fwd=bypass"]);
    }
}
