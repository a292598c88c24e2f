//! Tests of the first look at a request.

use super::*;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::body::Pace;
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::Origin;

fn limits() -> Limits {
    Limits {
        trusted: Vec::new(),
        max_headers: 5,
        max_header_bytes: 200,
        header_read_timeout: Duration::ZERO,
        keep_alive_timeout: Duration::ZERO,
        pace: Pace { idle: Duration::ZERO, min_rate: 0, grace: Duration::ZERO },
        http2_max_streams: 1,
    }
}

struct Seen {
    host: Option<String>,
    target: String,
    ambiguous: bool,
}

fn look(method: &str, target: &str, version: Version, fields: &[(&str, &str)]) -> Result<Seen, String> {
    let mut request = http::Request::builder().method(method).uri(target).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    let origin = Origin { peer: SocketAddr::from(([1, 2, 3, 4], 5)), trusted: false, scheme: "http", worker: 0 };
    let mut exchange =
        Exchange::new(origin, Client::new(origin.peer.ip(), Vec::new()).begin(false), clock::now(), &head);
    examine(&mut head, &mut exchange, &limits()).map_err(|reject| reject.detail.into_owned())?;
    let host = exchange.host.as_ref().map(|host| host.to_str().unwrap().to_owned());
    Ok(Seen { host, target: head.uri.to_string(), ambiguous: exchange.ambiguous_path })
}

fn get(target: &str, fields: &[(&str, &str)]) -> Result<Seen, String> {
    look("GET", target, Version::HTTP_11, fields)
}

#[test]
fn a_host_has_one_canonical_form() {
    for (sent, canonical) in [
        ("shop.example", "shop.example"),
        ("SHOP.Example.:8080", "shop.example:8080"),
        ("[::1]:80", "[::1]:80"),
        ("127.0.0.1", "127.0.0.1"),
        ("my_host", "my_host"),
    ] {
        assert_eq!(get("/", &[("host", sent)]).unwrap().host.as_deref(), Some(canonical));
    }
}

#[test]
fn a_missing_second_or_malformed_host_is_refused() {
    for hosts in [&[][..], &["a", "a"], &["a", "b"]] {
        let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        assert!(get("/", &fields).is_err(), "{hosts:?}");
    }
    for host in
        ["", " ", "a b", "a/b", "a?b", "a#b", "u@a", "a:b", "a:99999", "a:", "a:+1", "[::1", "[x]", ".", "a,b", "a:1:2"]
    {
        assert!(get("/", &[("host", host)]).is_err(), "{host:?}");
    }
    assert!(look("GET", "/", Version::HTTP_10, &[]).unwrap().host.is_none());
}

#[test]
fn an_absolute_target_replaces_the_host_field() {
    let seen = get("http://Real.example:81/a/../b?q", &[("host", "other")]).unwrap();
    assert_eq!((seen.host.as_deref(), seen.target.as_str()), (Some("real.example:81"), "/b?q"));
    for nothing in ["http://a", "http://a#x", "http://a#/x?y"] {
        assert_eq!(get(nothing, &[("host", "a")]).unwrap().target, "/", "{nothing}");
    }
    assert!(get("http://a/", &[]).is_err());
    assert!(get("ftp://a/", &[("host", "a")]).is_err());
    assert!(get("http://user@a/", &[("host", "a")]).is_err());
}

#[test]
fn http2_must_not_contradict_itself() {
    let h2 = |target, fields: &[(&str, &str)]| look("GET", target, Version::HTTP_2, fields);
    assert_eq!(h2("http://a/x", &[]).unwrap().host.as_deref(), Some("a"));
    assert!(h2("http://a/x", &[("host", "A")]).is_ok());
    assert!(h2("http://a/x", &[("host", "b")]).is_err());
    assert_eq!(h2("/x", &[("host", "b")]).unwrap().host.as_deref(), Some("b"));
    assert!(h2("/x", &[]).is_err());
}

#[test]
fn odd_targets_are_refused() {
    assert!(look("CONNECT", "a:80", Version::HTTP_11, &[("host", "a")]).is_err());
    assert!(get("*", &[("host", "a")]).is_err());
    assert!(get("foo", &[("host", "a")]).is_err());
    assert!(get("foo:80", &[("host", "a")]).is_err());
    assert!(look("OPTIONS", "*", Version::HTTP_11, &[("host", "a")]).is_ok());
    assert!(get("/../x", &[("host", "a")]).is_err());
    assert!(get("/%00", &[("host", "a")]).is_err());
    assert!(get("/a%2Fb", &[("host", "a")]).unwrap().ambiguous);
}

#[test]
fn a_body_is_framed_in_one_way() {
    let framed = |fields: &[(&str, &str)]| {
        let mut all = vec![("host", "a")];
        all.extend_from_slice(fields);
        get("/", &all)
    };
    assert!(framed(&[("transfer-encoding", "Chunked")]).is_ok());
    assert!(framed(&[("content-length", "5")]).is_ok());
    for fields in [
        &[("transfer-encoding", "chunked"), ("content-length", "5")][..],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "chunked, chunked")],
        &[("transfer-encoding", ", chunked")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "identity")],
        &[("content-length", "5"), ("content-length", "5")],
        &[("content-length", "+5")],
        &[("content-length", "5, 5")],
    ] {
        assert!(framed(fields).is_err(), "{fields:?}");
    }
    assert!(look("POST", "/", Version::HTTP_10, &[("transfer-encoding", "chunked")]).is_err());
}

#[test]
fn heads_are_limited_in_fields_and_bytes() {
    let many: Vec<_> = [("host", "a")].into_iter().chain((0..5).map(|_| ("x", "1"))).collect();
    assert_eq!(get("/", &many).err().unwrap(), "the request has too many header fields");
    let long = "x".repeat(190);
    assert_eq!(get("/", &[("host", "a"), ("x", &long)]).err().unwrap(), "the request head is too large");
}
