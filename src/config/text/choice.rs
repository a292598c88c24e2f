//! Values that are one word out of a few, or that begin with one.

use http::HeaderName;

use super::{AuthKind, Fault, Syntax, did_you_mean};
use crate::base::cookies;
use crate::base::mode::Mode;
use crate::config::{EncodedSlashes, LogFormat, LogLevel};
use crate::layers::auth::algorithm::Algorithm;
use crate::layers::cache::policy::{Part, Sharing};
use crate::layers::rate_limit::policy as limit;
use crate::upstream::policy::{Family, HashKey};

/// The ways to balance that need nothing but their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalanceWord {
    /// In turn.
    RoundRobin,
    /// The less busy of two.
    LeastRequest,
    /// The quicker of two.
    PeakEwma,
    /// At random.
    Random,
}

/// The name of a cookie (RFC 6265 §4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(pub String);

macro_rules! choices {
    ($($type:ty as $format:literal { $($word:literal => $value:path),+ $(,)? })+) => {$(
        impl Syntax for $type {
            const FORMAT: &'static str = $format;
            const CHOICES: &'static [&'static str] = &[$($word),+];

            fn parse(text: &str) -> Result<Self, Fault> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(not_among(text, Self::CHOICES)),
                }
            }

            fn print(&self) -> String {
                match self {
                    $($value => $word,)+
                }
                .to_owned()
            }
        }
    )+};
}

choices! {
    LogLevel as "log-level" {
        "error" => Self::Error,
        "warn" => Self::Warn,
        "info" => Self::Info,
        "debug" => Self::Debug,
        "trace" => Self::Trace,
    }
    LogFormat as "log-format" {
        "json" => Self::Json,
        "text" => Self::Text,
    }
    Family as "family" {
        "both" => Self::Both,
        "v4" => Self::V4,
        "v6" => Self::V6,
    }
    BalanceWord as "balance" {
        "round_robin" => Self::RoundRobin,
        "least_request" => Self::LeastRequest,
        "peak_ewma" => Self::PeakEwma,
        "random" => Self::Random,
    }
    AuthKind as "auth-kind" {
        "jwt" => Self::Jwt,
        "api_key" => Self::ApiKey,
        "basic" => Self::Basic,
        "forward" => Self::Forward,
    }
    Mode as "mode" {
        "enforce" => Self::Enforce,
        "observe" => Self::Observe,
    }
    Sharing as "cache-store" {
        "memory" => Self::Memory,
        "redis" => Self::Redis,
    }
    limit::Store as "limit-store" {
        "local" => Self::Local,
        "redis" => Self::Redis,
    }
    limit::OnStoreError as "on-store-error" {
        "local" => Self::Local,
        "allow" => Self::Allow,
        "deny" => Self::Deny,
    }
    limit::Style as "limit-headers" {
        "draft" => Self::Draft,
        "legacy" => Self::Legacy,
        "off" => Self::Off,
    }
    limit::Scope as "limit-scope" {
        "limit" => Self::Limit,
        "route" => Self::Route,
    }
    Algorithm as "algorithm" {
        "RS256" => Self::Rs256,
        "RS384" => Self::Rs384,
        "RS512" => Self::Rs512,
        "PS256" => Self::Ps256,
        "PS384" => Self::Ps384,
        "PS512" => Self::Ps512,
        "ES256" => Self::Es256,
        "ES384" => Self::Es384,
        "EdDSA" => Self::EdDsa,
        "HS256" => Self::Hs256,
        "HS384" => Self::Hs384,
        "HS512" => Self::Hs512,
    }
    EncodedSlashes as "encoded-slashes" {
        "reject" => Self::Reject,
        "allow" => Self::Allow,
    }
}

impl Syntax for HashKey {
    const FORMAT: &'static str = "hash-key";

    fn parse(text: &str) -> Result<Self, Fault> {
        const KINDS: [&str; 5] = ["ip", "path", "header", "cookie", "query"];
        let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        match (kind, name) {
            ("ip", None) => Ok(Self::Ip),
            ("path", None) => Ok(Self::Path),
            ("header", Some(name)) => HeaderName::parse(name).map(Self::Header),
            ("cookie", Some(name)) => CookieName::parse(name).map(|name| Self::Cookie(name.0)),
            ("query", Some(name)) if !name.is_empty() && !name.contains(['=', '&', '#', ' ']) => {
                Ok(Self::Query(name.to_owned()))
            }
            ("query", Some(name)) => Err(Fault::new(format!("`{name}` is not the name of a parameter"))),
            ("header" | "cookie" | "query", None) => {
                Err(Fault::new(format!("`{text}` of which name?")).hint(format!("write it like `{kind}:user`")))
            }
            ("ip" | "path", Some(_)) => {
                Err(Fault::new(format!("`{kind}` takes no name")).hint(format!("write `{kind}`")))
            }
            _ => Err(Fault::new(format!("`{text}` is no part of a request to choose an address by"))
                .hint("there are `ip`, `path`, `header:NAME`, `cookie:NAME` and `query:NAME`")
                .maybe_hint(did_you_mean(kind, KINDS))),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Ip => "ip".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
            Self::Query(name) => format!("query:{name}"),
        }
    }
}

impl Syntax for Part {
    const FORMAT: &'static str = "cache-key-part";

    fn parse(text: &str) -> Result<Self, Fault> {
        let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        match (kind, name) {
            ("subject", None) => Ok(Self::Subject),
            ("claim", Some(path)) if !path.is_empty() => Ok(Self::Claim(path.into())),
            ("header", Some(name)) => HeaderName::parse(name).map(Self::Header),
            ("claim" | "header", _) => {
                Err(Fault::new(format!("`{text}` of which name?")).hint(format!("write it like `{kind}:tenant`")))
            }
            _ => Err(Fault::new(format!("`{text}` does not tell requests apart"))
                .hint("there are `subject`, `claim:NAME` and `header:NAME`")
                .maybe_hint(did_you_mean(kind, ["subject", "claim", "header"]))),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Subject => "subject".to_owned(),
            Self::Claim(path) => format!("claim:{path}"),
            Self::Header(name) => format!("header:{name}"),
        }
    }
}

impl Syntax for CookieName {
    const FORMAT: &'static str = "cookie-name";

    fn parse(text: &str) -> Result<Self, Fault> {
        match cookies::is_name(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(Fault::new(format!("`{}` is not the name of a cookie", text.escape_debug()))
                .hint("names have letters, digits, `-`, `_` and `.`")),
        }
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// The fault of a word that is not among the choices.
pub(in crate::config) fn not_among(text: &str, choices: &[&str]) -> Fault {
    let list = choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>();
    let hint = did_you_mean(text, choices.iter().copied());
    Fault::new(format!("`{text}` is none of {}", list.join(", "))).maybe_hint(hint)
}
