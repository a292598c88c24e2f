//! The first look at a request: one host, one path, one framing, or none of it. What two readers could read in two ways
//! is refused here, before anything decides by it (RFC 9112 §3.2, §6.1; RFC 9113 §8.3).

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::Limits;
use crate::base::exchange::Exchange;
use crate::base::headers;
use crate::base::path;
use crate::base::reject::{Reason, Reject};

/// Longest host name with its port, in bytes: 253 for the name (RFC 1035 §2.3.4), six for the port.
const LONGEST_HOST: usize = 259;

/// Brings a request's head into its canonical form, and notes in the exchange what was found.
///
/// # Errors
/// The refusal of a head that has none.
pub fn examine(head: &mut Parts, exchange: &mut Exchange, limits: &Limits) -> Result<(), Reject> {
    exchange.user_agent = head.headers.get(USER_AGENT).cloned();
    exchange.client = headers::client_address(exchange.origin.peer.ip(), &head.headers, &limits.trusted);
    check_size(head, limits)?;
    check_framing(head)?;
    exchange.host = host(head)?;
    if head.method == Method::CONNECT {
        return Err(bad("CONNECT is not served here"));
    }
    if head.uri.path() == "*" && head.uri.authority().is_none() {
        return if head.method == Method::OPTIONS {
            Ok(())
        } else {
            Err(bad("the target `*` is for OPTIONS only"))
        };
    }
    exchange.ambiguous_path = make_canonical(&mut head.uri)?;
    exchange.target = head.uri.clone();
    Ok(())
}

fn bad(detail: &'static str) -> Reject {
    Reject::new(Reason::BadRequest, detail)
}

fn check_size(head: &Parts, limits: &Limits) -> Result<(), Reject> {
    if head.headers.len() > limits.max_headers {
        return Err(Reject::new(
            Reason::HeaderTooLarge,
            "the request has too many header fields",
        ));
    }
    let target = head.uri.path().len() + head.uri.query().map_or(0, str::len);
    let bytes = head
        .headers
        .iter()
        .fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4);
    if bytes > limits.max_header_bytes {
        return Err(Reject::new(Reason::HeaderTooLarge, "the request head is too large"));
    }
    Ok(())
}

/// A body is framed in exactly one way: by one `Content-Length`, or by one `chunked`.
fn check_framing(head: &Parts) -> Result<(), Reject> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        if !chunked {
            return Err(bad("the only transfer coding is `chunked`, once"));
        }
        if head.headers.contains_key(CONTENT_LENGTH) {
            return Err(bad("a request has either Content-Length or Transfer-Encoding"));
        }
        if head.version == Version::HTTP_10 {
            return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
        }
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    if lengths.next().is_some() || first.is_some_and(|length| !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(bad("a request has at most one Content-Length, of digits"));
    }
    Ok(())
}

/// The one host of a request: the authority of an absolute target or of HTTP/2, which must not contradict a `Host`
/// field there; otherwise the `Host` field, which HTTP/1.1 must have exactly once.
fn host(head: &Parts) -> Result<Option<HeaderValue>, Reject> {
    let field = only_host(&head.headers)?;
    let multiplexed = head.version == Version::HTTP_2;
    let needed = head.version == Version::HTTP_11;
    let field = field.map(canonical_host).transpose()?;
    if needed && field.is_none() {
        return Err(bad("the request has no Host"));
    }
    if head.uri.scheme().is_none() && head.uri.authority().is_some() && head.method != Method::CONNECT {
        // `GET shop HTTP/1.1` names a host where a path should be (RFC 9112 §3.2.3).
        return Err(bad("the target does not begin with `/`"));
    }
    let Some(authority) = head.uri.authority() else {
        return match (field, head.method == Method::CONNECT, multiplexed) {
            (None, _, true) => Err(bad("the request has neither :authority nor Host")),
            (field, _, _) => Ok(field),
        };
    };
    if head
        .uri
        .scheme_str()
        .is_some_and(|scheme| !matches!(scheme, "http" | "https"))
    {
        return Err(bad("the target has a scheme other than http and https"));
    }
    let text = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the target has a malformed authority"))?;
    let authority = canonical_host(&text)?;
    match field {
        Some(field) if multiplexed && field != authority => Err(bad("the fields :authority and Host differ")),
        _ => Ok(Some(authority)),
    }
}

fn only_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Reject> {
    let mut all = headers.get_all(HOST).iter();
    let first = all.next();
    match all.next() {
        Some(_) => Err(bad("the request has more than one Host")),
        None => Ok(first),
    }
}

/// Lower case, without a final dot; the port stays. A name of letters, digits, dots, hyphens and underscores, or an
/// address in brackets: everything else (user information, spaces, slashes) is refused.
fn canonical_host(value: &HeaderValue) -> Result<HeaderValue, Reject> {
    let malformed = || bad("the host is malformed");
    let text = value.to_str().map_err(|_| malformed())?;
    let (name, port) = split_port(text);
    let name_is_sound = match name.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
    };
    let port_is_sound =
        port.is_none_or(|port| !port.is_empty() && port.parse::<u16>().is_ok() && !port.starts_with('+'));
    let bare = name.strip_suffix('.').unwrap_or(name);
    if !name_is_sound || !port_is_sound || bare.is_empty() || text.len() > LONGEST_HOST {
        return Err(malformed());
    }
    if bare.len() == name.len() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(value.clone());
    }
    let mut canonical = bare.to_ascii_lowercase();
    if let Some(port) = port {
        canonical.push(':');
        canonical.push_str(port);
    }
    HeaderValue::try_from(canonical).map_err(|_| malformed())
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    let colon = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|at| bracket + at),
        None => text.find(':'),
    };
    match colon {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// A canonical host without its port: what routes name.
pub fn name_of(host: &HeaderValue) -> &str {
    split_port(host.to_str().unwrap_or_default()).0
}

/// Makes the target a canonical path with its query as it came; tells whether escapes are left that could be read
/// twice.
fn make_canonical(uri: &mut Uri) -> Result<bool, Reject> {
    let origin_form = uri.authority().is_none() && uri.scheme().is_none();
    if origin_form && uri.path_and_query().is_none() {
        return Err(bad("the target does not begin with `/`"));
    }
    let raw = match uri.path() {
        "" => "/",
        path => path,
    };
    let canonical = path::canonical(raw).map_err(|error| Reject::new(Reason::BadRequest, error.to_string()))?;
    let target = match (&canonical.path, origin_form) {
        (Cow::Borrowed(_), true) => None,
        (Cow::Borrowed(_), false) => Some(uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"))),
        (Cow::Owned(path), _) => {
            let text = match uri.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.clone(),
            };
            Some(PathAndQuery::try_from(text).map_err(|_| bad("the path is malformed"))?)
        }
    };
    let ambiguous = canonical.ambiguous;
    if let Some(target) = target {
        *uri = Uri::from(target);
    }
    Ok(ambiguous)
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
