//! Whether what somebody has is what is stored (RFC 9111 §4.3, RFC 9110 §13): a client's conditions answered from the
//! store, the store's own conditions, and what a 304 changes. Pure.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, SET_COOKIE, TRANSFER_ENCODING,
};
use http::{StatusCode, header};

use super::date;
use super::status::CACHE_STATUS;

/// Whether the client has what is stored already, so that 304 is the answer. `received` stands for a date that the
/// response does not have, in seconds since 1970; so does `now`.
pub fn is_not_modified(request: &HeaderMap, stored: &HeaderMap, received: u64, now: u64) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        // Weak comparison, and the date is not looked at (RFC 9110 §13.1.2, §13.2.2).
        let Some(own) = stored.get(ETAG) else {
            return request.get_all(IF_NONE_MATCH).iter().any(|line| line.as_bytes().trim_ascii() == b"*");
        };
        let lines = request.get_all(IF_NONE_MATCH).iter();
        return lines
            .flat_map(|line| tags(line.as_bytes()))
            .any(|tag| tag == b"*" || opaque(tag) == opaque(own.as_bytes()));
    }
    let Some(since) = single(request, IF_MODIFIED_SINCE).and_then(|line| date::parse(line.as_bytes(), now)) else {
        return false;
    };
    let known = |name| stored.get(name).and_then(|line| date::parse(line.as_bytes(), now));
    let modified = known(LAST_MODIFIED).or_else(|| known(DATE)).unwrap_or(received);
    modified <= since
}

fn single(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// The entity tags of a list; a comma within quotes is part of one.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
    .map(<[u8]>::trim_ascii)
    .filter(|tag| !tag.is_empty())
}

/// A tag without what says that it is weak.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether the tag says that bodies are the same to the byte.
pub fn is_strong(tag: &HeaderValue) -> bool {
    tag.as_bytes().starts_with(b"\"")
}

/// Puts the store's conditions to a request, in place of whatever the client had.
pub fn ask_whether_changed(request: &mut HeaderMap, stored: &HeaderMap) {
    for (own, asked) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
        match stored.get(own) {
            Some(value) => drop(request.insert(asked, value.clone())),
            None => drop(request.remove(asked)),
        }
    }
}

/// Whether a 304 to the store's own conditions is about what is stored (RFC 9111 §4.3.4).
pub fn is_about(fresh: &HeaderMap, stored: &HeaderMap) -> bool {
    match (fresh.get(ETAG), stored.get(ETAG)) {
        (Some(new), Some(own)) if is_strong(new) => new == own,
        (Some(new), Some(own)) => opaque(new.as_bytes()) == opaque(own.as_bytes()),
        _ => true,
    }
}

/// Fields of a 304 that do not say what the stored body is like, whatever they say (RFC 9111 §3.2).
const KEPT: [HeaderName; 5] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, TRANSFER_ENCODING, header::VARY];

/// Brings stored fields up to date by those of a response without a body. Cookies are for whoever has asked.
pub fn freshen(stored: &HeaderMap, fresh: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    for name in fresh.keys().filter(|name| !KEPT.contains(name) && **name != SET_COOKIE) {
        merged.remove(name);
        for value in fresh.get_all(name) {
            merged.append(name.clone(), value.clone());
        }
    }
    if !fresh.contains_key(header::AGE) {
        merged.remove(header::AGE);
    }
    // The place for what is said of each hit is made anew.
    if !fresh.contains_key(CACHE_STATUS) && merged.get(CACHE_STATUS).is_some_and(HeaderValue::is_empty) {
        merged.remove(CACHE_STATUS);
    }
    merged
}

/// Whether the response to a HEAD is about what is stored (RFC 9111 §4.3.5).
pub fn is_head_of(
    status: StatusCode,
    fresh: &HeaderMap,
    stored_status: StatusCode,
    stored: &HeaderMap,
    length: usize,
) -> bool {
    let same = |name: HeaderName| fresh.get(&name).is_none_or(|value| stored.get(&name) == Some(value));
    let said = fresh.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    status == stored_status && same(ETAG) && same(LAST_MODIFIED) && said.is_none_or(|said| said == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn unchanged(request: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> bool {
        is_not_modified(&headers(request), &headers(stored), NOW, NOW)
    }

    #[test]
    fn tags_are_compared_weakly_and_come_before_dates() {
        let stored = [("etag", "\"a,b\""), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
        for text in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\", \"y\"", "*", ", \"a,b\""] {
            assert!(unchanged(&[("if-none-match", text)], &stored), "{text}");
        }
        for text in ["\"a\"", "a,b", "\"b\", \"c\""] {
            let both = [("if-none-match", text), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
            assert!(!unchanged(&both, &stored), "{text}");
        }
        assert!(!unchanged(&[("if-none-match", "\"a\"")], &[]) && unchanged(&[("if-none-match", "*")], &[]));
    }

    #[test]
    fn dates_are_compared_where_there_is_no_tag() {
        let (early, late) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:38 GMT");
        assert!(unchanged(&[("if-modified-since", late)], &[("last-modified", early)]));
        assert!(unchanged(&[("if-modified-since", early)], &[("last-modified", early)]));
        assert!(!unchanged(&[("if-modified-since", early)], &[("last-modified", late)]));
        assert!(!unchanged(&[("if-modified-since", "yesterday")], &[("last-modified", early)]));
        assert!(!unchanged(&[("if-modified-since", early)], &[]));
        assert!(unchanged(&[("if-modified-since", late)], &[("date", early)]));
    }

    #[test]
    fn a_304_brings_fields_up_to_date_and_leaves_the_body_its_own() {
        let stored =
            headers(&[("a", "1"), ("a", "2"), ("b", "3"), ("content-length", "36"), ("etag", "\"e\""), ("age", "9")]);
        let fresh =
            headers(&[("a", "4"), ("content-length", "10"), ("content-encoding", "gzip"), ("set-cookie", "c=d")]);
        let merged = freshen(&stored, &fresh);
        assert_eq!(merged, headers(&[("a", "4"), ("b", "3"), ("content-length", "36"), ("etag", "\"e\"")]));
    }

    #[test]
    fn a_304_of_another_version_is_about_nothing_here() {
        let stored = headers(&[("etag", "\"a\"")]);
        assert!(is_about(&headers(&[]), &stored) && is_about(&headers(&[("etag", "W/\"a\"")]), &stored));
        assert!(!is_about(&headers(&[("etag", "\"b\"")]), &stored));
        assert!(!is_about(&headers(&[("etag", "\"a\"")]), &headers(&[("etag", "W/\"a\"")])));
    }

    #[test]
    fn the_store_asks_by_what_it_has() {
        let mut request = headers(&[("if-none-match", "\"client\""), ("if-modified-since", "x"), ("b", "1")]);
        ask_whether_changed(&mut request, &headers(&[("etag", "W/\"own\"")]));
        assert_eq!(request, headers(&[("if-none-match", "W/\"own\""), ("b", "1")]));
    }

    #[test]
    fn a_head_is_about_the_body_only_if_nothing_speaks_against_it() {
        let stored = headers(&[("etag", "\"a\"")]);
        let of = |status: u16, lines: &[(&'static str, &str)]| {
            is_head_of(StatusCode::from_u16(status).unwrap(), &headers(lines), StatusCode::OK, &stored, 5)
        };
        assert!(of(200, &[]) && of(200, &[("content-length", "5"), ("etag", "\"a\"")]));
        assert!(!of(410, &[]) && !of(200, &[("content-length", "6")]) && !of(200, &[("etag", "\"b\"")]));
        assert!(!of(200, &[("last-modified", "x")]));
    }
}
