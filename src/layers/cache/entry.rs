//! A stored response: its head in the form in which it serves, its body in one piece, and what is needed to tell how long
//! it may. Never changes; what is newer takes its place.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{AGE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use http::{StatusCode, Version, response};

use super::date;
use super::directives::ResponseDirectives;
use super::freshness::{Head, Lifetime, Moment, initial_age};
use super::policy::RouteCachePolicy;
use super::status::{CACHE_STATUS, Told, ttl};
use super::storable::{self, Circumstances, Refusal};
use super::vary::Variant;

/// What an entry takes beside the bytes that are counted one by one: itself, its places in lists, the allocator's share.
const OVERHEAD: usize = 640;
/// The same for one field.
const FIELD: usize = 144;
/// Where a value will stand.
const NOTHING: HeaderValue = HeaderValue::from_static("");
/// The most tags that a response can have.
const TAGS: usize = 64;

/// A stored response.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Everything but the body.
    pub meta: Arc<Meta>,
    /// All of the body.
    pub body: Bytes,
}

/// A response that can be stored, without its body.
#[derive(Debug)]
pub struct Meta {
    /// The status.
    pub status: StatusCode,
    /// The fields, with a place for the age.
    pub headers: HeaderMap,
    /// What it depends on.
    pub variant: Variant,
    /// How long it may serve.
    pub lifetime: Lifetime,
    /// Whether the origin is to be asked before each use.
    pub no_cache: bool,
    /// When it came.
    pub received: Moment,
    /// The state of its URL when it was asked for; what has changed since makes it void.
    pub stamp: u32,
    /// By which it can be purged.
    pub tags: Box<[Box<str>]>,
    initial_age: Duration,
    /// When somebody said that it is stale.
    expired: OnceLock<Instant>,
    size: usize,
    /// What hits of the present second say, which costs four allocations to write.
    said: Mutex<Said>,
    /// Whether other caches before have said what they did.
    others: bool,
}

/// `Age` and `Cache-Status` of a hit.
#[derive(Debug)]
struct Said {
    age: u64,
    ttl: i64,
    values: [HeaderValue; 2],
}

/// Where a response comes from and belongs.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The fields of the request, as the client sent them.
    pub request: &'a HeaderMap,
    /// When it was sent.
    pub asked: Instant,
    /// When the response came.
    pub now: Moment,
    /// Whether the request came with credentials that its key does not tell apart.
    pub authorized: bool,
    /// The state of its URL when it was sent.
    pub stamp: u32,
}

impl Meta {
    /// What of this response can be stored, if it may be.
    ///
    /// # Errors
    /// Why it may not.
    pub fn of(
        status: StatusCode,
        headers: &HeaderMap,
        policy: &RouteCachePolicy,
        origin: &Origin<'_>,
    ) -> Result<Self, Refusal> {
        let directives = ResponseDirectives::of(headers);
        let lifetime = Head { status, headers, directives: &directives }.lifetime(policy, origin.now);
        let authorized = origin.authorized;
        let lifetime_ref = lifetime.as_ref();
        storable::judge(&Circumstances {
            status,
            headers,
            directives: &directives,
            lifetime: lifetime_ref,
            authorized,
        })?;
        let initial_age = initial_age(headers, origin.asked, origin.now);
        let tags = tags(headers);
        let variant = Variant::of(headers, origin.request);
        let mut headers = compact(headers);
        storable::strip(&mut headers, &directives);
        if !headers.contains_key(DATE)
            && let Ok(now) = HeaderValue::try_from(date::format(origin.now.unix))
        {
            // RFC 9110 §6.6.1: whoever stores a response without a date gives it one.
            headers.insert(DATE, now);
        }
        // Places for what each hit says, so that a copy need not grow.
        headers.insert(AGE, NOTHING);
        let others = headers.contains_key(CACHE_STATUS);
        if !others {
            headers.insert(CACHE_STATUS, NOTHING);
        }
        let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
        let words: usize = tags.iter().map(|tag| tag.len() + 32).sum();
        Ok(Self {
            status,
            size: OVERHEAD + fields + words + variant.size(),
            headers,
            variant,
            lifetime: lifetime.unwrap_or_default(),
            no_cache: directives.no_cache,
            received: origin.now,
            stamp: origin.stamp,
            tags,
            initial_age,
            expired: OnceLock::new(),
            said: Mutex::new(Said { age: 0, ttl: 0, values: [NOTHING, NOTHING] }),
            others,
        })
    }

