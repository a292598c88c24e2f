//! Values of `[auth.*]` as texts of the configuration.

use std::path::PathBuf;

use http::header::AUTHORIZATION;
use http::{HeaderName, Uri};

use super::{Fault, Syntax};
use crate::layers::auth::policy::TokenPlace;
use crate::layers::cors::policy::Origin;

/// What proves who one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthKind {
    /// A signed token.
    #[default]
    Jwt,
    /// A key that is known by its hash.
    ApiKey,
    /// A name and a password.
    Basic,
    /// The word of a service.
    Forward,
}

impl AuthKind {
    /// The keys of its tables, `kind` apart.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Jwt => &[
                "issuer",
                "audience",
                "jwks_url",
                "discovery",
                "jwks_file",
                "public_key_file",
                "secret",
                "algorithms",
                "leeway",
                "required_claims",
                "max_lifetime",
                "token_from",
                "forward_token",
                "claims_to_headers",
                "jwks_refresh",
                "jwks_cooldown",
                "jwks_max_stale",
                "jwks_ca",
                "allow_http",
                "cache_dir",
                "revoked_file",
                "revoked_before",
            ],
            Self::ApiKey => &["from", "keys_file", "forward_token", "claims_to_headers"],
            Self::Basic => &["users_file", "forward_token", "claims_to_headers"],
            Self::Forward => &["url", "timeout", "copy_headers", "subject_header", "max_in_flight", "ca"],
        }
    }

    /// Those that have this key.
    pub fn having(key: &str) -> Vec<Self> {
        let all = [Self::Jwt, Self::ApiKey, Self::Basic, Self::Forward];
        all.into_iter().filter(|kind| kind.keys().contains(&key)).collect()
    }
}

/// A file or a folder; a relative one is relative to the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

/// An http or https URL without user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUrl(pub String);

/// A moment, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub u64);

impl Syntax for FilePath {
    const FORMAT: &'static str = "file-path";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "" => Err(Fault::new("the path is empty")),
            _ if text.starts_with("file:") => Err(Fault::new(format!("`{text}` is not a path"))
                .hint(format!("write `{}`", text.trim_start_matches("file:")))),
            _ => Ok(Self(text.into())),
        }
    }

    fn print(&self) -> String {
        self.0.display().to_string()
    }
}

impl Syntax for WebUrl {
    const FORMAT: &'static str = "web-url";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || Fault::new("this is not a URL").hint("write it like `https://login.example.com/keys`");
        let uri: Uri = text.parse().map_err(|_| fault())?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Fault::new("the URL has user information, which nobody would be sent").hint("leave it out"));
        }
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(fault()),
        }
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

impl Syntax for Moment {
    const FORMAT: &'static str = "moment";

    fn parse(text: &str) -> Result<Self, Fault> {
        let moment = text.parse::<jiff::Timestamp>().ok().and_then(|moment| u64::try_from(moment.as_second()).ok());
        moment
            .map(Self)
            .ok_or_else(|| Fault::new(format!("`{text}` is not a moment")).hint("write it like `2026-01-31T12:00:00Z`"))
    }

    fn print(&self) -> String {
        let moment = i64::try_from(self.0).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        moment.unwrap_or_default().to_string()
    }
}

impl Syntax for Origin {
    const FORMAT: &'static str = "origin";

    fn parse(text: &str) -> Result<Self, Fault> {
        Self::parse(text).map_err(|what| {
            Fault::new(format!("`{text}` is not an origin: {what}"))
                .hint("write it like `https://app.example.com`, `https://*.example.com` or `*`")
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Syntax for TokenPlace {
    const FORMAT: &'static str = "token-place";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(format!("`{text}` is not a place for a token"))
                .hint("write `header:authorization`, `header:NAME`, `cookie:NAME` or `query:NAME`")
        };
        let (kind, name) = text.split_once(':').ok_or_else(fault)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        match (kind, name) {
            (_, "") => Err(fault()),
            ("header", name) => match name.parse::<HeaderName>().map_err(|_| fault())? {
                AUTHORIZATION => Ok(Self::Authorization),
                name => Ok(Self::Header(name)),
            },
            ("cookie", name) if name.chars().all(plain) => Ok(Self::Cookie(name.to_owned())),
            ("query", name) if name.chars().all(|c| c.is_ascii_graphic() && !"&=#%+".contains(c)) => {
                Ok(Self::Query(name.to_owned()))
            }
            _ => Err(fault()),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Authorization => "header:authorization".to_owned(),
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
            Self::Query(name) => format!("query:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_printed() {
        for text in ["header:authorization", "header:x-token", "cookie:__Host-jwt", "query:access_token"] {
            assert_eq!(TokenPlace::parse(text).unwrap().print(), text);
        }
        for text in ["", "header:", "authorization", "cookie:a b", "query:a=b", "body:x", "header:a b", "cookie:a;b"] {
            assert!(TokenPlace::parse(text).is_err(), "{text}");
        }
        assert_eq!(TokenPlace::parse("header:Authorization").unwrap(), TokenPlace::Authorization);
        let moment = "2026-01-31T12:00:00Z";
        assert_eq!(Moment::parse(moment).unwrap().print(), moment);
        assert!(Moment::parse("yesterday").is_err() && Moment::parse("1900-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn urls_are_those_that_can_be_asked() {
        assert!(WebUrl::parse("https://a.example/.well-known/jwks.json").is_ok());
        for text in ["", "a.example/keys", "ftp://a/", "https://u:p@a/", "https:///x", "/keys", "https://"] {
            assert!(WebUrl::parse(text).is_err(), "{text}");
        }
    }
}
