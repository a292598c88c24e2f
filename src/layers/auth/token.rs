//! Where a request carries its token, and how it is taken out of it: one place, one token, or none.

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap as Fields, Uri};
use percent_encoding::percent_decode_str;

use super::failure::Failure;
use super::policy::TokenPlace;

/// The token of a request, from the first of the places that has one.
///
/// # Errors
/// When a place has several, or one that is empty where none should be.
pub fn find<'a>(head: &'a Parts, places: &[TokenPlace]) -> Result<Option<&'a [u8]>, Failure> {
    for place in places {
        let found = match place {
            TokenPlace::Authorization => bearer(&head.headers)?,
            TokenPlace::Header(name) => field(&head.headers, name)?,
            TokenPlace::Cookie(name) => cookie(&head.headers, name)?,
            TokenPlace::Query(name) => parameter(&head.uri, name)?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Takes whatever these places have out of the request; tells whether the target has changed.
pub fn strip(head: &mut Parts, places: &[TokenPlace]) -> bool {
    let mut changed = false;
    for place in places {
        match place {
            TokenPlace::Authorization => {
                if head.headers.get_all(AUTHORIZATION).iter().any(|line| after_bearer(line.as_bytes()).is_some()) {
                    head.headers.remove(AUTHORIZATION);
                }
            }
            TokenPlace::Header(name) => drop(head.headers.remove(name)),
            TokenPlace::Cookie(name) => strip_cookie(&mut head.headers, name),
            TokenPlace::Query(name) => changed |= strip_parameter(&mut head.uri, name),
        }
    }
    changed
}

/// The only value of a field.
fn only<'a>(fields: &'a Fields, name: &HeaderName, many: &'static str) -> Result<Option<&'a HeaderValue>, Failure> {
    let mut lines = fields.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line),
        _ => Err(Failure::Ambiguous(many)),
    }
}

/// The token behind `Bearer`, in any case of its letters (RFC 9110 §11.1). Another scheme is no token.
fn bearer(fields: &Fields) -> Result<Option<&[u8]>, Failure> {
    let line = only(fields, &AUTHORIZATION, "Authorization is there more than once")?;
    match line.and_then(|line| after_bearer(line.as_bytes())) {
        Some([]) => Err(Failure::Malformed("nothing stands behind Bearer")),
        token => Ok(token),
    }
}

fn after_bearer(line: &[u8]) -> Option<&[u8]> {
    after_scheme(line, b"bearer")
}

fn after_scheme<'a>(line: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (own, rest) = line.split_at_checked(scheme.len())?;
    let separated = rest.is_empty() || rest.starts_with(b" ");
    (separated && own.eq_ignore_ascii_case(scheme)).then(|| rest.trim_ascii())
}

/// What stands behind `Basic` (RFC 7617 §2). Another scheme is nothing.
///
/// # Errors
/// When there are several lines.
pub fn basic(head: &Parts) -> Result<Option<&[u8]>, Failure> {
    let line = only(&head.headers, &AUTHORIZATION, "Authorization is there more than once")?;
    Ok(line.and_then(|line| after_scheme(line.as_bytes(), b"basic")))
}

/// Takes name and password out of the request.
pub fn strip_basic(head: &mut Parts) {
    if head.headers.get_all(AUTHORIZATION).iter().any(|line| after_scheme(line.as_bytes(), b"basic").is_some()) {
        head.headers.remove(AUTHORIZATION);
    }
}

fn field<'a>(fields: &'a Fields, name: &HeaderName) -> Result<Option<&'a [u8]>, Failure> {
    let line = only(fields, name, "the field is there more than once")?.map(HeaderValue::as_bytes);
    let token = line.map(|line| after_bearer(line).unwrap_or(line).trim_ascii());
    Ok(token.filter(|token| !token.is_empty()))
}

/// The pairs of one `Cookie` line (RFC 6265 §4.2.1).
fn pairs(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn is_named(pair: &[u8], name: &str) -> bool {
    pair.split(|byte| *byte == b'=').next().is_some_and(|own| own.trim_ascii() == name.as_bytes())
}

fn cookie<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a [u8]>, Failure> {
    let lines = fields.get_all(COOKIE).iter();
    let mut named = lines.flat_map(pairs).filter(|pair| is_named(pair, name));
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(Failure::Ambiguous("the cookie is there more than once"));
    }
    let value = first.and_then(|pair| pair.get(pair.iter().position(|byte| *byte == b'=')? + 1..));
    let bare = |value: &'a [u8]| {
        let value = value.trim_ascii();
        value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
    };
    Ok(value.map(bare).filter(|value| !value.is_empty()))
}

fn strip_cookie(fields: &mut HeaderMap, name: &str) {
    if !fields.get_all(COOKIE).iter().any(|line| pairs(line).any(|pair| is_named(pair, name))) {
        return;
    }
    let kept: Vec<Vec<u8>> = fields
        .get_all(COOKIE)
        .iter()
        .map(|line| {
            pairs(line).filter(|pair| !pair.is_empty() && !is_named(pair, name)).collect::<Vec<_>>().join(&b"; "[..])
        })
        .filter(|line| !line.is_empty())
        .collect();
    fields.remove(COOKIE);
    for line in kept.into_iter().filter_map(|line| HeaderValue::try_from(line).ok()) {
        fields.append(COOKIE, line);
    }
}

