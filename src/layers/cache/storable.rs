//! Whether a response may be kept for others (RFC 9111 §3), and without which fields (§3.1). Pure.

use http::StatusCode;
use http::header::{
    CONNECTION, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE,
    TRAILER, VARY,
};

use super::directives::ResponseDirectives;
use super::freshness::Lifetime;
use crate::base::headers::{KEEP_ALIVE, X_REQUEST_ID};

const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// What is known when the question comes up.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// What `Cache-Control` says.
    pub directives: &'a ResponseDirectives,
    /// How long it may serve, where anybody says so.
    pub lifetime: Option<&'a Lifetime>,
    /// Whether the request came with credentials that its key does not tell apart.
    pub authorized: bool,
}

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The origin forbids it.
    Forbidden,
    /// It is for one user, as far as anybody can tell.
    Personal,
    /// It is a part, or no answer to a GET.
    Status,
    /// No later request could match it.
    Varies,
    /// Nobody says how long it could be of use.
    Useless,
}

/// Whether the response may be kept.
///
/// # Errors
/// Why not.
pub fn judge(it: &Circumstances<'_>) -> Result<(), Refusal> {
    let directives = it.directives;
    let understood = directives.must_understand && is_known(it.status);
    if (directives.no_store || directives.must_understand) && !understood {
        return Err(Refusal::Forbidden);
    }
    if directives.private {
        return Err(Refusal::Personal);
    }
    if it.status.is_informational() || matches!(it.status.as_u16(), 206 | 304 | 416) {
        return Err(Refusal::Status);
    }
    if it.headers.contains_key(SET_COOKIE) && !directives.withheld.contains(&SET_COOKIE) {
        return Err(Refusal::Personal);
    }
    // RFC 9111 §3.5.
    if it.authorized && !(directives.public || directives.must_revalidate || directives.s_maxage.is_some()) {
        return Err(Refusal::Personal);
    }
    let mut varies = it.headers.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    if varies.any(is_unknowable) {
        return Err(Refusal::Varies);
    }
    let validates = it.headers.contains_key(ETAG) || it.headers.contains_key(LAST_MODIFIED);
    match it.lifetime {
        Some(lifetime) if lifetime.fresh.is_zero() || directives.no_cache => {
            let serves_stale = !lifetime.while_revalidate.is_zero() || !lifetime.if_error.is_zero();
            (validates || serves_stale).then_some(()).ok_or(Refusal::Useless)
        }
        Some(_) => Ok(()),
        // Asked for again each time, but not sent again each time.
        None if directives.no_cache && validates => Ok(()),
        None => Err(Refusal::Useless),
    }
}

/// Whether a response that depends on this depends on what no other request can be compared by: on anything at all, or on
/// what the gateway itself says to the upstream of each request behind the cache.
fn is_unknowable(item: &[u8]) -> bool {
    const OURS: [&str; 10] = [
        "*",
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "via",
        "x-request-id",
        "x-request-timeout",
        "traceparent",
        "tracestate",
        "connection",
    ];
    OURS.iter().any(|name| item.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// Final statuses whose meaning for caches is known here (RFC 9110 §15).
fn is_known(status: StatusCode) -> bool {
    status.as_u16() != 206 && !status.is_informational() && status.canonical_reason().is_some()
}

/// Takes out what is not kept: what belonged to one connection or one request, and what the origin wants back.
pub fn strip(headers: &mut HeaderMap, directives: &ResponseDirectives) {
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHENTICATION_INFO,
        PROXY_AUTHORIZATION,
        TRAILER,
        X_REQUEST_ID,
    ] {
        headers.remove(name);
    }
    for name in &directives.withheld {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;
    use crate::layers::cache::freshness::{Head, Moment};
    use crate::layers::cache::policy::RouteCachePolicy;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn verdict(status: u16, authorized: bool, lines: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let headers = headers(lines);
        let status = StatusCode::from_u16(status).unwrap();
        let directives = ResponseDirectives::of(&headers);
        let now = Moment { instant: clock::now(), unix: 1_795_000_000 };
        let head = Head { status, headers: &headers, directives: &directives };
        let lifetime = head.lifetime(&RouteCachePolicy::default(), now);
        judge(&Circumstances {
            status,
            headers: &headers,
            directives: &directives,
            lifetime: lifetime.as_ref(),
            authorized,
        })
    }

    #[test]
    fn the_origin_has_the_first_word() {
        let says = |text: &str| verdict(200, false, &[("cache-control", text), ("etag", "\"a\"")]);
        assert_eq!(says("max-age=60"), Ok(()));
        assert_eq!(says("no-cache"), Ok(()));
        assert_eq!(says("max-age=0"), Ok(()));
        assert_eq!(says("max-age=60, no-store"), Err(Refusal::Forbidden));
        assert_eq!(says("max-age=60, private"), Err(Refusal::Personal));
        assert_eq!(says("public"), Err(Refusal::Useless));
        assert_eq!(says("max-age=60, no-store, must-understand"), Ok(()));
        assert_eq!(verdict(599, false, &[("cache-control", "max-age=60, must-understand")]), Err(Refusal::Forbidden));
    }

    #[test]
    fn what_is_of_no_use_is_not_kept() {
        for text in ["no-cache", "max-age=0", "foo"] {
            assert_eq!(verdict(200, false, &[("cache-control", text)]), Err(Refusal::Useless), "{text}");
        }
        assert_eq!(verdict(200, false, &[("etag", "\"a\"")]), Err(Refusal::Useless));
        assert_eq!(verdict(200, false, &[("cache-control", "max-age=0, stale-if-error=9")]), Ok(()));
        for vary in ["*", "accept, *", ", *", "accept, X-Forwarded-For", "forwarded", "x-request-id"] {
            let lines = [("cache-control", "max-age=60"), ("vary", vary)];
            assert_eq!(verdict(200, false, &lines), Err(Refusal::Varies), "{vary}");
        }
        for status in [206, 304, 416] {
            assert_eq!(verdict(status, false, &[("cache-control", "max-age=60")]), Err(Refusal::Status));
        }
        for status in [200, 299, 302, 404, 500, 599] {
            assert_eq!(verdict(status, false, &[("cache-control", "max-age=60")]), Ok(()));
        }
    }

    #[test]
    fn answers_to_credentials_need_an_explicit_word() {
        for (text, kept) in [
            ("max-age=60", false),
            ("max-age=60, proxy-revalidate", false),
            ("max-age=60, public", true),
            ("s-maxage=60", true),
            ("max-age=60, must-revalidate", true),
        ] {
            assert_eq!(verdict(200, true, &[("cache-control", text)]).is_ok(), kept, "{text}");
        }
    }

    #[test]
    fn cookies_are_not_shared_unless_they_are_left_out() {
        let says = |text: &str| verdict(200, false, &[("cache-control", text), ("set-cookie", "a=b")]);
        assert_eq!(says("max-age=60, public, s-maxage=60"), Err(Refusal::Personal));
        assert_eq!(says("max-age=60, no-cache=\"Set-Cookie\""), Ok(()));
        let mut kept = headers(&[("set-cookie", "a=b"), ("x", "1"), ("proxy-authentication-info", "1")]);
        strip(&mut kept, &ResponseDirectives::of(&headers(&[("cache-control", "private=\"set-cookie\"")])));
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["x"]);
    }
}
