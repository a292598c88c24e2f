//! Whether what is stored may answer a request (RFC 9111 §4, §5.2.1). Pure.

use std::time::{Duration, Instant};

use super::ask::Ask;
use super::entry::Meta;
use super::status::Forwarded;

/// What becomes of a request for which something is stored, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is stored is the answer.
    Serve,
    /// It is, though it is stale: the client says so.
    ServeStale,
    /// It is, and is asked for anew behind the client's back.
    Refresh,
    /// The upstream is asked.
    Ask(Forwarded),
    /// There is no answer: the client does not want the upstream to be asked.
    Nowhere,
}

/// What becomes of a request for which this is stored; `missing` says why it goes on if nothing is.
pub fn decide(ask: &Ask, stored: Option<&Meta>, missing: Forwarded, now: Instant) -> Verdict {
    let verdict = stored.map_or(Verdict::Ask(missing), |meta| by_time(ask, meta, now));
    match verdict {
        Verdict::Ask(_) if ask.directives.only_if_cached => Verdict::Nowhere,
        verdict => verdict,
    }
}

fn by_time(ask: &Ask, meta: &Meta, now: Instant) -> Verdict {
    let (wanted, age, fresh) = (&ask.directives, meta.age(now), meta.fresh());
    let seconds = Duration::from_secs;
    if wanted.no_cache || wanted.max_age.is_some_and(|most| age > seconds(most)) {
        return Verdict::Ask(Forwarded::Request);
    }
    if meta.is_fresh(now) {
        let stays = wanted.min_fresh.is_none_or(|least| fresh.saturating_sub(age) >= seconds(least));
        return if stays { Verdict::Serve } else { Verdict::Ask(Forwarded::Request) };
    }
    if meta.no_cache {
        return Verdict::Ask(Forwarded::Stale);
    }
    let stale_for = age.saturating_sub(fresh);
    if !wanted.asks_for_freshness() && stale_for < meta.lifetime.while_revalidate {
        return Verdict::Refresh;
    }
    let tolerated = wanted.max_stale.is_some_and(|most| stale_for <= seconds(most));
    match tolerated && !meta.lifetime.strict && wanted.min_fresh.is_none() {
        true => Verdict::ServeStale,
        false => Verdict::Ask(Forwarded::Stale),
    }
}

/// Whether it may answer a request that the upstream could not (RFC 5861 §4).
pub fn serves_on_error(ask: &Ask, meta: &Meta, now: Instant) -> bool {
    let stale_for = meta.age(now).saturating_sub(meta.fresh());
    !meta.no_cache && !ask.directives.asks_for_freshness() && stale_for < meta.lifetime.if_error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::cache::entry::tests::meta;
    use http::{HeaderMap, Method};

    /// What becomes of a request with this `Cache-Control` for a response with that one, when it is so old.
    fn verdict(request: &str, response: &str, age: u64) -> Verdict {
        let meta = meta(&[("cache-control", response), ("etag", "\"a\"")], &HeaderMap::new());
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", request.parse().unwrap());
        let now = meta.received.instant + Duration::from_secs(age);
        decide(&Ask::of(&Method::GET, &headers), Some(&meta), Forwarded::UriMiss, now)
    }

    #[test]
    fn fresh_is_served_unless_the_client_wants_it_fresher() {
        use Verdict::{Ask, Nowhere, Serve};
        for (request, expected) in [
            ("", Serve),
            ("no-cache", Ask(Forwarded::Request)),
            ("max-age=4", Ask(Forwarded::Request)),
            ("max-age=5", Serve),
            ("min-fresh=5", Serve),
            ("min-fresh=6", Ask(Forwarded::Request)),
            ("only-if-cached", Serve),
            ("only-if-cached, no-cache", Nowhere),
        ] {
            assert_eq!(verdict(request, "max-age=10", 5), expected, "{request}");
        }
        assert_eq!(verdict("", "max-age=10", 9), Serve);
        assert_eq!(verdict("", "max-age=10", 10), Ask(Forwarded::Stale));
        assert_eq!(verdict("", "max-age=10, no-cache", 0), Ask(Forwarded::Stale));
    }

    #[test]
    fn stale_is_served_where_both_sides_allow_it() {
        use Verdict::{Ask, Nowhere, Refresh, ServeStale};
        for (request, response, age, expected) in [
            ("max-stale", "max-age=10", 1000, ServeStale),
            ("max-stale=5", "max-age=10", 15, ServeStale),
            ("max-stale=5", "max-age=10", 16, Ask(Forwarded::Stale)),
            ("max-stale", "max-age=10, must-revalidate", 11, Ask(Forwarded::Stale)),
            ("max-stale", "s-maxage=10", 11, Ask(Forwarded::Stale)),
            ("max-stale", "no-cache", 11, Ask(Forwarded::Stale)),
            ("", "max-age=10, stale-while-revalidate=5", 14, Refresh),
            ("", "max-age=10, stale-while-revalidate=5", 15, Ask(Forwarded::Stale)),
            ("max-age=60", "max-age=10, stale-while-revalidate=5", 14, Ask(Forwarded::Stale)),
            ("only-if-cached", "max-age=10", 10, Nowhere),
        ] {
            assert_eq!(verdict(request, response, age), expected, "{request} / {response}");
        }
    }

    #[test]
    fn nothing_is_asked_for_unless_it_must_not_be() {
        let mut headers = HeaderMap::new();
        let now = crate::base::clock::now();
        let missing = |headers: &HeaderMap| decide(&Ask::of(&Method::GET, headers), None, Forwarded::VaryMiss, now);
        assert_eq!(missing(&headers), Verdict::Ask(Forwarded::VaryMiss));
        headers.insert("cache-control", "only-if-cached".parse().unwrap());
        assert_eq!(missing(&headers), Verdict::Nowhere);
    }

    #[test]
    fn errors_are_covered_for_as_long_as_was_said() {
        let stored = meta(&[("cache-control", "max-age=10, stale-if-error=5")], &HeaderMap::new());
        let covers =
            |age| serves_on_error(&Ask::default(), &stored, stored.received.instant + Duration::from_secs(age));
        assert!(covers(9) && covers(14) && !covers(15));
    }
}
