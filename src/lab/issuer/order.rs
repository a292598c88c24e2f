//! What a token is to say, as people write it, and the claims that come of it (RFC 7519 §4.1, RFC 8693 §4.2). Time and
//! the token's id are passed in.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use super::token::Members;
use crate::base::units::parse_duration;

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// `iss`
    pub issuer: Option<String>,
    /// `aud`: one is a string, several are a list.
    pub audience: Vec<String>,
    /// `sub`
    pub subject: Option<String>,
    /// `exp`
    pub expires: Option<Moment>,
    /// `nbf`
    pub not_before: Option<Moment>,
    /// `scope`: words with spaces between them.
    pub scope: Option<String>,
    /// More claims; they replace those above.
    pub claims: Members,
    /// Claims that are left out whatever is said above.
    pub without: Vec<String>,
}

/// A point in time, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Seconds from now, back if negative.
    FromNow(i64),
    /// Seconds since 1970.
    At(i64),
}

/// When a token ends unless told otherwise: an hour from now.
pub const USUAL_LIFE: Moment = Moment::FromNow(3600);

impl Order {
    /// The claims of a token that is made at `now`, in seconds since 1970.
    pub fn claims(&self, now: i64, id: &str) -> Members {
        let mut claims = Members::new();
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        };
        say("iss", self.issuer.clone().map(Value::from));
        say("sub", self.subject.clone().map(Value::from));
        say(
            "aud",
            match self.audience.as_slice() {
                [] => None,
                [one] => Some(one.clone().into()),
                several => Some(several.to_vec().into()),
            },
        );
        say("exp", self.expires.map(|moment| moment.seconds(now).into()));
        say("nbf", self.not_before.map(|moment| moment.seconds(now).into()));
        say("iat", Some(now.into()));
        say("jti", Some(id.into()));
        say("scope", self.scope.clone().map(Value::from));
        claims.extend(self.claims.clone());
        claims.retain(|name, _| !self.without.contains(name));
        claims
    }
}

impl Moment {
    /// Seconds since 1970.
    pub fn seconds(self, now: i64) -> i64 {
        match self {
            Self::FromNow(seconds) => now.saturating_add(seconds),
            Self::At(seconds) => seconds,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    /// `1h`, `-5min`, `1800000000` or `2030-01-01T00:00:00Z`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = text.parse() {
            return Ok(Self::At(seconds));
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time.as_second()));
        }
        let (sign, length) = match text.strip_prefix('-') {
            Some(length) => (-1, length),
            None => (1, text),
        };
        let length = parse_duration(length).map_err(|error| {
            format!("{error}; write it like 1h or -5min, as a time like 2030-01-01T00:00:00Z, or in seconds since 1970")
        })?;
        Ok(Self::FromNow(sign * i64::try_from(length.as_secs()).unwrap_or(i64::MAX)))
    }
}

/// Reads `name=value`: JSON, or a bare word, which is text.
///
/// # Errors
/// There is no name, or the value begins like JSON and is none.
pub fn member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write it like name=value")?;
    let like_json = value.starts_with(|c: char| matches!(c, '{' | '[' | '"' | '-') || c.is_ascii_digit());
    match serde_json::from_str(value) {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(error) if like_json || value.is_empty() => Err(format!("the value is not JSON: {error}")),
        Err(_) => Ok((name.to_owned(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_what_was_asked_for() {
        let order = Order {
            issuer: Some("me".into()),
            audience: vec!["a".into(), "b".into()],
            subject: Some("you".into()),
            expires: Some(USUAL_LIFE),
            not_before: Some(Moment::FromNow(-60)),
            scope: Some("read write".into()),
            claims: [("tenant".to_owned(), json!({"id": 1})), ("sub".to_owned(), json!("she"))].into_iter().collect(),
            without: vec!["jti".into()],
        };
        let wanted = json!({"iss": "me", "aud": ["a", "b"], "sub": "she", "exp": 4600, "nbf": 940, "iat": 1000,
            "scope": "read write", "tenant": {"id": 1}});
        assert_eq!(Value::Object(order.claims(1000, "id")), wanted);
        assert_eq!(Value::Object(Order::default().claims(1, "id")), json!({"iat": 1, "jti": "id"}));
    }

    #[test]
    fn moments_are_lengths_times_or_seconds() {
        assert_eq!("1h".parse(), Ok(Moment::FromNow(3600)));
        assert_eq!("-5min".parse(), Ok(Moment::FromNow(-300)));
        assert_eq!("1800000000".parse(), Ok(Moment::At(1_800_000_000)));
        assert_eq!("2030-01-01T00:00:00Z".parse(), Ok(Moment::At(1_893_456_000)));
        assert!("5m".parse::<Moment>().unwrap_err().contains("write it like"));
        assert!("soon".parse::<Moment>().is_err());
    }

    #[test]
    fn members_are_json_or_a_word() {
        assert_eq!(member("a=1").unwrap().1, json!(1));
        assert_eq!(member("a=acme corp").unwrap().1, json!("acme corp"));
        assert_eq!(member("a=[\"x=y\"]").unwrap().1, json!(["x=y"]));
        assert_eq!(member("a=true").unwrap().1, json!(true));
        for wrong in ["a", "=1", "a=", "a={", "a=[1", "a=01", "a=\"x"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }
}