/// Whether a pair of the query has this name, however it is escaped: a backend would read it so too.
fn is_parameter(pair: &str, name: &str) -> bool {
    let own = pair.split_once('=').map_or(pair, |(own, _)| own);
    own == name || own.contains('%') && percent_decode_str(own).eq(name.bytes())
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Result<Option<&'a [u8]>, Failure> {
    let query = uri.query().unwrap_or_default();
    let mut named = query.split('&').filter(|pair| is_parameter(pair, name));
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(Failure::Ambiguous("the parameter is there more than once"));
    }
    let value = first.and_then(|pair| pair.split_once('=')).map(|(_, value)| value.as_bytes());
    Ok(value.filter(|value| !value.is_empty()))
}

fn strip_parameter(uri: &mut Uri, name: &str) -> bool {
    let Some(query) = uri.query().filter(|query| query.split('&').any(|pair| is_parameter(pair, name))) else {
        return false;
    };
    let kept = query.split('&').filter(|pair| !is_parameter(pair, name)).collect::<Vec<_>>().join("&");
    let target = match kept.as_str() {
        "" => uri.path().to_owned(),
        kept => format!("{}?{kept}", uri.path()),
    };
    // What is left of a target is one.
    if let Ok(target) = PathAndQuery::try_from(target) {
        *uri = Uri::from(target);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORIZATION_ONLY: &[TokenPlace] = &[TokenPlace::Authorization];

    fn head(target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::builder().uri(target);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn found(target: &str, fields: &[(&str, &str)], places: &[TokenPlace]) -> Result<Option<String>, Failure> {
        let head = head(target, fields);
        find(&head, places).map(|token| token.map(|token| String::from_utf8_lossy(token).into_owned()))
    }

    #[test]
    fn a_bearer_token_stands_in_one_field() {
        let one = |line: &str| found("/", &[("authorization", line)], AUTHORIZATION_ONLY);
        for line in ["Bearer t", "bearer t", "BEARER   t", "bEaReR t"] {
            assert_eq!(one(line), Ok(Some("t".to_owned())), "{line}");
        }
        for line in ["Basic dTpw", "Bearert", "Bear t", "Digest a=b", ""] {
            assert_eq!(one(line), Ok(None), "{line}");
        }
        assert!(matches!(one("Bearer"), Err(Failure::Malformed(_))));
        assert_eq!(one("Bearer a, Bearer b"), Ok(Some("a, Bearer b".to_owned())));
        let twice = [("authorization", "Bearer t"), ("authorization", "Basic dTpw")];
        assert!(matches!(found("/", &twice, AUTHORIZATION_ONLY), Err(Failure::Ambiguous(_))));
    }

    #[test]
    fn the_first_place_that_has_one_counts() {
        let places = [
            TokenPlace::Cookie("jwt".to_owned()),
            TokenPlace::Query("access_token".to_owned()),
            TokenPlace::Header(HeaderName::from_static("x-token")),
        ];
        for (target, fields, expected) in [
            ("/?access_token=q", &[("cookie", "a=b; jwt=c"), ("x-token", "h")][..], Ok(Some("c"))),
            ("/?access_token=q", &[("cookie", "jwtx=c"), ("x-token", "h")], Ok(Some("q"))),
            ("/?%61ccess_token=q", &[], Ok(Some("q"))),
            ("/", &[("x-token", "Bearer h")], Ok(Some("h"))),
            ("/", &[("cookie", "jwt=\"c\"")], Ok(Some("c"))),
            ("/", &[("cookie", "jwt=; jwt")], Err(())),
            ("/", &[("cookie", "jwt=a"), ("cookie", "jwt=b")], Err(())),
            ("/?access_token=a&access%5Ftoken=b", &[], Err(())),
            ("/?access_token", &[("x-token", "a"), ("x-token", "b")], Err(())),
            ("/?access_token=&x", &[("cookie", "jwt=")], Ok(None)),
        ] {
            let found = found(target, fields, &places);
            assert_eq!(found.map_err(drop), expected.map(|token| token.map(str::to_owned)), "{target} {fields:?}");
        }
    }

    #[test]
    fn what_is_stripped_is_gone_and_the_rest_is_there() {
        let places = [
            TokenPlace::Authorization,
            TokenPlace::Cookie("jwt".to_owned()),
            TokenPlace::Query("t".to_owned()),
            TokenPlace::Header(HeaderName::from_static("x-token")),
        ];
        let mut sent = head(
            "/a?x=1&t=2&%74=3&y",
            &[("authorization", "Bearer t"), ("cookie", "a=1; jwt=2;b=3"), ("cookie", "jwt=4"), ("x-token", "t")],
        );
        assert!(strip(&mut sent, &places));
        assert_eq!(sent.uri, "/a?x=1&y");
        assert_eq!(sent.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=3"]);
        assert_eq!(sent.headers.len(), 1);
        assert_eq!(find(&sent, &places), Ok(None));
        let mut other = head("/a?tt=1", &[("authorization", "Basic dTpw"), ("cookie", "jwtx=1;  b")]);
        assert!(!strip(&mut other, &places));
        assert_eq!((other.uri.to_string().as_str(), other.headers.len()), ("/a?tt=1", 2));
        assert_eq!(other.headers[COOKIE], "jwtx=1;  b");
        let mut bare = head("/a?t=1", &[]);
        assert!(strip(&mut bare, &places));
        assert_eq!(bare.uri, "/a");
    }
}
