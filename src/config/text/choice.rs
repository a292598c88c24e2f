//! Values that are one word out of a few.

use super::{AuthKind, Fault, Syntax, did_you_mean};
use crate::config::{EncodedSlashes, LogFormat, LogLevel};
use crate::layers::auth::algorithm::Algorithm;
use crate::layers::auth::policy::Mode;
use crate::upstream::policy::{Balance, Family};

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
    Balance as "balance" {
        "round_robin" => Self::RoundRobin,
        "least_request" => Self::LeastRequest,
        "random" => Self::Random,
    }
    AuthKind as "auth-kind" {
        "jwt" => Self::Jwt,
    }
    Mode as "mode" {
        "enforce" => Self::Enforce,
        "observe" => Self::Observe,
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

/// The fault of a word that is not among the choices.
pub(in crate::config) fn not_among(text: &str, choices: &[&str]) -> Fault {
    let list = choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>();
    let hint = did_you_mean(text, choices.iter().copied());
    Fault::new(format!("`{text}` is none of {}", list.join(", "))).maybe_hint(hint)
}
