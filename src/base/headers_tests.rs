//! Tests of the fields that a proxy must know.

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn nets(nets: &[&str]) -> Vec<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn everything_that_ends_at_this_hop_goes() {
    let mut map = headers(&[
        ("connection", "close, x-private"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("x-private", "1"),
        ("te", "gzip, trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "Basic x"),
        ("expect", "100-continue"),
        ("accept", "*/*"),
    ]);
    remove_hop_by_hop(&mut map);
    let left: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&("accept", "*/*")) && left.contains(&("te", "trailers")), "{left:?}");
}

#[test]
fn a_connection_line_cannot_take_away_what_others_vouch_for() {
    let mut map = headers(&[
        ("connection", "x-forwarded-for, authorization, host, content-length"),
        ("x-forwarded-for", "1.2.3.4"),
        ("authorization", "Bearer x"),
        ("host", "a"),
        ("content-length", "1"),
    ]);
    remove_hop_by_hop(&mut map);
    assert_eq!(map.len(), 4, "{map:?}");
}

#[test]
fn look_alikes_of_managed_names_go_and_other_underscores_stay() {
    let mut map = headers(&[("x_forwarded_for", "6.6.6.6"), ("x_request-id", "1"), ("my_own", "1")]);
    remove_hop_by_hop(&mut map);
    assert_eq!(map.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["my_own"]);
}

#[test]
fn an_upgrade_needs_its_connection_option_and_is_never_h2c() {
    let asked = |pairs| requested_upgrade(&headers(pairs));
    assert_eq!(asked(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")]).unwrap(), "websocket");
    assert_eq!(asked(&[("upgrade", "websocket")]), None);
    assert_eq!(asked(&[("upgrade", "h2c"), ("connection", "upgrade, http2-settings")]), None);
    assert_eq!(asked(&[("upgrade", "websocket, h2c"), ("connection", "upgrade")]), None);
    assert_eq!(asked(&[("upgrade", "websocket"), ("upgrade", "h2c"), ("connection", "upgrade")]), None);
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    let map = headers(&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")]);
    assert_eq!(client_address(ip("9.9.9.9"), &map, &nets(&["10.0.0.0/8"])), ip("9.9.9.9"));
    assert_eq!(client_address(ip("9.9.9.9"), &map, &[]), ip("9.9.9.9"));
}

#[test]
fn trusted_hops_are_walked_from_the_right() {
    let trusted = nets(&["10.0.0.0/8", "::1/128"]);
    for (lines, expected) in [
        (&[("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2")][..], "1.1.1.1"),
        (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1")], "1.1.1.1"),
        (&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        (&[("x-forwarded-for", "6.6.6.6, garbage, 10.0.0.2")], "10.0.0.2"),
        (&[("x-forwarded-for", "")], "10.0.0.1"),
        (&[("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:99\";proto=https, for=10.0.0.2")], "2001:db8::1"),
        (&[("forwarded", "for=1.1.1.1:80")], "1.1.1.1"),
        (&[("forwarded", "for=_hidden")], "10.0.0.1"),
        (&[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")], "1.1.1.1"),
    ] {
        assert_eq!(client_address(ip("10.0.0.1"), &headers(lines), &trusted), ip(expected), "{lines:?}");
    }
    let mapped = client_address(ip("::ffff:10.0.0.1"), &headers(&[("x-forwarded-for", "1.1.1.1")]), &trusted);
    assert_eq!(mapped, ip("1.1.1.1"));
}
