//! What a request that changes something makes void (RFC 9111 §4.4): its own URL, and those of the same host that its
//! response names. Pure.

use http::header::{CONTENT_LOCATION, HeaderMap, LOCATION};
use http::{Method, StatusCode, Uri};

use super::key;
use crate::base::path;

/// Whether a method asks for nothing to be done (RFC 9110 §9.2.1, RFC 10008 and WebDAV); one that nobody knows may.
pub fn is_safe(method: &Method) -> bool {
    const SAFE: [&str; 8] = ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"];
    SAFE.contains(&method.as_str())
}

/// Whether something was done, as far as the status says.
pub fn is_done(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// The further URLs that a response makes void, as the key has them.
pub fn named(response: &HeaderMap, scheme: &[u8], host: &[u8], target: &Uri) -> Vec<Vec<u8>> {
    let lines = [LOCATION, CONTENT_LOCATION].into_iter().flat_map(|name| response.get_all(name));
    let targets = lines.filter_map(|line| resolve(line.to_str().ok()?, scheme, host, target));
    targets.map(|target| key::url(scheme, host, target.as_bytes())).collect()
}

/// The target that a reference means, if it is one of this host.
fn resolve(reference: &str, scheme: &[u8], host: &[u8], target: &Uri) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let local = match reference.strip_prefix("//") {
        Some(_) => format!("{}:{reference}", std::str::from_utf8(scheme).ok()?),
        None => reference.to_owned(),
    };
    let own_path = target.path();
    let text = if local.starts_with('/') {
        local
    } else if let Ok(uri) = local.parse::<Uri>()
        && let (Some(their_scheme), Some(authority)) = (uri.scheme_str(), uri.authority())
    {
        let same =
            their_scheme.as_bytes().eq_ignore_ascii_case(scheme) && is_host(authority.as_str(), host, their_scheme);
        if !same {
            return None;
        }
        uri.path_and_query().map_or("/", |target| target.as_str()).to_owned()
    } else if local.is_empty() || local.contains(':') {
        return None;
    } else if local.starts_with('?') {
        format!("{own_path}{local}")
    } else {
        format!("{}/{local}", own_path.rsplit_once('/').map_or("", |(folder, _)| folder))
    };
    let (raw, query) = text.split_once('?').map_or((text.as_str(), None), |(path, query)| (path, Some(query)));
    let canonical = path::canonical(raw).ok()?.path;
    Some(match query {
        Some(query) => format!("{canonical}?{query}"),
        None => canonical.into_owned(),
    })
}

/// Whether an authority is this host; the port of the scheme may be left out.
fn is_host(authority: &str, host: &[u8], scheme: &str) -> bool {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    std::str::from_utf8(host).is_ok_and(|host| plain(authority) == plain(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_on_the_same_host_is_found() {
        let target: Uri = "/a/b?c=1".parse().unwrap();
        for (reference, expected) in [
            ("/x?y=1#z", Some("/x?y=1")),
            ("x", Some("/a/x")),
            ("?y", Some("/a/b?y")),
            ("../x", Some("/x")),
            ("http://SHOP.example/x", Some("/x")),
            ("http://shop.example:80", Some("/")),
            ("//shop.example/x", Some("/x")),
            ("https://shop.example/x", None),
            ("http://other.example/x", None),
            ("http://shop.example:8080/x", None),
            ("mailto:x", None),
            ("", None),
        ] {
            assert_eq!(resolve(reference, b"http", b"shop.example", &target).as_deref(), expected, "{reference}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, "/x".parse().unwrap());
        headers.insert(CONTENT_LOCATION, "http://other/".parse().unwrap());
        assert_eq!(named(&headers, b"http", b"h", &target), [key::url(b"http", b"h", b"/x")]);
    }

    #[test]
    fn only_what_succeeds_changes_something() {
        assert!(is_done(StatusCode::NO_CONTENT) && is_done(StatusCode::SEE_OTHER));
        assert!(!is_done(StatusCode::NOT_FOUND) && !is_done(StatusCode::BAD_GATEWAY));
        assert!(
            is_safe(&Method::HEAD) && !is_safe(&Method::POST) && !is_safe(&Method::from_bytes(b"M-SEARCH").unwrap())
        );
    }
}
