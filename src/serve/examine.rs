//! The first look at a request: one host, one path, one framing, or none of it. What two readers could read in two ways
//! is refused here, before anything decides by it (RFC 9112 §3.2, §6.1; RFC 9113 §8.3).

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version};

use super::Limits;
use crate::base::account::X_TOLLGATE_TRACE;
use crate::base::exchange::Exchange;
use crate::base::headers::{self, Survey};
use crate::base::path;
use crate::base::reject::{Reason, Reject};
use crate::base::secret::Secret;

/// Longest host name with its port, in bytes: 253 for the name (RFC 1035 §2.3.4), six for the port.
const LONGEST_HOST: usize = 259;

/// Brings a request's head into its canonical form, and notes in the exchange what was found.
///
/// # Errors
/// The refusal of a head that has none.
pub fn examine(head: &mut Parts, exchange: &mut Exchange, limits: &Limits) -> Result<(), Reject> {
    let examined = canonical(head, exchange, limits);
    exchange.target = head.uri.clone();
    examined
}

/// Takes the operators' token out of a request that brings one in `X-Tollgate-Trace`: it goes no further, right or wrong.
/// Who brings the right one is told what becomes of the request.
pub fn take_token(head: &mut Parts, exchange: &mut Exchange, token: Option<&Secret>) {
    let mut given = head.headers.get_all(X_TOLLGATE_TRACE).iter();
    let only = given.next().filter(|_| given.next().is_none());
    if token.zip(only).is_some_and(|(token, given)| token.is(given.as_bytes())) {
        exchange.account = Some(Box::default());
    }
    head.headers.remove(X_TOLLGATE_TRACE);
}

fn canonical(head: &mut Parts, exchange: &mut Exchange, limits: &Limits) -> Result<(), Reject> {
    let survey = Survey::of(&head.headers);
    exchange.survey = survey;
    if survey.forwarding && exchange.origin.trusted {
        exchange.client = headers::client_address(exchange.origin.peer.ip(), &head.headers, &limits.trusted);
    }
    check_size(head, &survey, limits)?;
    check_framing(head, &survey)?;
    exchange.host = host(head, &survey)?;
    if head.method == Method::CONNECT {
        return Err(bad("CONNECT is not served here"));
    }
    if head.uri.path() == "*" && head.uri.authority().is_none() {
        return if head.method == Method::OPTIONS { Ok(()) } else { Err(bad("the target `*` is for OPTIONS only")) };
    }
    exchange.ambiguous_path = make_canonical(&mut head.uri)?;
    Ok(())
}

fn bad(detail: &'static str) -> Reject {
    Reject::new(Reason::BadRequest, detail)
}

fn check_size(head: &Parts, survey: &Survey, limits: &Limits) -> Result<(), Reject> {
    if survey.count > limits.max_headers {
        return Err(Reject::new(Reason::HeaderTooLarge, "the request has too many header fields"));
    }
    let target = head.uri.path().len() + head.uri.query().map_or(0, str::len);
    if survey.bytes + target > limits.max_header_bytes {
        return Err(Reject::new(Reason::HeaderTooLarge, "the request head is too large"));
    }
    Ok(())
}

/// A body is framed in exactly one way: by one `Content-Length`, or by one `chunked`.
fn check_framing(head: &Parts, survey: &Survey) -> Result<(), Reject> {
    if survey.codings > 0 {
        let coding = head.headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
        if survey.codings > 1 || !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(bad("the only transfer coding is `chunked`, once"));
        }
        if survey.lengths > 0 {
            return Err(bad("a request has either Content-Length or Transfer-Encoding"));
        }
        if head.version == Version::HTTP_10 {
            return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
        }
    }
    if survey.lengths > 0 {
        let length = head.headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes).unwrap_or_default();
        if survey.lengths > 1 || !length.iter().all(u8::is_ascii_digit) {
            return Err(bad("a request has at most one Content-Length, of digits"));
        }
    }
    Ok(())
}

/// The one host of a request: the authority of an absolute target or of HTTP/2, which must not contradict a `Host`
/// field there; otherwise the `Host` field, which HTTP/1.1 must have exactly once.
fn host(head: &Parts, survey: &Survey) -> Result<Option<HeaderValue>, Reject> {
    if survey.hosts > 1 {
        return Err(bad("the request has more than one Host"));
    }
    let field = head.headers.get(HOST).filter(|_| survey.hosts > 0);
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
    if head.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(bad("the target has a scheme other than http and https"));
    }
    let text = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the target has a malformed authority"))?;
    let authority = canonical_host(&text)?;
    match field {
        Some(field) if multiplexed && field != authority => Err(bad("the fields :authority and Host differ")),
        _ => Ok(Some(authority)),
    }
}

/// Lower case, without a final dot; the port stays. A name of letters, digits, dots, hyphens and underscores, or an
/// address in brackets: everything else (user information, spaces, slashes) is refused.
fn canonical_host(value: &HeaderValue) -> Result<HeaderValue, Reject> {
    if is_canonical(value.as_bytes()) {
        return Ok(value.clone());
    }
    let malformed = || bad("the host is malformed");
    let text = value.to_str().map_err(|_| malformed())?;
    let (name, port) = split_port(text);
    let name_is_sound = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
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

/// The bytes of a name in its canonical form.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        byte += 1;
    }
    plain
};

/// Whether a host is plainly what it should be, as nearly every one is: then it is looked at once, and not five times.
fn is_canonical(host: &[u8]) -> bool {
    let end = host.iter().position(|&byte| !PLAIN[usize::from(byte)]).unwrap_or(host.len());
    let (name, port) = host.split_at(end);
    let port_is_sound = match port {
        [] => true,
        [b':', digits @ ..] => (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port_is_sound && !matches!(name, [] | [.., b'.']) && host.len() <= LONGEST_HOST
}

/// Splits at the colon behind the name; those within brackets belong to an address.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let bracket = if text.starts_with('[') { text.find(']').unwrap_or(text.len()) } else { 0 };
    match text[bracket..].find(':') {
        Some(at) => (&text[..bracket + at], Some(&text[bracket + at + 1..])),
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
        // What comes behind an authority may be a fragment alone, of which nothing is left: not even the slash.
        (Cow::Borrowed("/"), false) if uri.query().is_none() => Some(PathAndQuery::from_static("/")),
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
