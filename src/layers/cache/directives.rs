//! `Cache-Control` of requests and responses (RFC 9111 §5.2): what is written there, nothing of what follows from it.
//! Lenient where a slip harms nobody, strict where it does: freshness that cannot be read is none.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName};

use super::structured::{self, Item};

/// `CDN-Cache-Control` (RFC 9213 §3.1): it speaks to us, and then `Cache-Control` and `Expires` do not.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// What a response says to caches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// Keep nothing.
    pub no_store: bool,
    /// Ask the origin before each use.
    pub no_cache: bool,
    /// For one user; not for a cache that others share.
    pub private: bool,
    /// For everybody, also where a rule would say otherwise.
    pub public: bool,
    /// Never stale.
    pub must_revalidate: bool,
    /// Never stale in a shared cache.
    pub proxy_revalidate: bool,
    /// `no_store` does not count for a cache that knows the status.
    pub must_understand: bool,
    /// Seconds of freshness.
    pub max_age: Option<u64>,
    /// Seconds of freshness in a shared cache.
    pub s_maxage: Option<u64>,
    /// Seconds for which it may serve while it is asked for anew (RFC 5861 §3).
    pub stale_while_revalidate: Option<u64>,
    /// Seconds for which it may serve when that fails (RFC 5861 §4).
    pub stale_if_error: Option<u64>,
    /// Fields that are not to be reused, while the rest is.
    pub withheld: Vec<HeaderName>,
    /// They come from a targeted field, so that `Expires` does not count.
    pub targeted: bool,
}

/// What a request says to caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Keep nothing of this.
    pub no_store: bool,
    /// Ask the origin first.
    pub no_cache: bool,
    /// Do not ask the origin.
    pub only_if_cached: bool,
    /// Seconds that the answer may be old.
    pub max_age: Option<u64>,
    /// Seconds that it must stay fresh.
    pub min_fresh: Option<u64>,
    /// Seconds that it may be stale.
    pub max_stale: Option<u64>,
}

impl ResponseDirectives {
    /// Those that count: of the targeted field if it is there and valid, else of `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::targeted(headers).unwrap_or_else(|| {
            let mut directives = Self::default();
            each(headers, |name, value| directives.take(name, value));
            directives
        })
    }

    fn take(&mut self, name: &[u8], value: Value<'_>) {
        match name.to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache |= !self.withhold(value),
            b"private" => self.private |= !self.withhold(value),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            // Said twice, the first one counts (RFC 9111 §4.2.1); what cannot be read is no freshness.
            b"max-age" => self.max_age = self.max_age.or(Some(value.seconds().unwrap_or(0))),
            b"s-maxage" => self.s_maxage = self.s_maxage.or(Some(value.seconds().unwrap_or(0))),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or(Some(value.seconds().unwrap_or(0)));
            }
            b"stale-if-error" => self.stale_if_error = self.stale_if_error.or(Some(value.seconds().unwrap_or(0))),
            _ => {}
        }
    }

    /// The fields that `no-cache` or `private` name; false where they name none, and so mean the whole response.
    fn withhold(&mut self, value: Value<'_>) -> bool {
        let Value::Text(text) = value else { return false };
        let names = text.split(|byte| matches!(byte, b',' | b' ' | b'\t')).filter(|name| !name.is_empty());
        let before = self.withheld.len();
        for name in names {
            match HeaderName::from_bytes(name) {
                Ok(name) => self.withheld.push(name),
                // What is meant cannot be told, so all of it is.
                Err(_) => return false,
            }
        }
        self.withheld.len() > before
    }

    /// Those of the targeted field, where it is valid and not empty (RFC 9213 §2.2).
    fn targeted(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CDN_CACHE_CONTROL).iter();
        let mut text = lines.next()?.as_bytes().to_vec();
        for line in lines {
            text.extend_from_slice(b", ");
            text.extend_from_slice(line.as_bytes());
        }
        let members = structured::dictionary(&text)?;
        let mut directives = Self { targeted: true, ..Self::default() };
        for (name, item) in &members {
            let (flag, seconds) = match item {
                Item::Boolean(flag) => (Some(*flag), None),
                Item::Integer(number) => (None, Some(u64::try_from(*number).unwrap_or(0))),
                Item::Other => (None, None),
            };
            match name.as_str() {
                "no-store" => directives.no_store = flag?,
                "no-cache" => directives.no_cache = flag?,
                "private" => directives.private = flag?,
                "public" => directives.public = flag?,
                "must-revalidate" => directives.must_revalidate = flag?,
                "proxy-revalidate" => directives.proxy_revalidate = flag?,
                "must-understand" => directives.must_understand = flag?,
                "max-age" => directives.max_age = Some(seconds?),
                "s-maxage" => directives.s_maxage = Some(seconds?),
                "stale-while-revalidate" => directives.stale_while_revalidate = Some(seconds?),
                "stale-if-error" => directives.stale_if_error = Some(seconds?),
                _ => {}
            }
        }
        (!members.is_empty()).then_some(directives)
    }
}

impl RequestDirectives {
    /// Those of a request's `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        each(headers, |name, value| match name.to_ascii_lowercase().as_slice() {
            b"no-store" => directives.no_store = true,
            b"no-cache" => directives.no_cache = true,
            b"only-if-cached" => directives.only_if_cached = true,
            b"max-age" => directives.max_age = Some(value.seconds().unwrap_or(0)),
            b"min-fresh" => directives.min_fresh = value.seconds(),
            b"max-stale" => {
                directives.max_stale = if value == Value::None { Some(u64::MAX) } else { value.seconds() };
            }
            _ => {}
        });
        directives
    }

    /// Whether the client says how old, or how fresh, the answer must be.
    pub fn asks_for_freshness(&self) -> bool {
        self.no_cache || self.max_age.is_some() || self.min_fresh.is_some()
    }
}

/// What stands behind a directive's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    None,
    /// A token, or what stands in quotes.
    Text(&'a [u8]),
    /// Something that is neither.
    Malformed,
}

impl Value<'_> {
    /// Delta-seconds (RFC 9111 §1.2.2); more than can be counted is the most that can.
    fn seconds(self) -> Option<u64> {
        let Self::Text(text) = self else { return None };
        seconds(text)
    }
}

/// A number of seconds: digits and nothing else. More than 31 bits hold count as that many (RFC 9111 §1.2.2).
pub fn seconds(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = |text: &[u8]| text.iter().fold(0_u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(1 << 31));
    digits.then(|| number(text))
}

/// Calls `take` for each directive of all lines.
fn each(headers: &HeaderMap, mut take: impl FnMut(&[u8], Value<'_>)) {
    for line in headers.get_all(CACHE_CONTROL) {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let (directive, after) = rest.split_at(end_of_element(rest));
            rest = after.get(1..).unwrap_or_default();
            let directive = directive.trim_ascii();
            let at = directive.iter().position(|&byte| byte == b'=');
            match at {
                None => take(directive, Value::None),
                Some(at) => take(directive[..at].trim_ascii_end(), value(&directive[at + 1..], &directive[..at])),
            }
        }
    }
}

/// The comma that ends the first element of a list, or the end.
fn end_of_element(list: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}

fn value<'a>(text: &'a [u8], name: &[u8]) -> Value<'a> {
    let spaced = name.ends_with(b" ") || name.ends_with(b"\t") || text.starts_with(b" ") || text.starts_with(b"\t");
    match text {
        _ if spaced => Value::Malformed,
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Value::Text(inner.trim_ascii()),
        [b'"', ..] | [] => Value::Malformed,
        token => Value::Text(token),
    }
}

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
