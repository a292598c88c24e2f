//! The URL of a probe, taken apart once. Knows what can be asked, not how.

use std::str::FromStr;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use thiserror::Error;

/// A URL that can be probed.
#[derive(Clone, Debug)]
pub struct Target {
    url: Uri,
    address: String,
    path: PathAndQuery,
    host: HeaderValue,
}

/// Why a URL cannot be probed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// It is no URL, or has no host.
    #[error("not a URL of the form http://host[:port]/path")]
    Malformed,
    /// It would need TLS.
    #[error("the probe speaks http only, not {0}")]
    Scheme(String),
}

impl Target {
    /// `host:port` to connect to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The `Host` field, as the URL has it.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// What the request line asks for.
    pub fn path(&self) -> PathAndQuery {
        self.path.clone()
    }

    /// Another path of the same server.
    #[must_use]
    pub fn at(&self, path: &'static str) -> Self {
        Self { path: PathAndQuery::from_static(path), ..self.clone() }
    }

    /// The URL as given.
    pub fn url(&self) -> &Uri {
        &self.url
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let url: Uri = text.parse().map_err(|_| TargetError::Malformed)?;
        match url.scheme_str() {
            Some("http") => {}
            Some(other) => return Err(TargetError::Scheme(other.to_owned())),
            None => return Err(TargetError::Malformed),
        }
        let authority = url.authority().ok_or(TargetError::Malformed)?;
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        // Whatever stands before an `@` is for logging in, which is not the probe's business.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| TargetError::Malformed)?;
        let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { url, address, path, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target: Target = "http://[::1]:8080/a?b=c".parse().unwrap();
        assert_eq!(
            (target.address(), target.host().as_bytes(), target.path().as_str()),
            ("[::1]:8080", &b"[::1]:8080"[..], "/a?b=c")
        );
        let target: Target = "http://app".parse().unwrap();
        assert_eq!((target.address(), target.path().as_str()), ("app:80", "/"));
    }

    #[test]
    fn what_cannot_be_probed_says_why() {
        let refused = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(refused("https://app/"), TargetError::Scheme("https".to_owned()));
        assert_eq!(refused("app:8080"), TargetError::Malformed);
        assert_eq!(refused("/only/a/path"), TargetError::Malformed);
        assert_eq!(refused(""), TargetError::Malformed);
    }
}
