//! What must hold for every input, tried on inputs that nobody thought of.
#![allow(clippy::unwrap_used, reason = "a test ends with what it did not expect")]

#[path = "properties/cache.rs"]
mod cache;
#[path = "properties/cache_fields.rs"]
mod cache_fields;
#[path = "properties/endpoints.rs"]
mod endpoints;
#[path = "properties/trace.rs"]
mod trace;

use std::net::IpAddr;

use http::header::{CONNECTION, FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use proptest::prelude::*;
use tollgate::base::headers::{X_FORWARDED_FOR, client_address, is_trusted, remove_hop_by_hop};
use tollgate::base::path::{canonical, is_below, strip};

/// Characters that mean something else escaped than plain (RFC 3986 §2.2), so that nobody may take one for the other.
const RESERVED: &[u8] = b"/\\%?;!$&'()*+,:=@#[]";

/// One byte of a path, as it may be spelled: a reserved one in the one way that was chosen, any other plain or escaped.
#[derive(Clone, Debug)]
struct Spelled {
    byte: u8,
    one: (bool, bool),
    other: (bool, bool),
}

fn spelled() -> impl Strategy<Value = Spelled> {
    let byte = prop_oneof![
        4 => prop::sample::select(b"ab.-_~/".to_vec()),
        1 => prop::sample::select(RESERVED.to_vec()),
        1 => prop::sample::select(b"\"<>^`{|}".to_vec()),
        1 => 0x21..=0xff_u8,
    ];
    (byte, any::<(bool, bool)>(), any::<(bool, bool)>()).prop_map(|(byte, one, other)| Spelled { byte, one, other })
}

fn write(spelled: &[Spelled], way: impl Fn(&Spelled) -> (bool, bool)) -> Vec<u8> {
    let mut out = vec![b'/'];
    for item in spelled {
        let (escaped, upper) = way(item);
        let escaped = if RESERVED.contains(&item.byte) { item.one.0 } else { escaped };
        match (escaped, upper) {
            (false, _) => out.push(item.byte),
            (true, true) => out.extend(format!("%{:02X}", item.byte).bytes()),
            (true, false) => out.extend(format!("%{:02x}", item.byte).bytes()),
        }
    }
    out
}

fn header(names: &[&str]) -> HeaderMap {
    names.iter().map(|name| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static("x"))).collect()
}

proptest! {
    #[test]
    fn a_canonical_path_is_its_own_canonical_form(raw in "/([a-c./%;~ {}é]|%2[0-9a-fA-F]|%2e|%25|\\.\\.|//){0,12}") {
        if let Ok(first) = canonical(&raw) {
            let second = canonical(&first.path).unwrap();
            prop_assert_eq!(&second.path, &first.path);
            prop_assert_eq!(second.ambiguous, first.ambiguous);
        }
    }

    #[test]
    fn a_canonical_path_has_nothing_left_to_resolve(raw in "/([a-c./%;~ {}é]|%2[0-9a-fA-F]|%2e|%25|\\.\\.|//){0,12}") {
        if let Ok(found) = canonical(&raw) {
            let path = found.path.as_ref();
            prop_assert!(path.starts_with('/') && path.is_ascii());
            prop_assert!(!path.contains("//") && !path.contains('\\'));
            prop_assert!(path.bytes().all(|byte| byte > b' ' && byte < 0x7f));
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(http::uri::PathAndQuery::try_from(path).is_ok_and(|parsed| parsed.path() == path));
        }
    }

    #[test]
    fn two_spellings_of_one_path_have_one_form(parts in prop::collection::vec(spelled(), 0..12)) {
        let one = write(&parts, |part| part.one);
        let other = write(&parts, |part| part.other);
        let (Ok(one), Ok(other)) = (String::from_utf8(one), String::from_utf8(other)) else {
            return Ok(()); // hyper hands on nothing else
        };
        if let (Ok(one), Ok(other)) = (canonical(&one), canonical(&other)) {
            prop_assert!(one.path == other.path || one.ambiguous || other.ambiguous, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_stripped_path_is_still_canonical(raw in "/[ab./;]{0,12}", prefix in "(/[ab]{1,2}){1,2}") {
        if let Ok(found) = canonical(&raw)
            && is_below(&found.path, &prefix)
        {
            let stripped = strip(&found.path, &prefix);
            prop_assert_eq!(canonical(stripped).unwrap().path, stripped);
        }
    }

    #[test]
    fn hop_by_hop_fields_never_pass(
        named in prop::collection::vec("[xX]-[a-cA-C]|close|te|keep-alive|[Hh]ost|content-length|authorization|x-forwarded-for| |;", 0..6),
        split in any::<bool>(),
    ) {
        let protected = ["host", "content-length", "authorization", "x-forwarded-for"];
        let mut headers = header(&["x-a", "x-b", "x-c", "keep-alive", "upgrade", "te", "proxy-connection"]);
        headers.extend(header(&protected));
        let lines = if split { named.clone() } else { vec![named.join(",")] };
        for line in &lines {
            headers.append(CONNECTION, HeaderValue::try_from(line.as_str()).unwrap());
        }
        remove_hop_by_hop(&mut headers);
        for name in protected {
            prop_assert!(headers.contains_key(name), "{name} was taken away");
        }
        for name in ["connection", "keep-alive", "upgrade", "te", "proxy-connection"] {
            prop_assert!(!headers.contains_key(name), "{name} is left");
        }
        for name in named.iter().filter(|name| name.len() == 3) {
            prop_assert!(!headers.contains_key(name.as_str()), "{name} is left");
        }
    }

    #[test]
    fn nobody_behind_an_untrusted_hop_is_believed(
        hops in prop::collection::vec((0..4_u8, any::<bool>()), 0..8),
        peer in 0..4_u8,
        forwarded in any::<bool>(),
    ) {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/31".parse().unwrap()];
        let address = |last: &u8| IpAddr::from([10, 0, 0, *last]);
        let mut headers = HeaderMap::new();
        let mut line = Vec::new();
        for (hop, ends) in &hops {
            line.push(if forwarded { format!("for={}", address(hop)) } else { address(hop).to_string() });
            if *ends {
                let name = if forwarded { FORWARDED } else { X_FORWARDED_FOR };
                headers.append(name, HeaderValue::try_from(line.join(", ")).unwrap());
                line.clear();
            }
        }
        let sent = hops.len() - line.len();
        let chain: Vec<IpAddr> = hops[..sent].iter().map(|(hop, _)| address(hop)).chain([address(&peer)]).collect();
        // From the right: everything up to the first that is not trusted, or all of it.
        let wanted = chain.iter().rev().find(|hop| !is_trusted(**hop, &trusted)).unwrap_or(&chain[0]);
        prop_assert_eq!(client_address(address(&peer), &headers, &trusted), *wanted);
    }
}
