//! Claims as header fields: what the upstream is told of who asks. Whatever a claim holds, its field is one line of
//! printable ASCII in which a comma separates elements and nothing else.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::claims::Claims;
use crate::base::identity::find;

/// The fields for these claims, in the order of the mapping. A claim that is absent, null or a table has none.
pub fn fields(mapping: &[(String, HeaderName)], claims: &Claims) -> Box<[(HeaderName, HeaderValue)]> {
    let field = |(path, name): &(String, HeaderName)| {
        let text = text(find(claims, path)?)?;
        Some((name.clone(), HeaderValue::try_from(text).ok()?))
    };
    mapping.iter().filter_map(field).collect()
}

/// A claim as one line: lists joined by commas, without what is not a single value.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Array(list) => Some(list.iter().filter_map(single).collect::<Vec<_>>().join(",")),
        value => single(value),
    }
}

fn single(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(escaped(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Percent-encodes what is not printable ASCII, the percent sign itself, commas, and spaces at the ends, which would be
/// lost. So no value can pretend to be two, and each can be read back.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if at != 0 && at != last => out.push(' '),
            b'%' | b',' | ..=b' ' | 0x7f.. => drop(write!(out, "%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(claims: &str) -> Vec<String> {
        let mapping = ["sub", "realm.roles", "n"].map(|path| (path.to_owned(), HeaderName::from_static("x-a")));
        let claims = serde_json::from_str(claims).unwrap();
        fields(&mapping, &claims).iter().map(|(_, value)| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn claims_are_told_in_one_line() {
        for (claims, expected) in [
            (r#"{"sub":"alice","realm":{"roles":["a","b"]},"n":1.5}"#, &["alice", "a,b", "1.5"][..]),
            (r#"{"sub":true,"realm":{"roles":[]},"n":-3}"#, &["true", "", "-3"]),
            (r#"{"sub":null,"realm":{"roles":{}},"n":[[1],{},null,2]}"#, &["2"]),
            (r#"{"realm":"roles"}"#, &[]),
        ] {
            assert_eq!(told(claims), expected, "{claims}");
        }
    }

    #[test]
    fn no_value_can_be_another_line_or_another_value() {
        for (claims, expected) in [
            (r#"{"sub":"a\r\nx-admin: 1"}"#, "a%0D%0Ax-admin: 1"),
            (r#"{"sub":"Zoë Ü"}"#, "Zo%C3%AB %C3%9C"),
            (r#"{"sub":" a b "}"#, "%20a b%20"),
            (r#"{"sub":"100%,\u0000\u007f"}"#, "100%25%2C%00%7F"),
            (r#"{"sub":["a,admin","b"]}"#, "a%2Cadmin,b"),
            (r#"{"sub":" "}"#, "%20"),
        ] {
            assert_eq!(told(claims), [expected], "{claims}");
        }
    }
}
