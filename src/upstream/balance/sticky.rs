//! `{ sticky = … }`: the same address for the same client, by a cookie. The cookie does not say which address it means:
//! it holds a keyed digest of it, the time, and a signature over both (HMAC-SHA256). What somebody else made, or what is
//! too old, is no cookie. Every gateway with the same secret understands it, before and after a restart.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::base::cookies;
use crate::base::exchange::Exchange;
use crate::base::headers::X_FORWARDED_PROTO;
use crate::upstream::policy::StickyPolicy;

/// Bytes of a digest that a cookie carries: nobody guesses half of a SHA-256 either.
const LENGTH: usize = 16;

/// What stands for an address in a cookie.
pub(super) type Tag = [u8; LENGTH];

/// What a process makes cookies with: a key for those who configure none, and the time of day.
#[derive(Clone)]
pub struct Sessions {
    key: hmac::Key,
    /// A moment, and how long after the Unix epoch it was.
    anchor: (Instant, Duration),
}

/// Makes and reads the cookies of an upstream.
#[derive(Clone)]
pub(super) struct Sticky {
    /// Tells apart who made a tag: another configuration may have another key.
    pub(super) id: u64,
    cookie: String,
    max_age: Duration,
    upstream: String,
    key: hmac::Key,
    anchor: (Instant, Duration),
}

/// What a client brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The address that it belongs to, as the cookie says it; `None` without a good cookie.
    pub(super) tag: Option<Tag>,
    /// Whether the cookie is so young that it need not be made anew.
    young: bool,
    /// Whether the client came over TLS.
    secure: bool,
}

impl Session {
    /// Whether the client has brought a good cookie.
    pub fn is_known(&self) -> bool {
        self.tag.is_some()
    }
}

impl Sessions {
    /// With a key that nobody knows.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(anchor: (Instant, Duration)) -> Result<Self, Unspecified> {
        Ok(Self { key: hmac::Key::generate(HMAC_SHA256, &SystemRandom::new())?, anchor })
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sticky {
    pub(super) fn new(policy: &StickyPolicy, upstream: &str, sessions: &Sessions) -> Self {
        let own = policy.secret.as_ref().map(|secret| hmac::Key::new(HMAC_SHA256, secret.expose().as_bytes()));
        Self {
            id: fastrand::u64(..),
            cookie: policy.cookie.clone(),
            max_age: policy.max_age,
            upstream: upstream.to_owned(),
            key: own.unwrap_or_else(|| sessions.key.clone()),
            anchor: sessions.anchor,
        }
    }

    /// What stands for this address.
    pub(super) fn tag(&self, address: SocketAddr) -> Tag {
        self.digest(b"address", address.to_string().as_bytes())
    }

    /// What the client brought.
    pub(super) fn read(&self, head: &Parts, exchange: &Exchange, now: Instant) -> Session {
        let known = cookies::find(&head.headers, &self.cookie).and_then(|value| self.verify(value, self.unix(now)));
        let age = known.map(|(_, age)| age);
        let young = age.is_some_and(|age| self.max_age.is_zero() || Duration::from_secs(age) < self.max_age / 2);
        Session { tag: known.map(|(tag, _)| tag), young, secure: is_secure(&head.headers, exchange) }
    }

    /// Takes the cookie out of a request: it is between the client and the gateway.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        cookies::remove(headers, &self.cookie);
    }

    /// The `Set-Cookie` of an answer from this address, where the client needs one: it has none, it has that of another
    /// address, or its own is older than half its time.
    pub(super) fn renew(&self, session: &Session, address: SocketAddr, now: Instant) -> Option<HeaderValue> {
        let tag = self.tag(address);
        if session.young && session.tag == Some(tag) {
            return None;
        }
        let mut text = format!("{}={}; Path=/", self.cookie, self.value(&tag, self.unix(now)));
        if !self.max_age.is_zero() {
            let _ = write!(text, "; Max-Age={}", self.max_age.as_secs().max(1));
        }
        text.push_str("; HttpOnly; SameSite=Lax");
        if session.secure {
            text.push_str("; Secure");
        }
        HeaderValue::try_from(text).ok()
    }

    fn value(&self, tag: &Tag, unix: u64) -> String {
        let signature = self.signature(tag, unix);
        format!("{}.{unix:x}.{}", hex(tag), hex(&signature))
    }

    /// The tag of a cookie that this key has signed and that is not too old, and its age in seconds.
    fn verify(&self, value: &[u8], unix: u64) -> Option<(Tag, u64)> {
        let mut parts = std::str::from_utf8(value).ok()?.split('.');
        let (tag, made, signature) = (unhex(parts.next()?)?, parts.next()?, unhex(parts.next()?)?);
        let made = u64::from_str_radix(made, 16).ok()?;
        let signed = aws_lc_rs::constant_time::verify_slices_are_equal(&self.signature(&tag, made), &signature).is_ok();
        let age = unix.saturating_sub(made);
        let young = self.max_age.is_zero() || age <= self.max_age.as_secs();
        (parts.next().is_none() && signed && young).then_some((tag, age))
    }

    fn signature(&self, tag: &Tag, unix: u64) -> Tag {
        self.digest(b"session", &[tag.as_slice(), &unix.to_be_bytes()].concat())
    }

    /// A digest for one purpose of this upstream. The parts before the data have no zero byte, so no two purposes or
    /// upstreams meet.
    fn digest(&self, purpose: &[u8], data: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [purpose, b"\0", self.upstream.as_bytes(), b"\0", data] {
            context.update(part);
        }
        let whole = context.sign();
        let mut tag = Tag::default();
        tag.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    /// Seconds since the Unix epoch.
    fn unix(&self, now: Instant) -> u64 {
        let (moment, unix) = self.anchor;
        (unix + now.saturating_duration_since(moment)).as_secs()
    }
}

impl fmt::Debug for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sticky({})", self.cookie)
    }
}

/// Whether the client came over TLS, to us or to a proxy that is believed.
fn is_secure(headers: &HeaderMap, exchange: &Exchange) -> bool {
    let told = || headers.get(X_FORWARDED_PROTO)?.to_str().ok()?.split(',').next();
    exchange.origin.scheme == "https"
        || exchange.origin.trusted && told().is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Tag> {
    if text.len() != LENGTH * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut tag = Tag::default();
    for (at, byte) in tag.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
#[path = "sticky_tests.rs"]
mod tests;
