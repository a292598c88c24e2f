//! Which pages may read a route's answers, as it is configured: origins, and what their requests may be. The only thing of
//! this module that the configuration knows.

use std::time::Duration;

use http::{HeaderName, Method};

/// What other origins may do on a route (Fetch, "CORS protocol").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsPolicy {
    /// Who they are.
    pub origins: Vec<Origin>,
    /// Methods that they may use.
    pub methods: Vec<Method>,
    /// Fields that their requests may have, beyond those that any may have; `*` stands for all but `Authorization`.
    pub headers: Vec<HeaderName>,
    /// Fields of answers that they may read, beyond those that any may read; `*` stands for all.
    pub expose_headers: Vec<HeaderName>,
    /// Whether their requests may have cookies and the like.
    pub credentials: bool,
    /// How long a browser may remember a preflight.
    pub max_age: Duration,
}

/// Whose pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Anybody's.
    Any,
    /// Those of this origin, as browsers write it; `null` is the one of sandboxes and files.
    Exact(String),
    /// Those of hosts below a domain, which begins with a dot and may have a port behind it.
    Below {
        /// With `://`.
        scheme: String,
        /// Domain and port.
        domain: String,
    },
}

impl Default for CorsPolicy {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            expose_headers: Vec::new(),
            credentials: false,
            max_age: Duration::from_secs(600),
        }
    }
}

impl Origin {
    /// Reads one as it is configured, and brings it to the form in which browsers write it (RFC 6454 §6.2): lower case,
    /// without the port that goes without saying.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Exact(text.to_owned())),
            _ => {}
        }
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or("an origin begins with a scheme, such as `https://`")?;
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(is_scheme) {
            return Err("its scheme is none");
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err("an origin has a host and perhaps a port, and nothing behind them: no slash either");
        }
        let (host, port) = split_port(rest).ok_or("its port is none")?;
        let usual = matches!((scheme, port), ("https", Some("443")) | ("http", Some("80")));
        let port = port.filter(|_| !usual).map_or_else(String::new, |port| format!(":{port}"));
        if let Some(domain) = host.strip_prefix("*.") {
            return match is_host(domain) && domain.contains('.') {
                true => Ok(Self::Below { scheme: format!("{scheme}://"), domain: format!(".{domain}{port}") }),
                false => Err("behind `*.` stands a domain of two labels at least"),
            };
        }
        match is_host(host) || is_bracketed(host) {
            true => Ok(Self::Exact(format!("{scheme}://{host}{port}"))),
            false => Err(
                "its host is none; `*` stands for all labels before a domain only, and names of other scripts are written as `xn--`",
            ),
        }
    }

    /// Whether it covers an origin as a browser sends it.
    pub fn covers(&self, sent: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own == sent,
            Self::Below { scheme, domain } => sent
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(domain.as_str()))
                .is_some_and(is_host),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(own) => f.write_str(own),
            Self::Below { scheme, domain } => write!(f, "{scheme}*{domain}"),
        }
    }
}

fn is_scheme(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
}

/// Labels of letters, digits, hyphens and underscores, with dots between: nothing that could end a host.
fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    text.split('.').all(|label| !label.is_empty() && label.bytes().all(plain))
}

fn is_bracketed(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    match colon {
        None => Some((text, None)),
        Some(colon) => {
            let port = &text[colon + 1..];
            let sound =
                port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
            (sound && !port.starts_with('0')).then_some((&text[..colon], Some(port)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_brought_to_the_form_that_browsers_send() {
        for (written, printed) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com:443", "https://app.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://*.Example.com:8443", "https://*.example.com:8443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("null", "null"),
            ("*", "*"),
        ] {
            let parsed = Origin::parse(written).unwrap();
            assert_eq!(parsed.to_string(), printed);
            assert_eq!(Origin::parse(printed), Ok(parsed));
        }
        for wrong in [
            "",
            "app.example.com",
            "https://",
            "https://a/",
            "https://a?",
            "https://u@a",
            "https://a:0",
            "https://a:x",
            "https://a:99999",
            "https://*",
            "https://*.com",
            "https://a.*.com",
            "https://*a.example.com",
            "https://a b",
            "https://ä.example",
            "://a",
            "1://a",
            "https://a..b",
            "https://.a",
            "https://[::1",
            "https://a:080",
            "*.a.b",
        ] {
            assert!(Origin::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_host_is_taken_for_one_below_a_domain() {
        let below = Origin::parse("https://*.example.com").unwrap();
        for sent in ["https://a.example.com", "https://a.b.example.com", "https://a-1.example.com"] {
            assert!(below.covers(sent), "{sent}");
        }
        for sent in [
            "https://example.com",
            "https://.example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil.com",
            "https://evil.com/.example.com",
            "https://evil.com#.example.com",
            "https://evil.com:1.example.com",
            "https://evil.com@a.example.com",
            "https://evilexample.com",
            "https://A.example.com",
            "https://a..example.com",
            "null",
            "",
        ] {
            assert!(!below.covers(sent), "{sent}");
        }
        assert!(!Origin::parse("https://a.example").unwrap().covers("https://a.example.evil.com"));
        assert!(Origin::parse("null").unwrap().covers("null"));
    }
}
