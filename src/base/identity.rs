//! Who asks, once a credential has vouched for it, and the header fields that say so to a backend: those are the
//! gateway's alone, so a client's own copies never pass.

use std::sync::Arc;

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// What a verified credential says of who asks.
#[derive(Debug, Default)]
pub struct Identity {
    /// Name of the `[auth.*]` table that vouches for it.
    pub auth: Arc<str>,
    /// Who it is, where the credential says so.
    pub subject: Option<Arc<str>>,
    /// The plan that its key belongs to, where it has one.
    pub plan: Option<Arc<str>>,
    /// Everything that the credential says.
    pub claims: Map<String, Value>,
}

impl Identity {
    /// A claim by its path; see [`find`].
    pub fn claim(&self, path: &str) -> Option<&Value> {
        find(&self.claims, path)
    }
}

/// The claim at a path: its own name first, dots included, since names may be URLs; else from table to table.
pub fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        path.match_indices('.').find_map(|(dot, _)| match claims.get(&path[..dot])? {
            Value::Object(inner) => find(inner, &path[dot + 1..]),
            _ => None,
        })
    })
}

/// Fields that only the gateway may set. CGI, WSGI and PHP read `X_User` as `X-User`, so each covers all its spellings.
#[derive(Clone, Debug, Default)]
pub struct Reserved {
    names: Arc<[HeaderName]>,
    /// One of the names has an underscore itself.
    underscore: bool,
}

impl Reserved {
    /// These names, each once.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut all: Vec<HeaderName> = names.into_iter().collect();
        all.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        all.dedup();
        Self { underscore: all.iter().any(|name| name.as_str().contains('_')), names: all.into() }
    }

    /// Whether nothing is reserved.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Removes every spelling of every reserved name. `underscores` tells whether any of the fields has one.
    pub fn remove_from(&self, fields: &mut HeaderMap, underscores: bool) {
        for name in self.names.iter() {
            fields.remove(name);
        }
        if underscores || self.underscore && !self.names.is_empty() {
            let alike: Vec<HeaderName> = fields.keys().filter(|name| self.covers(name.as_str())).cloned().collect();
            for name in alike {
                fields.remove(name);
            }
        }
    }

    /// Takes reserved names out of the `Connection` lines: a client must not have removed at the next hop what the
    /// gateway adds here (RFC 9110 §7.6.1).
    pub fn keep_from_connection(&self, fields: &mut HeaderMap) {
        let lines = fields.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
        let options: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        if !options.iter().any(|option| self.covers(option)) {
            return;
        }
        let kept: Vec<&str> = options.into_iter().filter(|option| !self.covers(option)).collect();
        let kept = HeaderValue::try_from(kept.join(", "));
        fields.remove(CONNECTION);
        if let Ok(kept) = kept
            && !kept.is_empty()
        {
            fields.insert(CONNECTION, kept);
        }
    }

    /// Whether this is a spelling of a reserved name.
    fn covers(&self, name: &str) -> bool {
        let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        self.names.iter().any(|own| own.as_str().bytes().map(plain).eq(name.bytes().map(plain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_its_way() {
        let claims = object(r#"{"a":{"b":{"c":1},"b.c":2},"https://x.example/r":3,"a.d":4,"s":"t"}"#);
        for (path, found) in [
            ("a.b.c", Some(2)),
            ("https://x.example/r", Some(3)),
            ("a.d", Some(4)),
            ("s.t", None),
            ("a.x", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(find(&claims, path).and_then(Value::as_i64), found, "{path}");
        }
        assert!(find(&claims, "a.b").is_some_and(Value::is_object));
    }

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn every_spelling_goes() {
        let reserved = Reserved::new(["x-user-id", "x_role"].map(HeaderName::from_static));
        let mut sent =
            fields(&[("x-user-id", "1"), ("x_user_id", "2"), ("x_user-id", "3"), ("x-role", "4"), ("x-user", "5")]);
        reserved.remove_from(&mut sent, false);
        assert_eq!(sent.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-user"]);
    }

    #[test]
    fn what_the_gateway_adds_is_not_named_in_connection() {
        let reserved = Reserved::new([HeaderName::from_static("x-user-id")]);
        let mut sent = HeaderMap::new();
        sent.append(CONNECTION, HeaderValue::from_static("close, X-User-Id"));
        sent.append(CONNECTION, HeaderValue::from_static("x_user_id,x-other"));
        reserved.keep_from_connection(&mut sent);
        assert_eq!(sent.get_all(CONNECTION).iter().collect::<Vec<_>>(), ["close, x-other"]);
        let mut sent = fields(&[("connection", "x-user-id")]);
        reserved.keep_from_connection(&mut sent);
        assert!(sent.is_empty());
        let mut sent = fields(&[("connection", "upgrade")]);
        reserved.keep_from_connection(&mut sent);
        assert_eq!(sent[CONNECTION], "upgrade");
    }
}
