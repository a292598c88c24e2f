//! Parts of a stored body (RFC 9110 §14): one range is answered, several are answered with the whole, and so is what is
//! no range. Pure.

use http::header::{DATE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};

use super::date;
use super::validation::is_strong;

/// What a request for a part of a body gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// All of it.
    Whole,
    /// These bytes of it.
    Part(std::ops::Range<usize>),
    /// Nothing: there are no such bytes.
    Nowhere,
}

/// What a request gets of a stored body of this length. `now` settles dates.
pub fn slice(request: &HeaderMap, stored: &HeaderMap, length: usize, now: u64) -> Slice {
    let mut lines = request.get_all(RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) if suits(request, stored, now) => parse(line.as_bytes(), length),
        _ => Slice::Whole,
    }
}

/// Whether the client's part is one of what is stored: `If-Range` is compared strongly (RFC 9110 §13.1.5).
fn suits(request: &HeaderMap, stored: &HeaderMap, now: u64) -> bool {
    let Some(wanted) = request.get(IF_RANGE) else { return true };
    if let Some(tag) = stored.get(ETAG).filter(|tag| *tag == wanted) {
        return is_strong(tag);
    }
    let date = |name| stored.get(name).and_then(|line| date::parse(line.as_bytes(), now));
    let (Some(modified), Some(made)) = (date(LAST_MODIFIED), date(DATE)) else { return false };
    // A date is strong when nothing can have changed within its second (RFC 9110 §8.8.2.2).
    stored.get(LAST_MODIFIED) == Some(wanted) && made > modified
}

fn parse(text: &[u8], length: usize) -> Slice {
    let Ok(text) = std::str::from_utf8(text) else { return Slice::Whole };
    let Some((unit, ranges)) = text.split_once('=') else { return Slice::Whole };
    let Some((first, last)) = ranges.split_once('-') else { return Slice::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Slice::Whole;
    }
    let range = match (position(first), position(last)) {
        (Some(Some(first)), Some(Some(last))) if first <= last => first..last.saturating_add(1).min(length),
        (Some(Some(first)), Some(None)) => first..length,
        (Some(None), Some(Some(count))) => length - count.min(length)..length,
        _ => return Slice::Whole,
    };
    if range.start >= length || range.is_empty() { Slice::Nowhere } else { Slice::Part(range) }
}

/// A number, or nothing; none where it is neither. What cannot be counted is the most that can.
fn position(text: &str) -> Option<Option<usize>> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((!text.is_empty()).then(|| text.parse().unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn one_range_is_a_part_and_everything_else_the_whole() {
        for (text, expected) in [
            ("bytes=0-1", Slice::Part(0..2)),
            ("Bytes = 2-", Slice::Part(2..10)),
            ("bytes=-3", Slice::Part(7..10)),
            ("bytes=-30", Slice::Part(0..10)),
            ("bytes=8-99999999999999999999999", Slice::Part(8..10)),
            ("bytes=10-", Slice::Nowhere),
            ("bytes=-0", Slice::Nowhere),
            ("bytes=99999999999999999999999-", Slice::Nowhere),
            ("bytes=5-4", Slice::Whole),
            ("bytes=0-1,3-4", Slice::Whole),
            ("bytes=-", Slice::Whole),
            ("bytes=a-b", Slice::Whole),
            ("bytes=+1-2", Slice::Whole),
            ("lines=0-1", Slice::Whole),
            ("bytes", Slice::Whole),
        ] {
            assert_eq!(slice(&headers(&[("range", text)]), &headers(&[]), 10, 0), expected, "{text}");
        }
        assert_eq!(slice(&headers(&[("range", "bytes=0-")]), &headers(&[]), 0, 0), Slice::Nowhere);
        assert_eq!(slice(&headers(&[]), &headers(&[]), 10, 0), Slice::Whole);
    }

    #[test]
    fn a_part_of_something_else_is_not_given() {
        let (modified, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT");
        let given = |condition: &str, stored: &[(&'static str, &str)]| {
            slice(&headers(&[("range", "bytes=0-1"), ("if-range", condition)]), &headers(stored), 10, 0) != Slice::Whole
        };
        assert!(given("\"a\"", &[("etag", "\"a\"")]));
        assert!(!given("\"b\"", &[("etag", "\"a\"")]) && !given("W/\"a\"", &[("etag", "W/\"a\"")]));
        assert!(given(modified, &[("last-modified", modified), ("date", later)]));
        assert!(!given(modified, &[("last-modified", modified), ("date", modified)]));
        assert!(!given(modified, &[("last-modified", modified)]) && !given(modified, &[]));
    }
}
