//! How long a response is fresh and how old it is (RFC 9111 §4.2). Pure: every time comes as an argument.

use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{AGE, DATE, EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED};

use super::date;
use super::directives::{ResponseDirectives, seconds};
use super::policy::RouteCachePolicy;
use crate::base::clock;

/// The longest that a response is fresh by its age alone.
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest that a response may serve stale where the route does not say.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A moment, by both clocks: that of the gateway, and that which origins write into fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic one.
    pub instant: Instant,
    /// Seconds since 1970.
    pub unix: u64,
}

/// What tells the time.
pub type Clock = Box<dyn Fn() -> Moment + Send + Sync>;

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { instant: clock::now(), unix: clock::unix_seconds() }
    }
}

/// How long a response may serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// From its beginning, without asking.
    pub fresh: Duration,
    /// Behind that, while it is asked for anew.
    pub while_revalidate: Duration,
    /// Behind that, when asking fails.
    pub if_error: Duration,
    /// Never stale, whoever asks for it (RFC 9111 §4.2.4).
    pub strict: bool,
    /// The origin, and not the route, has said how long it is fresh.
    pub explicit: bool,
}

/// A response's fields that bear on time, and where they apply.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// What `Cache-Control` says.
    pub directives: &'a ResponseDirectives,
}

impl Head<'_> {
    /// How long it may serve when it was received now. None where nobody says anything about that.
    pub fn lifetime(&self, policy: &RouteCachePolicy, now: Moment) -> Option<Lifetime> {
        let (fresh, explicit) = match self.explicit(now) {
            Some(fresh) => (fresh, true),
            None => (self.implicit(policy, now)?, false),
        };
        let directives = self.directives;
        let strict = directives.must_revalidate || directives.proxy_revalidate || directives.no_cache;
        // `s-maxage` forbids it too, unless the same response says how long.
        let silent = strict || directives.s_maxage.is_some();
        Some(Lifetime {
            fresh,
            while_revalidate: window(directives.stale_while_revalidate, policy.stale_while_revalidate, strict, silent),
            if_error: window(directives.stale_if_error, policy.stale_if_error, strict, silent),
            strict: silent,
            explicit,
        })
    }

    /// What the origin says (RFC 9111 §4.2.1).
    fn explicit(&self, now: Moment) -> Option<Duration> {
        if let Some(seconds) = self.directives.s_maxage.or(self.directives.max_age) {
            return Some(Duration::from_secs(seconds));
        }
        let mut lines = self.headers.get_all(EXPIRES).iter().filter(|_| !self.directives.targeted);
        let line = lines.next()?;
        // Several lines, or what is no date, have passed (RFC 9111 §5.3).
        let expires = if lines.next().is_some() { None } else { date::parse(line.as_bytes(), now.unix) };
        let begin = date_of(self.headers, DATE, now).unwrap_or(now.unix);
        Some(Duration::from_secs(expires.unwrap_or(0).saturating_sub(begin)))
    }

    /// What the route says.
    fn implicit(&self, policy: &RouteCachePolicy, now: Moment) -> Option<Duration> {
        if !is_heuristic(self.status) && !self.directives.public {
            return None;
        }
        let modified = (policy.heuristic > 0.0).then(|| date_of(self.headers, LAST_MODIFIED, now)).flatten();
        if let Some(modified) = modified {
            let begin = date_of(self.headers, DATE, now).unwrap_or(now.unix);
            let since = Duration::from_secs(begin.saturating_sub(modified).min(1 << 32));
            return Some(since.mul_f64(policy.heuristic.clamp(0.0, 1.0)).min(HEURISTIC_MAX));
        }
        (!policy.ttl.is_zero() && is_heuristic(self.status)).then_some(policy.ttl)
    }
}

/// A time for which a stale response may serve: what it says itself, else what the route says, which is the most too.
fn window(own: Option<u64>, route: Option<Duration>, strict: bool, silent: bool) -> Duration {
    match (own.map(Duration::from_secs), route) {
        _ if strict => Duration::ZERO,
        (Some(own), route) => own.min(route.unwrap_or(STALE_MAX)),
        (None, Some(route)) if !silent => route,
        (None, _) => Duration::ZERO,
    }
}

/// Statuses whose responses may be fresh without saying so (RFC 9110 §15.1), those in part excepted.
pub fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// A field that is one date.
pub fn date_of(headers: &HeaderMap, name: HeaderName, now: Moment) -> Option<u64> {
    date::parse(headers.get(name)?.as_bytes(), now.unix)
}

/// How old a response was when it came (RFC 9111 §4.2.3): by its own word, and by its date.
pub fn initial_age(headers: &HeaderMap, asked: Instant, now: Moment) -> Duration {
    let apparent = date_of(headers, DATE, now).map_or(0, |date| now.unix.saturating_sub(date));
    let delay = now.instant.saturating_duration_since(asked);
    Duration::from_secs(apparent).max(Duration::from_secs(age(headers)) + delay)
}

