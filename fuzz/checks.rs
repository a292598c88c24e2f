//! What must hold for any bytes: the bodies of the fuzz targets, and of the test that replays their corpus.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use tollgate::base::body::Pace;
use tollgate::base::client::Client;
use tollgate::base::clock;
use tollgate::base::exchange::{Exchange, Origin};
use tollgate::base::headers::{X_FORWARDED_FOR, client_address, remove_hop_by_hop};
use tollgate::base::identity::Reserved;
use tollgate::base::path::canonical;
use tollgate::base::secret::Secret;
use tollgate::config::load;
use tollgate::layers::auth::algorithm::Algorithm;
use tollgate::layers::auth::basic::Sent;
use tollgate::layers::auth::failure::{Failure, RESULTS};
use tollgate::layers::auth::jws::Jws;
use tollgate::layers::auth::key_list::KeyList;
use tollgate::layers::auth::keys::{Keys, Origin as KeyOrigin};
use tollgate::layers::auth::policy::TokenPlace;
use tollgate::layers::auth::users::Users;
use tollgate::layers::auth::verify::{Rules, verify};
use tollgate::layers::auth::{claims, headers, token as tokens};
use tollgate::layers::cors::policy::Origin as PageOrigin;
use tollgate::serve::Limits;
use tollgate::serve::examine::examine;

/// A path has a canonical form that is its own canonical form, or none.
pub(crate) fn path(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Ok(found) = canonical(raw) else { return };
    assert_sound(&found.path);
    let again = canonical(&found.path).expect("a canonical path is a path");
    assert_eq!((again.path, again.ambiguous), (found.path.clone(), found.ambiguous));
}

fn assert_sound(path: &str) {
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'), "{path:?}");
    assert!(path.bytes().all(|byte| (b'!'..0x7f).contains(&byte)), "{path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path:?}");
}

/// A head is refused, or has one sound host and one canonical target.
pub(crate) fn head(data: &[u8]) {
    let Some(request) = read(data) else { return };
    let (mut head, ()) = request.into_parts();
    let limits = limits();
    let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: true, scheme: "http", worker: 0 };
    let mut exchange =
        Exchange::new(origin, Client::new(origin.peer.ip(), Vec::new()).begin(false), clock::now(), &head);
    if examine(&mut head, &mut exchange, &limits).is_err() {
        return;
    }
    assert!(head.headers.len() <= limits.max_headers);
    assert_ne!(head.method, http::Method::CONNECT);
    if head.uri.path() != "*" {
        assert!(head.uri.authority().is_none() && head.uri.scheme().is_none(), "{}", head.uri);
        assert_sound(head.uri.path());
        assert_eq!(exchange.target, head.uri);
    }
    if let Some(host) = &exchange.host {
        let text = host.to_str().expect("a host is text");
        assert!(!text.is_empty() && !text.contains(['@', '/', ' ', ',', '?', '#', '\\']), "{text:?}");
        assert_eq!(text, text.to_ascii_lowercase());
    }
}

/// A request line with a version's number, and fields, line by line.
fn read(data: &[u8]) -> Option<http::Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.split(|byte| *byte == b' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    let version = match version {
        b"1.0" => http::Version::HTTP_10,
        b"2" => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    let mut request = http::Request::builder().method(method).uri(target).version(version);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(()).ok()
}

fn limits() -> Limits {
    Limits {
        trusted: vec![IpNet::from(IpAddr::from([127, 0, 0, 1]))],
        max_headers: 100,
        max_header_bytes: 65536,
        header_read_timeout: Duration::ZERO,
        keep_alive_timeout: Duration::ZERO,
        pace: Pace { idle: Duration::ZERO, min_rate: 0, grace: Duration::ZERO },
        http2_max_streams: 1,
    }
}

/// A text is a configuration, or there are problems that can be shown.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(report) = load::from_text(text) {
        assert!(!report.to_string().is_empty());
    }
}

/// The client is the peer or one of the hops that were named; nothing that ends at this hop passes.
pub(crate) fn forwarding(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let peer = IpAddr::from([127, 0, 0, 1]);
    let mut headers = HeaderMap::new();
    for name in [X_FORWARDED_FOR, CONNECTION, HeaderName::from_static("forwarded")] {
        headers.append(name, value.clone());
    }
    assert_eq!(client_address(peer, &headers, &[]), peer);
    client_address(peer, &headers, &limits().trusted);
    headers.remove(X_FORWARDED_FOR);
    client_address(peer, &headers, &limits().trusted);
    headers.insert("host", HeaderValue::from_static("a"));
    remove_hop_by_hop(&mut headers);
    assert!(!headers.contains_key(CONNECTION) && headers.contains_key("host"));
}

