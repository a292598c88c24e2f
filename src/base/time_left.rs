//! How long somebody still waits, as a field of a request says it: `grpc-timeout` (gRPC over HTTP/2, "Requests") and
//! `X-Request-Timeout`, a whole number of milliseconds. Both shrink on their way, so that nobody works for a caller who
//! has gone.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// Milliseconds until the sender stops waiting for the response head.
pub const X_REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
/// The time that a gRPC call has, from end to end.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Most digits of a `grpc-timeout`.
const DIGITS: usize = 8;
/// What eight digits cannot say.
const TOO_MUCH: u128 = 100_000_000;

/// The shorter of the times that the fields say, where they say any.
pub fn told(fields: &HeaderMap) -> Option<Duration> {
    let plain = fields.get(X_REQUEST_TIMEOUT).and_then(parse_millis);
    let grpc = fields.get(GRPC_TIMEOUT).and_then(parse_grpc);
    match (plain, grpc) {
        (Some(plain), Some(grpc)) => Some(plain.min(grpc)),
        (plain, grpc) => plain.or(grpc),
    }
}

/// The time that a gRPC call has, where the fields are those of one that has a limit.
pub fn of_grpc(fields: &HeaderMap) -> Option<Duration> {
    const TYPE: &[u8] = b"application/grpc";
    let kind = fields.get(CONTENT_TYPE)?.as_bytes().get(..TYPE.len())?;
    if !kind.eq_ignore_ascii_case(TYPE) {
        return None;
    }
    fields.get(GRPC_TIMEOUT).and_then(parse_grpc)
}

/// A time as `X-Request-Timeout` says it, rounded up.
pub fn millis(time: Duration) -> HeaderValue {
    let millis = time.as_micros().div_ceil(1000);
    HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// A time as `grpc-timeout` says it, rounded down to the finest unit that eight digits can hold.
pub fn grpc(time: Duration) -> HeaderValue {
    let (number, unit) = match (time.as_micros(), time.as_millis()) {
        (micros, _) if micros < TOO_MUCH => (micros, 'u'),
        (_, millis) if millis < TOO_MUCH => (millis, 'm'),
        _ => (u128::from(time.as_secs()).min(TOO_MUCH - 1), 'S'),
    };
    let mut text = BytesMut::with_capacity(DIGITS + 1);
    let _ = write!(text, "{number}{unit}");
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("0m"))
}

fn parse_millis(value: &HeaderValue) -> Option<Duration> {
    digits(value.as_bytes()).map(Duration::from_millis)
}

fn parse_grpc(value: &HeaderValue) -> Option<Duration> {
    let (unit, number) = value.as_bytes().split_last()?;
    let number = digits(number).filter(|_| number.len() <= DIGITS)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A whole number; more than nineteen digits are none, so that nothing overflows.
fn digits(text: &[u8]) -> Option<u64> {
    let plain = (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn what_grpc_says_is_read_in_every_unit_and_nothing_else_is() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("100000000S", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1.5S", None),
            ("1 S", None),
            ("1s", None),
        ] {
            assert_eq!(parse_grpc(&value(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_reads_as_no_more_than_it_was() {
        for micros in [0, 1, 999, 1_000_001, 99_999_999, 100_000_001, 99_999_999_999, 100_000_000_001, u64::MAX] {
            let time = Duration::from_micros(micros);
            let read = parse_grpc(&grpc(time)).unwrap();
            assert!(read <= time, "{time:?} {read:?}");
        }
        assert_eq!(grpc(Duration::from_millis(1500)), "1500000u");
        assert_eq!(grpc(Duration::from_secs(1000)), "1000000m");
    }

    #[test]
    fn milliseconds_are_rounded_up_and_read_back() {
        for (time, text) in [
            (Duration::from_secs(30), "30000"),
            (Duration::from_micros(29_999_001), "30000"),
            (Duration::from_nanos(1000), "1"),
            (Duration::ZERO, "0"),
        ] {
            assert_eq!(millis(time), text);
        }
        assert_eq!(parse_millis(&value("1500")), Some(Duration::from_millis(1500)));
        for wrong in ["", "1.5", "-1", "1s", "99999999999999999999"] {
            assert_eq!(parse_millis(&value(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn the_shorter_of_two_times_holds() {
        let mut fields = HeaderMap::new();
        assert_eq!(told(&fields), None);
        fields.insert(X_REQUEST_TIMEOUT, value("500"));
        assert_eq!(told(&fields), Some(Duration::from_millis(500)));
        fields.insert(GRPC_TIMEOUT, value("200m"));
        assert_eq!(told(&fields), Some(Duration::from_millis(200)));
        assert_eq!(of_grpc(&fields), None, "this is no gRPC");
        fields.insert(CONTENT_TYPE, value("application/grpc+proto"));
        assert_eq!(of_grpc(&fields), Some(Duration::from_millis(200)));
    }
}
