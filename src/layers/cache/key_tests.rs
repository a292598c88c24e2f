//! What makes one key of a request.

use std::net::SocketAddr;
use std::sync::Arc;

use super::*;
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::Origin;
use crate::base::headers::Survey;
use crate::base::identity::Identity;

struct Asked<'a> {
    host: &'a str,
    target: &'a str,
    trusted: bool,
    fields: &'a [(&'static str, &'a str)],
    identity: Option<Identity>,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self { host: "h", target: "/", trusted: false, fields: &[], identity: None }
    }
}

fn key(vary_by: &[Part], asked: Asked<'_>) -> Key {
    let origin =
        Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: asked.trusted, scheme: "http", worker: 0 };
    let mut request = http::Request::get(asked.target).body(()).unwrap();
    for (name, value) in asked.fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let (head, ()) = request.into_parts();
    let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
    let mut exchange = Exchange::new(origin, busy, clock::now(), &head);
    exchange.survey = Survey::of(&head.headers);
    exchange.target = head.uri.clone();
    exchange.host = Some(asked.host.parse().unwrap());
    exchange.route = Some("r".into());
    exchange.identity = asked.identity.map(Arc::new);
    Key::of(vary_by, &head.headers, &exchange)
}

fn of_user(name: Option<&str>, claims: &str) -> Option<Identity> {
    let claims = serde_json::from_str(claims).unwrap();
    Some(Identity { subject: name.map(Into::into), claims, ..Identity::default() })
}

#[test]
fn it_reads_back_and_has_the_url_in_it() {
    let key = key(&[], Asked { host: "shop:8080", target: "/a?b=c", ..Asked::default() });
    let parts = parts(key.bytes()).unwrap();
    assert_eq!(
        (parts.route, parts.scheme, parts.host, parts.target),
        (&b"r"[..], &b"http"[..], &b"shop:8080"[..], &b"/a?b=c"[..])
    );
    assert_eq!(key.url(), url(b"http", b"shop:8080", b"/a?b=c"));
    assert_eq!(super::parts(&key.bytes()[..key.bytes().len() - 1]), None);
}

#[test]
fn another_url_is_another_key_and_fields_are_not() {
    let plain = key(&[], Asked::default());
    assert_ne!(plain, key(&[], Asked { target: "/?a", ..Asked::default() }));
    assert_ne!(plain, key(&[], Asked { host: "h2", ..Asked::default() }));
    for field in
        [("x-forwarded-host", "evil"), ("x-forwarded-proto", "https"), ("accept", "x"), ("forwarded", "host=evil")]
    {
        assert_eq!(plain, key(&[], Asked { fields: &[field], ..Asked::default() }), "{field:?}");
    }
}

#[test]
fn what_a_trusted_proxy_says_of_the_url_counts() {
    let trusted = |fields: &[(&'static str, &str)]| key(&[], Asked { trusted: true, fields, ..Asked::default() });
    let plain = trusted(&[("x-forwarded-for", "1.2.3.4")]);
    for field in [
        ("x-forwarded-host", "other"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/p"),
        ("forwarded", "for=1.2.3.4;host=other"),
    ] {
        assert_ne!(plain, trusted(&[field]), "{field:?}");
    }
    assert_eq!(plain, trusted(&[("forwarded", "for=1.2.3.4")]));
    assert_eq!(parts(trusted(&[("x-forwarded-proto", "https")]).bytes()).unwrap().scheme, b"https");
}

#[test]
fn users_are_told_apart_where_the_route_says_so() {
    let by = |identity| key(&[Part::Subject], Asked { identity, ..Asked::default() });
    let (ann, bob, nobody) = (by(of_user(Some("ann"), "{}")), by(of_user(Some("bob"), "{}")), by(None));
    assert!(ann != bob && ann != nobody && ann.personal && !nobody.personal);
    assert!(!by(of_user(None, "{}")).personal && by(of_user(Some(""), "{}")) != nobody);
    let tenant = [Part::Claim("tenant".into())];
    let of = |claims: &str| key(&tenant, Asked { identity: of_user(Some("ann"), claims), ..Asked::default() });
    assert_ne!(of(r#"{"tenant":"a"}"#), of(r#"{"tenant":"b"}"#));
    assert_ne!(of(r#"{"tenant":"1"}"#), of(r#"{"tenant":1}"#));
    assert!(of(r#"{"tenant":"a"}"#).personal && !of("{}").personal);
    let both = [Part::Subject, Part::Claim("tenant".into())];
    assert!(!key(&both, Asked { identity: of_user(Some("ann"), "{}"), ..Asked::default() }).personal);
}

#[test]
fn named_fields_are_part_of_it() {
    let by = [Part::Header("x-a".parse().unwrap()), Part::Header("x-b".parse().unwrap())];
    let of = |fields: &[(&'static str, &str)]| key(&by, Asked { fields, ..Asked::default() });
    assert_ne!(of(&[("x-a", "1")]), of(&[("x-b", "1")]));
    assert_ne!(of(&[("x-a", "")]), of(&[]));
    assert_ne!(of(&[("x-a", "1"), ("x-a", "2")]), of(&[("x-a", "1")]));
    assert!(!of(&[("x-a", "1"), ("x-b", "1")]).personal);
    let authorization = [Part::Header(AUTHORIZATION)];
    assert!(key(&authorization, Asked { fields: &[("authorization", "x")], ..Asked::default() }).personal);
}