/// A token that nobody has signed is refused, wherever it stands, and is gone when it is taken out; and what a token, a
/// payload or a key set holds, it breaks nothing.
pub(crate) fn token(data: &[u8]) {
    let places = [
        TokenPlace::Authorization,
        TokenPlace::Header(HeaderName::from_static("x-token")),
        TokenPlace::Cookie("jwt".to_owned()),
        TokenPlace::Query("t".to_owned()),
    ];
    if let Some(request) = read(data) {
        let (mut head, ()) = request.into_parts();
        if let Ok(Some(found)) = tokens::find(&head, &places) {
            assert_refused(found);
        }
        tokens::strip(&mut head, &places);
        match tokens::find(&head, &places) {
            // Lines of other schemes are no tokens and stay; of several nobody can tell which counts.
            Err(Failure::Ambiguous(_)) => assert!(head.headers.get_all(AUTHORIZATION).iter().all(is_of_another_scheme)),
            found => assert_eq!(found, Ok(None)),
        }
        let reserved = Reserved::new([HeaderName::from_static("x-user")]);
        reserved.keep_from_connection(&mut head.headers);
        reserved.remove_from(&mut head.headers, true);
        remove_hop_by_hop(&mut head.headers);
        assert!(head.headers.keys().all(|name| name.as_str().replace('_', "-") != "x-user"));
    }
    assert_refused(data);
    if let Ok(keys) = Keys::from_jwks(data, KeyOrigin::Network) {
        assert!(keys.list().iter().all(|key| !key.algorithms.has(Algorithm::Hs256)));
    }
    let _ = Keys::from_pem(data);
    if let Ok(said) = claims::parse(data) {
        let mapping = [("sub".to_owned(), HeaderName::from_static("x-user"))];
        for (_, value) in &headers::fields(&mapping, &said) {
            assert!(value.as_bytes().iter().all(|byte| (b' '..0x7f).contains(byte)), "{value:?}");
        }
        if claims::check(&said, &Rules::default().claims, 1_800_000_000).is_ok() {
            assert!(claims::over(&said, &Rules::default().claims) > 1_800_000_000);
        }
    }
}

fn is_of_another_scheme(line: &HeaderValue) -> bool {
    let scheme = line.as_bytes().split(|byte| *byte == b' ').next();
    !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

fn assert_refused(token: &[u8]) {
    let keys = Keys::from_secret(&Secret::new("a secret that no corpus has: 0123456789"));
    let failure: Failure =
        verify(token, &keys, &Rules::default(), 1_800_000_000).expect_err("a token that nobody has signed");
    assert!(RESULTS.contains(&failure.word()));
    if let Ok(parsed) = Jws::parse(token) {
        assert_eq!(token.split(|byte| *byte == b'.').count(), 3);
        assert!(parsed.signed.len() + 1 + parsed.signature.len() == token.len());
    }
}

/// A file of keys or users is taken whole or not at all, and complained of without a word of what is in it; a name and a
/// password are read or not; an origin has one form, and covers nothing that could lead elsewhere.
pub(crate) fn credentials(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n').count();
    match KeyList::parse(data) {
        Ok(list) => {
            assert!(
                list.entries().iter().all(|entry| !entry.name.is_empty() && !entry.name.contains(char::is_whitespace))
            );
            assert!(list.find(b"a key that no corpus has").is_none());
        }
        Err(bad) => assert!(!bad.is_empty() && bad.iter().all(|line| (1..=lines).contains(&line.number))),
    }
    match Users::parse(data) {
        Ok(users) => assert!(users.find("a name that no corpus has").is_none_or(|(_, counts)| !counts)),
        Err(bad) => assert!(!bad.is_empty() && bad.iter().all(|line| (1..=lines).contains(&line.number))),
    }
    let _ = Sent::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(origin) = PageOrigin::parse(text) {
        let printed = origin.to_string();
        assert_eq!(PageOrigin::parse(&printed), Ok(origin.clone()));
        if printed != "*" && printed != "null" {
            for end in ["/", ".evil.test", "@evil.test", "#", ":1"] {
                assert!(!origin.covers(&format!("{printed}{end}")), "{printed}{end}");
            }
            assert!(
                !origin.covers("https://evil.test") || printed == "https://evil.test" || printed == "https://*.test"
            );
        }
    }
}
