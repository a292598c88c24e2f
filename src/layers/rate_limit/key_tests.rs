//! Keys: who shares one, and who does not.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::Origin;
use crate::base::identity::Identity;

fn exchange(client: &str, subject: Option<&str>, claims: &str) -> Exchange {
    let (head, ()) = http::Request::new(()).into_parts();
    let peer: IpAddr = client.parse().unwrap();
    let origin = Origin { peer: (peer, 1).into(), trusted: false, scheme: "http", worker: 0 };
    let mut exchange = Exchange::new(origin, Client::new(peer, Vec::new()).begin(false), clock::now(), &head);
    exchange.route = Some("orders".into());
    let claims = serde_json::from_str(claims).unwrap();
    let identity = Identity { subject: subject.map(Into::into), claims, ..Identity::default() };
    exchange.identity = Some(Arc::new(identity));
    exchange
}

fn header(value: &str) -> HeaderMap {
    [(HeaderName::from_static("x-key"), HeaderValue::from_str(value).unwrap())].into_iter().collect()
}

fn keyer(parts: &[&str]) -> Keyer {
    let part = |text: &&str| match text.split_once(':') {
        Some(("claim", path)) => KeyPart::Claim(path.to_owned()),
        Some((_, name)) => KeyPart::Header(name.parse().unwrap()),
        None if *text == "subject" => KeyPart::Subject,
        None if *text == "route" => KeyPart::Route,
        None if *text == "global" => KeyPart::Global,
        None => KeyPart::Ip,
    };
    Keyer::new(&parts.iter().map(part).collect::<Vec<_>>(), 64, Seeds::default())
}

#[test]
fn addresses_are_told_apart_as_far_as_they_belong_to_one() {
    let (keyer, none) = (keyer(&["ip"]), HeaderMap::new());
    let key = |client| keyer.key(Seen { exchange: &exchange(client, None, "{}"), headers: &none });
    assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"), "IPv4, whichever way it is written");
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"), "one network of 64 bits");
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    let text = |client| keyer.text(Seen { exchange: &exchange(client, None, "{}"), headers: &none });
    assert_eq!(text("::ffff:10.0.0.1"), "ip:10.0.0.1");
    assert_eq!(text("2001:db8:1:2::1"), "ip:2001:db8:1:2::/64");
}

#[test]
fn what_a_request_lacks_is_replaced_by_its_address() {
    let none = HeaderMap::new();
    for parts in [&["subject"][..], &["claim:tenant"], &["header:x-key"]] {
        let keyer = keyer(parts);
        let key = |client, headers: &HeaderMap| keyer.key(Seen { exchange: &exchange(client, None, "{}"), headers });
        assert_ne!(key("10.0.0.1", &none), key("10.0.0.2", &none), "{parts:?}");
        assert_eq!(key("10.0.0.1", &none), key("10.0.0.1", &header("")), "an empty one is none");
        assert_eq!(
            keyer.text(Seen { exchange: &exchange("10.0.0.1", Some(""), r#"{"tenant":null}"#), headers: &none }),
            "ip:10.0.0.1"
        );
    }
    let keyer = keyer(&["header:x-key", "route"]);
    let key =
        |client, headers: HeaderMap| keyer.key(Seen { exchange: &exchange(client, None, "{}"), headers: &headers });
    assert_eq!(key("10.0.0.1", header("a")), key("10.0.0.2", header("a")));
    assert_ne!(key("10.0.0.1", none.clone()), key("10.0.0.2", none.clone()));
    assert_ne!(key("10.0.0.1", none), key("10.0.0.1", header("10.0.0.1")), "nobody can claim to be an address");
}

#[test]
fn parts_do_not_run_into_each_other() {
    let keyer = keyer(&["subject", "header:x-key"]);
    let key = |subject, value| {
        keyer.key(Seen { exchange: &exchange("10.0.0.1", Some(subject), "{}"), headers: &header(value) })
    };
    assert_ne!(key("a", "bc"), key("ab", "c"));
    assert_eq!(key("a", "bc"), key("a", "bc"));
    assert_ne!(key("a", "bc").0[0], key("a", "bc").0[1], "two digests, not one twice");
}

#[test]
fn claims_of_any_kind_are_keys() {
    let (keyer, none) = (keyer(&["claim:t.id"]), HeaderMap::new());
    let key = |claims| keyer.key(Seen { exchange: &exchange("10.0.0.1", None, claims), headers: &none });
    assert_eq!(key(r#"{"t":{"id":7}}"#), key(r#"{"t":{"id":7},"x":1}"#));
    assert_ne!(key(r#"{"t":{"id":7}}"#), key(r#"{"t":{"id":"7"}}"#));
    assert_ne!(key(r#"{"t":{"id":true}}"#), key(r#"{"t":{"id":false}}"#));
}

#[test]
fn texts_say_what_is_no_secret() {
    let keyer = keyer(&["subject", "header:x-key", "route", "global"]);
    let seen = |subject, value| {
        let (exchange, headers) = (exchange("10.0.0.1", Some(subject), "{}"), header(value));
        keyer.text(Seen { exchange: &exchange, headers: &headers })
    };
    let text = seen("alice", "hunter2");
    assert!(text.starts_with("subject:") && text.ends_with(",route:orders,global"), "{text}");
    assert!(!text.contains("alice") && !text.contains("hunter2") && !text.contains(['{', '}']), "{text}");
    assert_eq!(text, seen("alice", "hunter2"));
    assert_ne!(text, seen("alice", "hunter3"));
    assert_ne!(text, seen("bob", "hunter2"));
}

#[test]
fn routes_have_shares_of_their_own() {
    let seeds = Seeds::default();
    let key = Key([1, 2]);
    assert_ne!(key.salted(seeds.salt("a")), key.salted(seeds.salt("b")));
    assert_eq!(key.salted(seeds.salt("a")), key.salted(seeds.salt("a")));
    assert_ne!(key.salted(seeds.salt("a")), key);
}
