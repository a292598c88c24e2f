//! A stored response as bytes, for a store that several gateways share. What it says of time is in seconds that others
//! know too; what it was stored under is in it, so that nobody takes it for something else.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::StatusCode;
use http::header::{AGE, HeaderMap, HeaderName, HeaderValue};

use super::entry::{Entry, Meta, Origin};
use super::freshness::Moment;
use super::policy::RouteCachePolicy;
use super::status::CACHE_STATUS;
use super::tier::Mark;
use super::vary::Variant;

/// How a response begins, and how what only leads to others does. Another form gets another number.
const RESPONSE: &[u8; 4] = b"TGR1";
const POINTER: &[u8; 4] = b"TGP1";

/// What was found.
#[derive(Debug)]
pub enum Blob {
    /// A response, and the state of things when it was asked for.
    Entry(Entry, Mark),
    /// It depends on these fields: it is to be looked for by them.
    Pointer(Variant),
}

/// A response as it was stored under a key.
pub fn write(key: &[u8], entry: &Entry, mark: Mark, now: Moment) -> Vec<u8> {
    let meta = &entry.meta;
    let mut out = BytesMut::with_capacity(entry.size() + key.len());
    out.put_slice(RESPONSE);
    put(&mut out, key);
    out.put_u64(mark.generation);
    out.put_u64(mark.seen);
    out.put_u16(meta.status.as_u16());
    out.put_u64(meta.age(now.instant).as_secs());
    out.put_u64(now.unix);
    meta.variant.write(&mut |part| put_optional(&mut out, part));
    out.put_u32(u32::try_from(meta.headers.len()).unwrap_or(u32::MAX));
    for (name, value) in &meta.headers {
        put(&mut out, name.as_str().as_bytes());
        put(&mut out, value.as_bytes());
    }
    put(&mut out, &entry.body);
    out.to_vec()
}

/// What leads to the responses under a key.
pub fn write_pointer(key: &[u8], variant: &Variant) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_slice(POINTER);
    put(&mut out, key);
    variant.names_only().write(&mut |part| put_optional(&mut out, part));
    out.to_vec()
}

/// Reads what was stored under this key. None where it is something else, or may not be kept under this policy.
pub fn read(bytes: Vec<u8>, key: &[u8], policy: &RouteCachePolicy, stamp: u32, now: Moment) -> Option<Blob> {
    let mut input = Bytes::from(bytes);
    let form = take(&mut input, 4)?;
    if take_part(&mut input)? != key {
        return None;
    }
    if form == POINTER[..] {
        return Some(Blob::Pointer(Variant::read(&mut || take_optional(&mut input))?));
    }
    if form != RESPONSE[..] {
        return None;
    }
    let mark = Mark { generation: input.try_get_u64().ok()?, seen: input.try_get_u64().ok()? };
    let status = StatusCode::from_u16(input.try_get_u16().ok()?).ok()?;
    let (age, at) = (input.try_get_u64().ok()?, input.try_get_u64().ok()?);
    let variant = Variant::read(&mut || take_optional(&mut input))?;
    let mut headers = HeaderMap::new();
    for _ in 0..input.try_get_u32().ok()? {
        let name = HeaderName::from_bytes(&take_part(&mut input)?).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(take_part(&mut input)?).ok()?);
    }
    let body = take_part(&mut input)?;
    if !input.is_empty() {
        return None;
    }
    if headers.get(CACHE_STATUS).is_some_and(HeaderValue::is_empty) {
        headers.remove(CACHE_STATUS);
    }
    headers.insert(AGE, HeaderValue::from(age.saturating_add(now.unix.saturating_sub(at))));
    let none = HeaderMap::new();
    let origin = Origin { request: &none, asked: now.instant, now, authorized: false, stamp };
    let meta = Meta::of(status, &headers, policy, &origin).ok()?.with_variant(variant);
    // In memory of its own: the head would be kept with it.
    Some(Blob::Entry(Entry { meta: meta.into(), body: Bytes::copy_from_slice(&body) }, mark))
}

fn put(out: &mut BytesMut, part: &[u8]) {
    out.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
    out.put_slice(part);
}

fn put_optional(out: &mut BytesMut, part: Option<&[u8]>) {
    out.put_u8(u8::from(part.is_some()));
    put(out, part.unwrap_or_default());
}

fn take(input: &mut Bytes, count: usize) -> Option<Bytes> {
    (input.len() >= count).then(|| input.split_to(count))
}

fn take_part(input: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(input.try_get_u32().ok()?).ok()?;
    take(input, length)
}

fn take_optional(input: &mut Bytes) -> Option<Option<Bytes>> {
    let there = input.try_get_u8().ok()? != 0;
    take_part(input).map(|part| there.then_some(part))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::layers::cache::entry::tests::meta;

    fn stored() -> (Entry, Moment) {
        let mut request = HeaderMap::new();
        request.insert("accept", HeaderValue::from_static("a, b"));
        let lines =
            [("cache-control", "max-age=60"), ("vary", "accept, x"), ("link", "a"), ("link", "\u{fc}"), ("age", "5")];
        let meta = meta(&lines, &request);
        let now = meta.received;
        (Entry { meta: Arc::new(meta), body: Bytes::from_static(b"body") }, now)
    }

    fn reads(bytes: Vec<u8>, key: &[u8], now: Moment) -> Option<Blob> {
        read(bytes, key, &RouteCachePolicy::default(), 7, now)
    }

    #[test]
    fn what_is_written_is_read_again_and_has_grown_older() {
        let (entry, now) = stored();
        let mark = Mark { generation: 3, seen: 4 };
        let later = Moment { instant: now.instant + Duration::from_secs(9), unix: now.unix + 9 };
        let bytes = write(b"key", &entry, mark, now);
        let Some(Blob::Entry(read, told)) = reads(bytes.clone(), b"key", later) else { panic!("it is not read") };
        assert_eq!((told, &read.body, read.meta.status), (mark, &entry.body, entry.meta.status));
        assert_eq!((read.meta.age(later.instant).as_secs(), read.meta.stamp), (14, 7));
        assert_eq!(read.meta.variant, entry.meta.variant);
        assert_eq!(read.meta.headers.get_all("link").iter().collect::<Vec<_>>().len(), 2);
        assert!(reads(bytes, b"other", later).is_none());
    }

    #[test]
    fn a_pointer_says_what_it_depends_on() {
        let (entry, now) = stored();
        let Some(Blob::Pointer(names)) = reads(write_pointer(b"key", &entry.meta.variant), b"key", now) else {
            panic!("it is not read")
        };
        let mut request = HeaderMap::new();
        request.insert("accept", HeaderValue::from_static("a,b"));
        assert_eq!(names.place(&request), entry.meta.variant.place(&request));
    }

    #[test]
    fn whatever_else_is_there_is_nothing() {
        let (entry, now) = stored();
        let whole = write(b"key", &entry, Mark { generation: 1, seen: 2 }, now);
        for cut in 0..whole.len() {
            assert!(reads(whole[..cut].to_vec(), b"key", now).is_none(), "{cut}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(reads(longer, b"key", now).is_none());
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0xff;
            let _ = reads(wrong, b"key", now);
        }
    }
}
