//! What a request means to a cache, found in one pass over its fields: most have nothing of all this.

use http::Method;
use http::header::{HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH};

use super::directives::RequestDirectives;

/// What a request means to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// It asks for the head alone.
    pub head: bool,
    /// What it says in `Cache-Control`.
    pub directives: RequestDirectives,
    /// It has credentials.
    pub authorized: bool,
    /// It asks for a part.
    pub range: bool,
    /// It has `If-None-Match` or `If-Modified-Since`.
    pub conditional: bool,
    /// It has what no key and no `Vary` covers, and what a backend may answer by all the same: it neither gets what is
    /// stored nor is its answer.
    pub strange: bool,
}

impl Ask {
    /// Looks at each field once.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let mut ask = Self { head: method == Method::HEAD, ..Self::default() };
        let mut control = false;
        for name in headers.keys() {
            let name = name.as_str();
            match (name.len(), name) {
                (5, "range") => ask.range = true,
                (13, "cache-control") => control = true,
                (13, "authorization") => ask.authorized = true,
                (13, "if-none-match") | (17, "if-modified-since") => ask.conditional = true,
                // Whoever asks for another protocol wants a tunnel, not a response.
                (7, "upgrade") => ask.strange = true,
                (8, "if-match") | (19, "if-unmodified-since") => ask.strange = true,
                (6..=22, _) if name.starts_with('x') || name.starts_with("front") => ask.strange |= is_override(name),
                _ => {}
            }
        }
        if control {
            ask.directives = RequestDirectives::of(headers);
        }
        ask
    }
}

/// Fields by which frameworks take another method, path, host or scheme than that of the request. They are of one hop
/// behind proxies that set them; a client that sends them means to be answered otherwise than the URL says.
fn is_override(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-original-uri",
        "x-original-host",
        "x-original-path",
        "x-rewrite-url",
        "x-rewrite-uri",
        "x-host",
        "x-forwarded-server",
        "x-forwarded-scheme",
        "x-forwarded-port",
        "x-forwarded-ssl",
        "x-forwarded-path",
        "front-end-https",
    ];
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    NAMES.iter().any(|known| known.len() == name.len() && known.bytes().eq(name.bytes().map(plain)))
}

/// Takes out what a client has put to its request so that it may get less than a whole response. The cache answers that
/// itself, from the whole.
pub fn make_plain(headers: &mut HeaderMap) {
    headers.remove(IF_NONE_MATCH);
    headers.remove(IF_MODIFIED_SINCE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn ask(names: &[&'static str]) -> Ask {
        let headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), "no-cache".parse().unwrap())).collect();
        Ask::of(&Method::GET, &headers)
    }

    #[test]
    fn an_ordinary_request_means_nothing() {
        assert_eq!(ask(&["host", "accept", "x-real-ip", "x-request-id", "cookie"]), Ask::default());
        assert!(Ask::of(&Method::HEAD, &HeaderMap::new()).head);
    }

    #[test]
    fn each_field_has_its_meaning() {
        assert!(ask(&["range"]).range && ask(&["authorization"]).authorized);
        assert!(ask(&["if-none-match"]).conditional && ask(&["if-modified-since"]).conditional);
        assert!(ask(&["cache-control"]).directives.no_cache);
        for name in
            ["if-match", "upgrade", "x-original-url", "x_original_url", "x-http-method-override", "front-end-https"]
        {
            assert!(ask(&[name]).strange, "{name}");
        }
    }
}