    /// The same, depending on what another response depends on.
    pub fn with_variant(mut self, variant: Variant) -> Self {
        self.variant = variant;
        self
    }

    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.saturating_duration_since(self.received.instant)
    }

    /// Until which age it is fresh.
    pub fn fresh(&self) -> Duration {
        match self.expired.get() {
            Some(&expired) => self.lifetime.fresh.min(self.age(expired)),
            None => self.lifetime.fresh,
        }
    }

    /// Whether it may serve without asking.
    pub fn is_fresh(&self, now: Instant) -> bool {
        !self.no_cache && self.age(now) < self.fresh()
    }

    /// Whether each use asks the origin, so that nobody can share what another has asked for.
    pub fn is_always_asked(&self) -> bool {
        self.no_cache || self.initial_age >= self.lifetime.fresh
    }

    /// It is stale from now on.
    pub fn expire(&self, now: Instant) {
        let _ = self.expired.set(now);
    }

    /// Bytes that it takes, without the body.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The head as a client gets it now. With `told`, it says what the cache did.
    pub fn head(&self, now: Instant, told: Told) -> response::Parts {
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.version = Version::HTTP_11;
        head.status = self.status;
        head.headers = self.headers.clone();
        let age = self.age(now).as_secs();
        let [age, told] = match told {
            Told { forwarded: None, ttl: Some(ttl), .. } => self.say(age, ttl, told),
            told => [HeaderValue::from(age), told.value()],
        };
        head.headers.insert(AGE, age);
        if self.others {
            head.headers.append(CACHE_STATUS, told);
        } else {
            head.headers.insert(CACHE_STATUS, told);
        }
        head
    }

    /// What a hit says: the same as the last one, mostly.
    fn say(&self, age: u64, ttl: i64, told: Told) -> [HeaderValue; 2] {
        let new = || [HeaderValue::from(age), told.value()];
        // Nobody waits for somebody else who is writing it.
        let Ok(mut said) = self.said.try_lock() else { return new() };
        if (said.age, said.ttl) != (age, ttl) || said.values[0].is_empty() {
            *said = Said { age, ttl, values: new() };
        }
        said.values.clone()
    }

    /// Seconds that it stays fresh.
    pub fn ttl(&self, now: Instant) -> i64 {
        ttl(self.fresh(), self.age(now))
    }
}

impl Entry {
    /// Whether the upstream can be asked if it has changed.
    pub fn has_validator(&self) -> bool {
        self.meta.headers.contains_key(ETAG) || self.meta.headers.contains_key(LAST_MODIFIED)
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.meta.size + self.body.len()
    }
}

/// The same fields with all values in one piece of memory, so that they hold on to nothing else: a value that was read
/// from a socket keeps all that was read with it.
fn compact(headers: &HeaderMap) -> HeaderMap {
    let mut bytes = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        bytes.extend_from_slice(value.as_bytes());
    }
    let mut bytes = bytes.freeze();
    let mut out = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let own = bytes.split_to(value.len());
        out.append(name.clone(), HeaderValue::from_maybe_shared(own).unwrap_or_else(|_| value.clone()));
    }
    out
}

/// The tags of `Surrogate-Key` (words) and `Cache-Tag` (a list).
fn tags(headers: &HeaderMap) -> Box<[Box<str>]> {
    const NAMES: [HeaderName; 2] = [HeaderName::from_static("surrogate-key"), HeaderName::from_static("cache-tag")];
    let lines = NAMES.into_iter().flat_map(|name| headers.get_all(name));
    let words = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split([' ', ',', '\t']));
    words.filter(|word| !word.is_empty()).take(TAGS).map(Into::into).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::clock;

    /// A response with these fields, stored now.
    pub(in crate::layers::cache) fn meta(lines: &[(&'static str, &str)], request: &HeaderMap) -> Meta {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let now = Moment { instant: clock::now(), unix: 1_795_000_000 };
        let origin = Origin { request, asked: now.instant, now, authorized: false, stamp: 0 };
        Meta::of(StatusCode::OK, &headers, &RouteCachePolicy::default(), &origin).unwrap()
    }

    #[test]
    fn it_serves_with_its_age_and_its_own_date() {
        let stored =
            meta(&[("cache-control", "max-age=60"), ("age", "7"), ("link", "a"), ("link", "b")], &HeaderMap::new());
        let later = stored.received.instant + Duration::from_secs(5);
        let head = stored.head(later, Told::hit(stored.ttl(later)));
        assert_eq!(head.headers[AGE], "12");
        assert_eq!(head.headers[DATE], date::format(1_795_000_000));
        assert_eq!(head.headers["cache-status"], "tollgate; hit; ttl=48");
        assert_eq!(head.headers.get_all("link").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(head.headers.get_all(AGE).iter().count(), 1);
        assert!(stored.is_fresh(later) && !stored.is_fresh(later + Duration::from_secs(48)));
    }

    #[test]
    fn what_somebody_calls_stale_is_stale_from_then_on() {
        let stored = meta(&[("cache-control", "max-age=60")], &HeaderMap::new());
        let (then, later) =
            (stored.received.instant + Duration::from_secs(5), stored.received.instant + Duration::from_secs(9));
        stored.expire(then);
        assert!(!stored.is_fresh(then));
        assert_eq!(stored.ttl(later), -4);
    }

    #[test]
    fn tags_come_from_both_fields() {
        let lines = [("cache-control", "max-age=60"), ("surrogate-key", "a b  c"), ("cache-tag", "d, e,f")];
        assert_eq!(meta(&lines, &HeaderMap::new()).tags.join("|"), "a|b|c|d|e|f");
    }

    #[test]
    fn fields_hold_on_to_nothing_else() {
        let big = Bytes::from(vec![b'x'; 100_000]);
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_maybe_shared(big.slice(..3)).unwrap());
        headers.insert("b", HeaderValue::from_static("y"));
        let compacted = compact(&headers);
        assert_eq!(compacted, headers);
        drop(headers);
        assert!(big.is_unique(), "nothing else refers to it");
    }
}
