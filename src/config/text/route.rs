//! What a route is matched by, and what becomes of its path, as texts of the configuration.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use super::net::check_dns_name;
use super::{Fault, Syntax};
use crate::base::path::canonical;
use crate::config::HostMatch;

/// A path and everything below it; canonical, without a final slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

/// One path; canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactPath(pub String);

/// The path that goes to the upstream; `{path}` stands for the path of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite(pub String);

/// Where `{path}` goes in a [`Rewrite`].
const PLACE: &str = "{path}";

impl Syntax for Prefix {
    const FORMAT: &'static str = "path-prefix";

    fn parse(text: &str) -> Result<Self, Fault> {
        check_path(text)?;
        if let Some(above) = above_wildcard(text) {
            return Err(Fault::new(format!("`{text}` ends with a wildcard"))
                .hint(format!("a prefix takes everything below it: write `{above}`")));
        }
        Ok(Self(match text.strip_suffix('/') {
            Some("") | None => text.to_owned(),
            Some(shorter) => shorter.to_owned(),
        }))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

impl Syntax for ExactPath {
    const FORMAT: &'static str = "path";

    fn parse(text: &str) -> Result<Self, Fault> {
        check_path(text)?;
        if let Some(above) = above_wildcard(text) {
            return Err(Fault::new(format!("`{text}` ends with a wildcard"))
                .hint(format!("`prefix = \"{above}\"` takes everything below it")));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

impl Syntax for PathAndQuery {
    const FORMAT: &'static str = "path-and-query";

    fn parse(text: &str) -> Result<Self, Fault> {
        let bad = |what: &str| Err(Fault::new(format!("`{text}` {what}")).hint("write a path like `/healthz`"));
        match Self::try_from(text) {
            _ if !text.starts_with('/') => bad("does not begin with `/`"),
            _ if text.contains('#') => bad("has a fragment, which is never sent"),
            Ok(path) if path.as_str() == text => Ok(path),
            _ => bad("is not a path"),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Syntax for Rewrite {
    const FORMAT: &'static str = "rewrite";

    fn parse(text: &str) -> Result<Self, Fault> {
        if !text.starts_with('/') {
            return Err(Fault::new(format!("`{text}` does not begin with `/`")).hint("write a path like `/v2{path}`"));
        }
        if text.starts_with("/{path}") {
            return Err(Fault::new(format!("`{text}` begins with two slashes"))
                .hint("`{path}` begins with a slash itself: write it like `/v2{path}`"));
        }
        let filled = text.replace(PLACE, "/x");
        if let Some(at) = filled.find(['{', '}']) {
            return Err(Fault::new(format!("`{text}` has a place that cannot be filled: `{}`", &filled[at..]))
                .hint("`{path}` is the only place; the query goes on as it came"));
        }
        check_path(&filled)
            .map_err(|_| Fault::new(format!("`{text}` is not a canonical path")).hint("write one like `/v2{path}`"))?;
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

impl Syntax for HostMatch {
    const FORMAT: &'static str = "host";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "*" {
            return Err(Fault::new("`*` is not a host").hint("leave `hosts` out to take every host"));
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(Fault::new(format!("`{text}` has no brackets")).hint(format!("write it like `[{text}]`")));
        }
        let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = literal.and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok()) {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if text.contains('/') {
            let host = text.split_once("://").map_or(text, |(_, rest)| rest);
            let host = host.split(['/', ':']).next().unwrap_or_default();
            return Err(Fault::new(format!("`{text}` is more than a host")).hint(format!("write `{host}`")));
        }
        if let Some((host, _)) = text.rsplit_once(':') {
            return Err(Fault::new(format!("`{text}` has a port"))
                .hint(format!("a route takes its host on every port: write `{host}`")));
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        check_dns_name(name).map_err(|fault| match name.contains('*') {
            true => fault.hint("a `*` stands only for the first labels, as in `*.example.com`"),
            false => fault,
        })?;
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        Ok(match wildcard {
            true => Self::Wildcard(format!(".{name}")),
            false => Self::Exact(name),
        })
    }

    fn print(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Wildcard(suffix) => format!("*{suffix}"),
        }
    }
}

impl Syntax for Method {
    const FORMAT: &'static str = "method";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(Fault::new(format!("`{text}` is not a method: methods are in upper case"))
                .hint(format!("write `{}`", text.to_ascii_uppercase())));
        }
        Self::from_bytes(text.as_bytes()).map_err(|_| Fault::new(format!("`{text}` is not a method")))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Syntax for HeaderName {
    const FORMAT: &'static str = "header-name";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| Fault::new(format!("`{text}` is not the name of a header field")))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Syntax for HeaderValue {
    const FORMAT: &'static str = "header-value";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.trim() != text {
            return Err(Fault::new("a header field has no space around its value"));
        }
        text.parse().map_err(|_| Fault::new("the value has characters that a header field cannot have"))
    }

    fn print(&self) -> String {
        String::from_utf8_lossy(self.as_bytes()).into_owned()
    }
}

/// The path before a last segment that is a wildcard elsewhere and means only itself here.
fn above_wildcard(text: &str) -> Option<&str> {
    let above = text.strip_suffix("/*").or_else(|| text.strip_suffix("/**"))?;
    Some(if above.is_empty() { "/" } else { above })
}

/// Whether the text is a path in the one form that is compared with a request's.
fn check_path(text: &str) -> Result<(), Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new(format!("`{text}` does not begin with `/`")).hint(format!("write `/{text}`")));
    }
    if let Some(at) = text.find(['?', '#']) {
        return Err(Fault::new(format!("`{text}` is more than a path"))
            .hint(format!("leave `{}` out; `query` matches parameters", &text[at..])));
    }
    match canonical(text) {
        Ok(canonical) if canonical.path == text => Ok(()),
        Ok(canonical) => Err(Fault::new(format!("`{text}` is not canonical: no request would ever match it"))
            .hint(format!("write `{}`", canonical.path))),
        Err(error) => Err(Fault::new(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint<T: Syntax>(text: &str) -> String {
        T::parse(text).err().unwrap().hint.unwrap_or_default()
    }

    #[test]
    fn paths_are_canonical() {
        assert_eq!(Prefix::parse("/a/").unwrap().0, "/a");
        assert_eq!(Prefix::parse("/").unwrap().0, "/");
        assert_eq!(ExactPath::parse("/a/").unwrap().0, "/a/");
        assert_eq!(hint::<Prefix>("orders"), "write `/orders`");
        assert_eq!(hint::<Prefix>("/a/../b"), "write `/b`");
        assert_eq!(hint::<ExactPath>("/%61"), "write `/a`");
        assert_eq!(hint::<ExactPath>("/a?b=1"), "leave `?b=1` out; `query` matches parameters");
        assert!(Prefix::parse("/..").is_err());
    }

    #[test]
    fn what_is_a_wildcard_elsewhere_is_no_path() {
        assert_eq!(hint::<Prefix>("/api/*"), "a prefix takes everything below it: write `/api`");
        assert_eq!(hint::<Prefix>("/**"), "a prefix takes everything below it: write `/`");
        assert_eq!(hint::<ExactPath>("/api/*"), "`prefix = \"/api\"` takes everything below it");
        assert!(ExactPath::parse("/a*b").is_ok());
    }

    #[test]
    fn a_rewrite_is_a_path_with_one_place() {
        assert!(Rewrite::parse("/v2{path}").is_ok() && Rewrite::parse("/fixed").is_ok());
        for text in ["v2{path}", "{path}", "/{path}", "/v2{query}", "/v2{path", "/a/../b", "/v2{path}?a=1"] {
            assert!(Rewrite::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_have_one_form() {
        let host = |text| HostMatch::parse(text).unwrap();
        assert_eq!(host("API.Example.com."), HostMatch::Exact("api.example.com".to_owned()));
        assert_eq!(host("*.Example.com"), HostMatch::Wildcard(".example.com".to_owned()));
        assert_eq!(host("*.example.com").print(), "*.example.com");
        assert_eq!(host("[::1]"), HostMatch::Exact("[::1]".to_owned()));
        assert_eq!(hint::<HostMatch>("https://a.example:443/x"), "write `a.example`");
        for text in ["*", "a.*.com", "example.com:80", "::1", "", "exämple.com", "*."] {
            assert!(HostMatch::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn methods_are_in_upper_case() {
        assert_eq!(Method::parse("PATCH").unwrap(), Method::PATCH);
        assert_eq!(hint::<Method>("get"), "write `GET`");
        assert!(
            Method::parse("A B").is_err() && HeaderName::parse("a b").is_err() && HeaderValue::parse("a\n").is_err()
        );
    }
}
