//! Taking out what is stored before its time: by URL, by prefix, by tag, or all of it; or only calling it stale. What is
//! asked for is text that operators write; what is taken out is told by keys and entries alone.

use std::borrow::Cow;

use http::Uri;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::Entry;
use super::key::parts;
use super::store::Store;
use crate::base::path;

/// What is to be taken out: exactly one of the first four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// One URL, `http://host/path?query`; or `/path?query` on every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Everything at and below a path, on segment boundaries: likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Everything whose `Surrogate-Key` or `Cache-Tag` has this word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Everything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// It only becomes stale: it is asked for anew, and serves until then where stale responses may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
}

/// Why an order cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OrderError {
    /// Not exactly one thing is named.
    #[error("say exactly one of `url`, `prefix`, `tag` and `all`")]
    NotOne,
    /// What is named is no URL that could be served here.
    #[error("this is neither `http://host/path` nor `/path`")]
    NoUrl,
    /// The tag is empty.
    #[error("a tag has at least one character, and no space or comma")]
    NoTag,
}

/// An order that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    what: What,
    soft: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Url(Place),
    Below(Place),
    Tag(String),
    All,
}

/// Where something is served: anywhere, as far as nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    scheme: Option<String>,
    host: Option<String>,
    path: String,
    query: Option<String>,
}

impl TryFrom<Order> for Purge {
    type Error = OrderError;

    fn try_from(order: Order) -> Result<Self, OrderError> {
        let what = match (order.url, order.prefix, order.tag, order.all) {
            (Some(url), None, None, false) => What::Url(Place::parse(&url)?),
            (None, Some(prefix), None, false) => What::Below(Place::parse(&prefix)?.without_last_slash()?),
            (None, None, Some(tag), false) if tag.is_empty() || tag.contains([' ', ',', '\t']) => {
                return Err(OrderError::NoTag);
            }
            (None, None, Some(tag), false) => What::Tag(tag),
            (None, None, None, true) => What::All,
            _ => return Err(OrderError::NotOne),
        };
        Ok(Self { what, soft: order.soft })
    }
}

impl Purge {
    /// Takes it out, and tells how many responses that were.
    pub fn carry_out(&self, store: &Store) -> usize {
        store.purge(|key, entry| self.covers(key, entry), self.soft.then(|| store.now().instant))
    }

    /// Whether it only makes stale what it covers.
    pub fn is_soft(&self) -> bool {
        self.soft
    }

    /// Whether it is about this response under this key.
    pub fn covers(&self, key: &[u8], entry: &Entry) -> bool {
        let place = match &self.what {
            What::All => return true,
            What::Tag(tag) => return entry.meta.tags.iter().any(|own| **own == **tag),
            What::Url(place) | What::Below(place) => place,
        };
        let Some(own) = parts(key) else { return false };
        let elsewhere =
            |wanted: &Option<String>, own: &[u8]| wanted.as_ref().is_some_and(|text| text.as_bytes() != own);
        if elsewhere(&place.scheme, own.scheme) || elsewhere(&place.host, own.host) {
            return false;
        }
        let Ok(target) = std::str::from_utf8(own.target) else { return false };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        match self.what {
            What::Url(_) => path == place.path && query == place.query.as_deref(),
            _ => path::is_below(path, &place.path),
        }
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, OrderError> {
        let uri: Uri = text.parse().map_err(|_| OrderError::NoUrl)?;
        let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
        let known = scheme.as_deref().is_none_or(|scheme| matches!(scheme, "http" | "https"));
        let whole = uri.scheme().is_some() == uri.authority().is_some();
        if !known || !whole || (scheme.is_none() && !text.starts_with('/')) {
            return Err(OrderError::NoUrl);
        }
        let path = path::canonical(uri.path()).map_err(|_| OrderError::NoUrl)?.path;
        Ok(Self {
            scheme,
            host: uri.authority().map(|host| host.as_str().to_ascii_lowercase().trim_end_matches('.').to_owned()),
            path: Cow::into_owned(path),
            query: uri.query().map(str::to_owned),
        })
    }

    /// As a prefix; which has no query.
    fn without_last_slash(mut self) -> Result<Self, OrderError> {
        if self.query.is_some() {
            return Err(OrderError::NoUrl);
        }
        if self.path.len() > 1 && self.path.ends_with('/') {
            self.path.pop();
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::layers::cache::entry::tests::meta;
    use crate::layers::cache::key::of_test;

    /// Whether an order takes out what is stored for this target of the host `h`.
    fn takes(order: &str, target: &str) -> bool {
        let order: Order = serde_json::from_str(order).unwrap();
        let fields = [("cache-control", "max-age=60"), ("surrogate-key", "shoes red")];
        let entry = Entry { meta: Arc::new(meta(&fields, &HeaderMap::new())), body: Bytes::new() };
        Purge::try_from(order).unwrap().covers(of_test("r", target).bytes(), &entry)
    }

    #[test]
    fn a_url_is_one_and_a_prefix_all_below() {
        for url in [r#"{"url":"http://H/a?b"}"#, r#"{"url":"/a?b"}"#, r#"{"url":"http://h./x/../a?b","soft":true}"#] {
            assert!(takes(url, "/a?b"), "{url}");
            assert!(!takes(url, "/a") && !takes(url, "/a?b=c") && !takes(url, "/a/b"), "{url}");
        }
        assert!(!takes(r#"{"url":"https://h/a"}"#, "/a") && !takes(r#"{"url":"http://i/a"}"#, "/a"));
        for prefix in [r#"{"prefix":"http://h/a"}"#, r#"{"prefix":"/a/"}"#] {
            assert!(takes(prefix, "/a") && takes(prefix, "/a?b") && takes(prefix, "/a/b/c?d"), "{prefix}");
            assert!(!takes(prefix, "/ab") && !takes(prefix, "/"), "{prefix}");
        }
        assert!(takes(r#"{"prefix":"/"}"#, "/anything"));
    }

    #[test]
    fn tags_are_whole_words() {
        assert!(takes(r#"{"tag":"red"}"#, "/") && !takes(r#"{"tag":"re"}"#, "/") && takes(r#"{"all":true}"#, "/"));
    }

    #[test]
    fn an_order_names_one_thing() {
        for (text, error) in [
            ("{}", OrderError::NotOne),
            (r#"{"soft":true}"#, OrderError::NotOne),
            (r#"{"all":true,"tag":"a"}"#, OrderError::NotOne),
            (r#"{"url":"a"}"#, OrderError::NoUrl),
            (r#"{"url":"ftp://h/a"}"#, OrderError::NoUrl),
            (r#"{"url":"/%zz"}"#, OrderError::NoUrl),
            (r#"{"prefix":"/a?b"}"#, OrderError::NoUrl),
            (r#"{"tag":"a b"}"#, OrderError::NoTag),
        ] {
            let order: Order = serde_json::from_str(text).unwrap();
            assert_eq!(Purge::try_from(order), Err(error), "{text}");
        }
        assert!(serde_json::from_str::<Order>(r#"{"urls":["/"]}"#).is_err());
    }
}
