//! What a response is stored under: the route, the URL in its one form, and what `vary_by` tells apart. No part can be
//! mistaken for another, whatever is in it.

use http::header::{AUTHORIZATION, FORWARDED, HeaderMap};

use super::policy::Part;
use crate::base::exchange::Exchange;
use crate::base::headers::{X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO};

/// A key: its parts one behind the other, each with its length before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    bytes: Vec<u8>,
    /// Where the URL begins and ends.
    url: std::ops::Range<usize>,
    /// Whether it tells apart who asks.
    pub personal: bool,
}

/// A stored key, read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The route's name.
    pub route: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a [u8],
    /// The canonical host.
    pub host: &'a [u8],
    /// Path and query.
    pub target: &'a [u8],
}

impl Key {
    /// The key of a request, whose target and host are in their one form.
    pub fn of(vary_by: &[Part], headers: &HeaderMap, exchange: &Exchange) -> Self {
        let mut key = Self { bytes: Vec::with_capacity(160), url: 0..0, personal: false };
        key.put(exchange.route.as_deref().unwrap_or_default().as_bytes());
        let begin = key.bytes.len();
        let believed = exchange.origin.trusted && exchange.survey.forwarding;
        key.put(scheme(headers, exchange));
        key.put(exchange.host.as_ref().map(|host| host.as_bytes()).unwrap_or_default());
        key.put(exchange.target.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
        key.url = begin..key.bytes.len();
        let mut all_told = true;
        for part in vary_by {
            let (value, tells) = value(part, headers, exchange);
            all_told &= value.is_some();
            key.personal |= tells && value.is_some();
            key.put_optional(value.as_deref());
        }
        key.personal &= all_told;
        if believed {
            // What a trusted proxy says goes on to the upstream, which may answer by it.
            for name in [X_FORWARDED_HOST, X_FORWARDED_PREFIX] {
                key.put_optional(headers.get(name).map(|value| value.as_bytes()));
            }
            key.put_optional(forwarded(headers).as_deref());
        }
        key
    }

    /// The whole of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The URL alone: whatever is stored under it is void when it changes.
    pub fn url(&self) -> &[u8] {
        &self.bytes[self.url.clone()]
    }

    fn put(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend_from_slice(part);
    }

    fn put_optional(&mut self, part: Option<&[u8]>) {
        self.bytes.push(u8::from(part.is_some()));
        self.put(part.unwrap_or_default());
    }
}

/// The URL of a target on the host of a request, as [`Key::url`] would have it.
pub fn url(scheme: &[u8], host: &[u8], target: &[u8]) -> Vec<u8> {
    let mut key = Key { bytes: Vec::new(), url: 0..0, personal: false };
    key.put(scheme);
    key.put(host);
    key.put(target);
    key.bytes
}

/// The scheme that the client uses, as far as is known.
pub fn scheme<'a>(headers: &'a HeaderMap, exchange: &Exchange) -> &'a [u8] {
    let told =
        (exchange.origin.trusted && exchange.survey.forwarding).then(|| headers.get(X_FORWARDED_PROTO)).flatten();
    match told {
        Some(told) => told.as_bytes(),
        None => exchange.origin.scheme.as_bytes(),
    }
}

/// A part's value, and whether it tells apart who asks.
fn value(part: &Part, headers: &HeaderMap, exchange: &Exchange) -> (Option<Vec<u8>>, bool) {
    match part {
        Part::Subject => (exchange.subject().map(|subject| subject.as_bytes().to_vec()), true),
        Part::Claim(path) => {
            let claim = exchange.identity.as_ref().and_then(|identity| identity.claim(path));
            (claim.map(|claim| claim.to_string().into_bytes()), true)
        }
        Part::Header(name) => {
            let mut lines = headers.get_all(name).iter();
            let first = lines.next().map(|line| line.as_bytes().to_vec());
            let joined = first.map(|first| {
                lines.fold(first, |mut all, line| {
                    all.push(b'\n');
                    all.extend_from_slice(line.as_bytes());
                    all
                })
            });
            // It need not be what has told who it is.
            (joined, *name == AUTHORIZATION && !exchange.is_somebodys())
        }
    }
}

/// `host` and `proto` of the `Forwarded` lines; the addresses in them are nothing to answer by.
fn forwarded(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    for line in headers.get_all(FORWARDED) {
        for pair in line.as_bytes().split(|byte| matches!(byte, b',' | b';')).map(<[u8]>::trim_ascii) {
            let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
            if name.eq_ignore_ascii_case(b"host") || name.eq_ignore_ascii_case(b"proto") {
                said.extend_from_slice(pair);
                said.push(b'\n');
            }
        }
    }
    (!said.is_empty()).then_some(said)
}

/// Reads a key that was stored.
pub fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (route, rest) = part(bytes)?;
    let (scheme, rest) = part(rest)?;
    let (host, rest) = part(rest)?;
    let (target, _) = part(rest)?;
    Some(Parts { route, scheme, host, target })
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// A key of a test.
#[cfg(test)]
pub(super) fn of_test(route: &str, target: &str) -> Key {
    let mut key = Key { bytes: Vec::new(), url: 0..0, personal: false };
    key.put(route.as_bytes());
    let begin = key.bytes.len();
    key.put(b"http");
    key.put(b"h");
    key.put(target.as_bytes());
    key.url = begin..key.bytes.len();
    key
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