/// `Age`: the first of several, and nothing if it is no number (RFC 9111 §5.1).
fn age(headers: &HeaderMap) -> u64 {
    let Some(line) = headers.get(AGE) else { return 0 };
    let first = line.as_bytes().split(|&byte| byte == b',').next().unwrap_or_default();
    seconds(first.trim_ascii()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_795_000_000;

    fn moment() -> Moment {
        Moment { instant: clock::now(), unix: UNIX }
    }

    fn headers(lines: &[(&'static str, String)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn fresh(status: u16, lines: &[(&'static str, String)], policy: &RouteCachePolicy) -> Option<Lifetime> {
        let headers = headers(lines);
        let directives = ResponseDirectives::of(&headers);
        let status = StatusCode::from_u16(status).unwrap();
        Head { status, headers: &headers, directives: &directives }.lifetime(policy, moment())
    }

    fn control(text: &str) -> [(&'static str, String); 1] {
        [("cache-control", text.to_owned())]
    }

    fn at(offset: i64) -> String {
        date::format(UNIX.saturating_add_signed(offset))
    }

    #[test]
    fn the_nearest_word_counts() {
        let policy = RouteCachePolicy { ttl: Duration::from_secs(9), ..RouteCachePolicy::default() };
        let mut lines = vec![("date", at(-5)), ("expires", at(25))];
        let seconds = |lines: &[_]| fresh(200, lines, &policy).unwrap().fresh.as_secs();
        assert_eq!(seconds(&lines), 30);
        lines.push(("cache-control", "max-age=20".into()));
        assert_eq!(seconds(&lines), 20);
        lines.push(("cache-control", "s-maxage=10".into()));
        assert_eq!(seconds(&lines), 10);
        assert_eq!(seconds(&[]), 9);
        assert_eq!(seconds(&[("date", "foo".into()), ("expires", at(10))]), 10);
        for never in ["0".to_owned(), at(0), at(-10)] {
            assert_eq!(seconds(&[("date", at(0)), ("expires", never)]), 0);
        }
        let mut twice = headers(&[("expires", at(10))]);
        twice.append(EXPIRES, at(10).parse().unwrap());
        let directives = ResponseDirectives::default();
        let head = Head { status: StatusCode::OK, headers: &twice, directives: &directives };
        assert_eq!(head.lifetime(&policy, moment()).unwrap().fresh, Duration::ZERO);
    }

    #[test]
    fn without_a_word_nothing_is_fresh_unless_the_route_says_so() {
        let old = [("last-modified", at(-1000)), ("date", at(0))];
        assert_eq!(fresh(200, &old, &RouteCachePolicy::default()), None);
        let policy = RouteCachePolicy { heuristic: 0.1, ..RouteCachePolicy::default() };
        let lifetime = fresh(200, &old, &policy).unwrap();
        assert_eq!((lifetime.fresh.as_secs(), lifetime.explicit), (100, false));
        assert_eq!(fresh(200, &[("last-modified", at(-100_000_000))], &policy).unwrap().fresh, HEURISTIC_MAX);
        assert_eq!(fresh(503, &old, &policy), None);
        assert_eq!(fresh(201, &old, &policy), None);
        assert_eq!(fresh(200, &[], &policy), None);
        let ttl = RouteCachePolicy { ttl: Duration::from_secs(9), ..policy };
        assert_eq!(fresh(200, &old, &ttl).unwrap().fresh.as_secs(), 100);
        assert_eq!(fresh(404, &[], &ttl).unwrap().fresh.as_secs(), 9);
        assert_eq!(fresh(500, &[], &ttl), None);
    }

    #[test]
    fn stale_time_is_the_origins_within_the_routes() {
        let route = |seconds| Some(Duration::from_secs(seconds));
        let policy = RouteCachePolicy {
            stale_while_revalidate: route(10),
            stale_if_error: route(20),
            ..RouteCachePolicy::default()
        };
        let windows = |text: &str, policy: &RouteCachePolicy| {
            let lifetime = fresh(200, &control(text), policy).unwrap();
            (lifetime.while_revalidate.as_secs(), lifetime.if_error.as_secs())
        };
        let own = RouteCachePolicy::default();
        assert_eq!(windows("max-age=1", &policy), (10, 20));
        assert_eq!(windows("max-age=1, stale-while-revalidate=5, stale-if-error=100", &policy), (5, 20));
        assert_eq!(windows("max-age=1", &own), (0, 0));
        assert_eq!(windows("max-age=1, stale-while-revalidate=5, stale-if-error=1000000", &own), (5, 86_400));
        for strict in ["must-revalidate", "proxy-revalidate", "no-cache"] {
            let text = format!("max-age=1, stale-while-revalidate=5, {strict}");
            assert_eq!(windows(&text, &policy), (0, 0), "{strict}");
        }
        assert_eq!(windows("s-maxage=1", &policy), (0, 0));
        assert_eq!(windows("s-maxage=1, stale-while-revalidate=5", &policy), (5, 0));
    }

    #[test]
    fn age_is_the_greater_of_both_ways_to_know_it() {
        let now = moment();
        let age = |lines: &[(&'static str, String)], delay| {
            initial_age(&headers(lines), now.instant - Duration::from_secs(delay), now).as_secs()
        };
        assert_eq!(age(&[("date", at(-10))], 2), 10);
        assert_eq!(age(&[("date", at(10)), ("age", "15".into())], 2), 17);
        for (text, expected) in [("abc", 0), ("-1", 0), ("7.0", 0), ("7200, 0", 7200), ("0, 7200", 0), ("7;a=b", 0)] {
            assert_eq!(age(&[("age", text.into())], 0), expected, "{text}");
        }
        assert!(age(&[("age", "2147483649".into())], 0) >= 1 << 31);
    }
}
