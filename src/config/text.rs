//! Values that are written as one string: each type says how it is read, how it is printed and what the schema calls
//! it. Knows no keys and no files.

mod auth;
mod choice;
mod limit;
mod net;
pub(super) mod redis;
mod retry;
mod route;
mod secret;
mod target;
mod unit;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{AccessTarget, HostMatch};
use crate::base::units::{ByteRate, Rate, Size};
use crate::layers::auth::policy::TokenPlace;
use crate::layers::cache::policy::Part;
use crate::layers::cors::policy::Origin;
use crate::layers::rate_limit::policy::KeyPart;
use crate::upstream::policy::{Condition, HashKey, HostHeader};

pub use self::auth::{AuthKind, FilePath, Moment, WebUrl};
pub(super) use self::choice::not_among;
pub use self::choice::{BalanceWord, CookieName};
pub use self::limit::PlanClaim;
pub use self::net::{AdminListen, DnsTarget, NameServer, ServiceName, SocketPath};
pub use self::redis::RedisAddress;
pub use self::route::{ExactPath, Prefix, Rewrite};
pub use self::secret::{SecretText, looks_secret};
pub use self::target::{Authority, Label, Target, UpstreamName};

/// A value of type `T`, written as a string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<T>(pub T);

/// How a type is written as a string.
pub trait Syntax: Sized {
    /// What the schema calls it: its `format`.
    const FORMAT: &'static str;
    /// The only texts there are, where the type is a choice.
    const CHOICES: &'static [&'static str] = &[];
    /// Whether a bare number will do.
    const NUMBER: bool = false;
    /// Whether the text must never be shown.
    const SECRET: bool = false;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Fault>;
    /// Writes it such that it can be read again.
    fn print(&self) -> String;
    /// Its size, where the schema may bound it with `x-minimum` and `x-maximum`.
    fn measure(&self) -> Option<u128> {
        None
    }
}

/// What is wrong with a value, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong; lower case, no full stop.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// One format of the schema: enough to check a text without its type.
#[derive(Clone, Copy)]
pub struct Format {
    /// The schema's `format`.
    pub name: &'static str,
    check: fn(&str) -> Result<Option<u128>, Fault>,
}

/// Every format that the schema may name, but for the choices, which it lists itself.
pub const FORMATS: &[Format] = &[
    Format::of::<Duration>(),
    Format::of::<Size>(),
    Format::of::<ByteRate>(),
    Format::of::<SocketAddr>(),
    Format::of::<IpNet>(),
    Format::of::<AdminListen>(),
    Format::of::<SocketPath>(),
    Format::of::<DnsTarget>(),
    Format::of::<NameServer>(),
    Format::of::<SecretText>(),
    Format::of::<Label>(),
    Format::of::<UpstreamName>(),
    Format::of::<Target>(),
    Format::of::<Prefix>(),
    Format::of::<ExactPath>(),
    Format::of::<PathAndQuery>(),
    Format::of::<Rewrite>(),
    Format::of::<AccessTarget>(),
    Format::of::<HostMatch>(),
    Format::of::<HostHeader>(),
    Format::of::<HashKey>(),
    Format::of::<CookieName>(),
    Format::of::<ServiceName>(),
    Format::of::<Condition>(),
    Format::of::<Method>(),
    Format::of::<HeaderName>(),
    Format::of::<HeaderValue>(),
    Format::of::<FilePath>(),
    Format::of::<WebUrl>(),
    Format::of::<Moment>(),
    Format::of::<TokenPlace>(),
    Format::of::<Part>(),
    Format::of::<Origin>(),
    Format::of::<RedisAddress>(),
    Format::of::<Rate>(),
    Format::of::<KeyPart>(),
    Format::of::<PlanClaim>(),
];

impl Format {
    const fn of<T: Syntax>() -> Self {
        Self { name: T::FORMAT, check: |text| T::parse(text).map(|value| value.measure()) }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().copied().find(|format| format.name == name)
    }

    /// Whether the text has this format, and its size where it has one.
    pub fn check(self, text: &str) -> Result<Option<u128>, Fault> {
        (self.check)(text)
    }
}

impl Fault {
    /// A fault without a hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a way out, if there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

/// The hint that names what was probably meant: the candidate that is closest to `text`, if any is close.
pub fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, candidates).map(|name| format!("did you mean `{name}`?"))
}

/// The candidate closest to `text`, if it is close enough to be a slip.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing costs the product of the lengths, and nobody means a name by a text far longer than it.
    const LONGEST: usize = 128;
    let text = text.to_ascii_lowercase();
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|_| text.len() <= LONGEST)
        .map(|name| (strsim::osa_distance(&text, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

impl<T> Text<T> {
    /// The values of a list.
    pub fn values(list: &[Self]) -> Vec<T>
    where
        T: Clone,
    {
        list.iter().map(|text| text.0.clone()).collect()
    }

    /// The texts of a list.
    pub fn list(values: &[T]) -> Vec<Self>
    where
        T: Clone,
    {
        values.iter().cloned().map(Self).collect()
    }
}

impl<T: Syntax> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.print();
        match text.parse::<i64>() {
            Ok(number) if T::NUMBER => serializer.serialize_i64(number),
            _ => serializer.serialize_str(&text),
        }
    }
}

impl<'de, T: Syntax> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<T: Syntax> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::FORMAT)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                T::parse(text).map(Text).map_err(|fault| E::custom(fault.what))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text<T>, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text<T>, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Reader(std::marker::PhantomData))
    }
}

impl<T: Syntax> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = match T::CHOICES {
            [] if T::NUMBER => json_schema!({ "type": ["string", "integer"], "format": T::FORMAT }),
            [] => json_schema!({ "type": "string", "format": T::FORMAT }),
            choices => json_schema!({ "type": "string", "enum": choices }),
        };
        if T::SECRET {
            schema.insert("writeOnly".to_owned(), true.into());
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_close_is_suggested() {
        let keys = ["listen", "workers", "max_body"];
        assert_eq!(nearest("lsiten", keys), Some("listen"));
        assert_eq!(nearest("Workers", keys), Some("workers"));
        assert_eq!(nearest("maxbody", keys), Some("max_body"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn formats_have_different_names() {
        for (at, format) in FORMATS.iter().enumerate() {
            assert!(FORMATS[..at].iter().all(|other| other.name != format.name), "{}", format.name);
        }
    }
}
