//! Whatever stands in the fields that the cache reads: it is read without a panic, and never for more than it says.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use proptest::prelude::*;
use tollgate::base::clock;
use tollgate::layers::cache::ask::Ask;
use tollgate::layers::cache::date;
use tollgate::layers::cache::entry::{Meta, Origin};
use tollgate::layers::cache::freshness::Moment;
use tollgate::layers::cache::policy::RouteCachePolicy;
use tollgate::layers::cache::range::{Slice, slice};
use tollgate::layers::cache::validation::{freshen, is_not_modified};
use tollgate::layers::cache::vary::Variant;

const NAMES: [&str; 17] = [
    "cache-control",
    "cdn-cache-control",
    "vary",
    "age",
    "date",
    "expires",
    "last-modified",
    "etag",
    "surrogate-key",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "accept-language",
    "accept-encoding",
    "content-language",
    "x",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "max-age",
        "s-maxage",
        "no-cache",
        "=",
        "\"",
        ",",
        " ",
        ";",
        "q=0.5",
        "*",
        "W/",
        "bytes=",
        "-",
        "0",
        "99999999999999999999",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "en",
        "(",
        ")",
        "?1",
        ":",
        "\\",
        "stale-if-error",
        "accept",
        "x",
        "\u{e9}",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 0..8).prop_map(|some| some.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..24),
    ]
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    prop::collection::vec((prop::sample::select(NAMES.to_vec()), value()), 0..10).prop_map(|list| {
        let fields = list
            .into_iter()
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?)));
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    })
}

proptest! {
    #[test]
    fn whatever_is_written_is_read(request in fields(), response in fields(), length in 0..100_usize) {
        let now = Moment { instant: clock::now(), unix: 1_795_000_000 };
        let policy = RouteCachePolicy { ttl: Duration::from_secs(1), heuristic: 0.1, ..RouteCachePolicy::default() };
        Ask::of(&Method::GET, &request);
        let origin = Origin { request: &request, asked: now.instant, now, authorized: false, stamp: 0 };
        if let Ok(meta) = Meta::of(StatusCode::OK, &response, &policy, &origin) {
            prop_assert!(meta.variant.matches(&request), "a response does for the request that it answered");
            prop_assert_eq!(meta.variant.place(&request), meta.variant.own_place());
            prop_assert!(meta.headers.len() <= response.len() + 3);
        }
        let variant = Variant::of(&response, &request);
        prop_assert!(variant.matches(&request));
        match slice(&request, &response, length, now.unix) {
            Slice::Part(range) => prop_assert!(range.start < range.end && range.end <= length),
            Slice::Whole | Slice::Nowhere => {}
        }
        is_not_modified(&request, &response, now.unix, now.unix);
        freshen(&response, &request);
        for value in request.values() {
            date::parse(value.as_bytes(), now.unix);
        }
    }
}
