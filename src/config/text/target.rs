//! What a route points to, and how things are called: names, inline upstreams, the `Host` field, log files.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderValue;

use super::net::{check_dns_name, parse_port};
use super::{Fault, Syntax, did_you_mean};
use crate::config::AccessTarget;
use crate::upstream::policy::{Discovery, HostHeader, WeightedAddress};

/// A name that becomes a label of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(pub String);

/// The name of an upstream: a [`Label`], or `host:port`, which is what an inline upstream is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamName(pub String);

/// What `upstream` of a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The name of an upstream.
    Named(String),
    /// `http://host:port`: an upstream with every setting at its default.
    Inline(Authority),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Stands in metrics for requests that no route took.
const RESERVED: &str = "none";

impl Authority {
    /// `host:port`, the name of the inline upstream.
    pub fn name(&self) -> String {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }

    /// Where its addresses come from.
    pub fn discovery(&self) -> Discovery {
        match &self.host {
            Host::Ip(ip) => Discovery::Addresses(vec![WeightedAddress::new(SocketAddr::new(*ip, self.port))]),
            Host::Name(name) => Discovery::Dns { name: name.clone(), port: self.port },
        }
    }

    /// Reads `host:port`; without a port it is `default`.
    fn parse(text: &str, default: Option<u16>) -> Result<Self, Fault> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, rest)) if rest.is_empty() || rest.starts_with(':') => {
                let ip = inner.parse::<Ipv6Addr>();
                let ip = ip.map_err(|_| Fault::new(format!("`{inner}` is not an IPv6 address")))?;
                (Host::Ip(ip.into()), rest.strip_prefix(':'))
            }
            Some(_) => return Err(Fault::new(format!("`{text}` is not a host and a port"))),
            None => {
                let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                match host.parse::<IpAddr>() {
                    Ok(ip) => (Host::Ip(ip), port),
                    Err(_) => {
                        check_dns_name(host)?;
                        (Host::Name(host.to_ascii_lowercase()), port)
                    }
                }
            }
        };
        let port = match (port, default) {
            (Some(port), _) => parse_port(port)?,
            (None, Some(port)) => port,
            (None, None) => return Err(Fault::new(format!("`{text}` has no port"))),
        };
        Ok(Self { host, port })
    }
}

impl Syntax for Label {
    const FORMAT: &'static str = "label";

    fn parse(text: &str) -> Result<Self, Fault> {
        let of_a_label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text == RESERVED {
            return Err(Fault::new("the name `none` is taken: it stands for requests that no route took"));
        }
        if text.is_empty() || text.len() > 64 || !text.chars().all(of_a_label) {
            return Err(Fault::new(format!("`{}` is not a name", text.escape_debug()))
                .hint("names have 1 to 64 letters, digits, `_`, `.` and `-`"));
        }
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

impl Syntax for UpstreamName {
    const FORMAT: &'static str = "upstream-name";

    fn parse(text: &str) -> Result<Self, Fault> {
        match Authority::parse(text, None) {
            Ok(authority) if authority.name() == text => Ok(Self(text.to_owned())),
            _ => Label::parse(text).map(|label| Self(label.0)),
        }
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

impl Syntax for Target {
    const FORMAT: &'static str = "upstream";

    fn parse(text: &str) -> Result<Self, Fault> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return UpstreamName::parse(text).map(|name| Self::Named(name.0));
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        // Before anything that would repeat the text: what stands before the `@` is a password.
        if authority.contains('@') {
            return Err(
                Fault::new("an upstream has no user name and no password").hint("leave out what is before the `@`")
            );
        }
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => {
                return Err(Fault::new("`https` to an upstream is not supported yet")
                    .hint(format!("write `http://{authority}`, or put what speaks TLS beside the gateway")));
            }
            other => {
                return Err(Fault::new(format!("`{other}` is not something that upstreams speak"))
                    .hint(format!("write `http://{authority}`")));
            }
        }
        if !tail.is_empty() {
            return Err(Fault::new(format!("an upstream has no path and no query: `{tail}`"))
                .hint(format!("write `http://{authority}`; `rewrite` changes the path")));
        }
        Authority::parse(authority, Some(80)).map(Self::Inline)
    }

    fn print(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Inline(authority) => format!("http://{}", authority.name()),
        }
    }
}

impl Syntax for HostHeader {
    const FORMAT: &'static str = "host-header";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "client" => Ok(Self::Client),
            "upstream" => Ok(Self::Upstream),
            _ => {
                Authority::parse(text, Some(80))?;
                HeaderValue::parse(text).map(Self::Fixed)
            }
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Client => "client".to_owned(),
            Self::Upstream => "upstream".to_owned(),
            Self::Fixed(value) => value.print(),
        }
    }
}

impl Syntax for AccessTarget {
    const FORMAT: &'static str = "access-target";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "off" => Ok(Self::Off),
            _ if text.contains(['/', '.']) => Ok(Self::File(text.into())),
            // A bare word is more likely a slip than a file.
            _ => Err(Fault::new(format!("`{text}` is none of `stdout`, `stderr`, `off` and no path"))
                .hint(format!("a file is written with a folder, such as `./{text}`"))
                .maybe_hint(did_you_mean(text, ["stdout", "stderr", "off"]))),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Stdout => "stdout".to_owned(),
            Self::Stderr => "stderr".to_owned(),
            Self::Off => "off".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(text: &str) -> String {
        match Target::parse(text) {
            Ok(Target::Inline(authority)) => authority.name(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn equal_inline_upstreams_have_equal_names() {
        assert_eq!(inline("http://App:12345"), "app:12345");
        assert_eq!(inline("http://app"), "app:80");
        assert_eq!(inline("http://[0::1]:81"), "[::1]:81");
        assert_eq!(Target::parse("orders"), Ok(Target::Named("orders".to_owned())));
        assert_eq!(Target::parse("app:80"), Ok(Target::Named("app:80".to_owned())));
    }

    #[test]
    fn what_an_upstream_cannot_be() {
        for text in [
            "https://app:1",
            "ftp://app",
            "http://app/x",
            "http://app?x",
            "http://",
            "http://:80",
            "http://a:b:80",
            "http://[::1]x:80",
            "http://[x]:80",
            "http://app:99999",
            "a/b",
            "",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        let fault = Target::parse("ftp://me:hunter2@app").unwrap_err();
        assert!(!format!("{fault:?}").contains("hunter2"));
    }

    #[test]
    fn names_are_labels() {
        assert!(Label::parse("a_b.c-1").is_ok());
        assert!(Label::parse("none").is_err() && Label::parse("a b").is_err() && Label::parse("a:80").is_err());
        assert!(UpstreamName::parse("a:80").is_ok() && UpstreamName::parse("A:80").is_err());
        assert!(AccessTarget::parse("stdou").is_err() && AccessTarget::parse("./log").is_ok());
    }
}
