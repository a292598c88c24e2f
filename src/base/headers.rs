//! Header fields that a proxy must know: the hop-by-hop ones, those it manages, and the forwarding ones with the rule
//! of whom to believe (RFC 9110 §7.6, RFC 7239).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CONNECTION, COOKIE, EXPECT, FORWARDED, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use ipnet::IpNet;

use super::account::X_TOLLGATE_TRACE;

/// The client's address and those of the proxies before us, nearest last.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client spoke.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The prefix that was taken off the path.
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The client's address, as some proxies say it.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The trace that a request belongs to (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What those who take part in a trace say of it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// How long the sender keeps an idle connection (RFC 2068 §19.7.1.1).
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// What we call ourselves in `Via` (RFC 9110 §7.6.3).
pub const VIA_US: HeaderValue = HeaderValue::from_static("1.1 tollgate");

/// Names that no `Connection` option may take away: framing, routing, and what the gateway vouches for.
const NEVER_HOP_BY_HOP: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "authorization",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-request-id",
    "forwarded",
];

/// What one pass over the fields of a message finds, so that nothing has to be looked up that is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Survey {
    /// Fields, each line of its own.
    pub count: usize,
    /// Bytes of all names and values, with the four that separate and end each line.
    pub bytes: usize,
    /// `Host` lines.
    pub hosts: usize,
    /// `Content-Length` lines.
    pub lengths: usize,
    /// `Transfer-Encoding` lines.
    pub codings: usize,
    /// The fields that end at this hop.
    pub hop_by_hop: HopByHop,
    /// Any field that says where a request came from.
    pub forwarding: bool,
    /// Any name with an underscore.
    pub underscore: bool,
    /// Any `X-Request-Id`.
    pub request_id: bool,
    /// Any `X-Request-Timeout`.
    pub timeout: bool,
    /// Any `traceparent` or `tracestate`.
    pub trace: bool,
    /// Any `X-Tollgate-Trace`.
    pub account: bool,
    /// The place of `User-Agent` among the fields, counted from one; 0 where there is none.
    pub agent: usize,
}

/// Which of the fields that end at this hop (RFC 9110 §7.6.1) a message has. Each is looked up only where it is there:
/// looking all of them up cost 2,700 instructions a response that says `Connection: keep-alive`, now 300.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopByHop(u16);

impl HopByHop {
    const CONNECTION: usize = 0;
    const KEEP_ALIVE: usize = 1;
    const PROXY_CONNECTION: usize = 2;
    const PROXY_AUTHENTICATE: usize = 3;
    const PROXY_AUTHORIZATION: usize = 4;
    const TE: usize = 5;
    const TRANSFER_ENCODING: usize = 6;
    const UPGRADE: usize = 7;
    const EXPECT: usize = 8;
    /// Their names, by number.
    const NAMES: [HeaderName; 9] = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        EXPECT,
    ];

    /// Whether there is any.
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether there is a `Connection` field.
    pub fn connection(self) -> bool {
        self.has(Self::CONNECTION)
    }

    fn note(&mut self, number: usize) {
        self.0 |= 1 << number;
    }

    fn has(self, number: usize) -> bool {
        self.0 & 1 << number != 0
    }

    fn remove_from(self, headers: &mut HeaderMap) {
        for (number, name) in Self::NAMES.iter().enumerate() {
            if self.has(number) {
                headers.remove(name);
            }
        }
    }
}

impl Survey {
    /// Looks at each field once.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        headers.iter().for_each(|(name, value)| survey.note(name.as_str(), value));
        survey
    }

    /// Looks at one more field.
    pub fn note(&mut self, name: &str, value: &HeaderValue) {
        self.count += 1;
        self.bytes += name.len() + value.len() + 4;
        // By length first: most fields are then told apart by one comparison.
        match (name.len(), name) {
            (4, "host") => self.hosts += 1,
            (14, "content-length") => self.lengths += 1,
            (17, "transfer-encoding") => {
                self.codings += 1;
                self.hop_by_hop.note(HopByHop::TRANSFER_ENCODING);
            }
            (2, "te") => self.hop_by_hop.note(HopByHop::TE),
            (6, "expect") => self.hop_by_hop.note(HopByHop::EXPECT),
            (7, "upgrade") => self.hop_by_hop.note(HopByHop::UPGRADE),
            (10, "connection") => self.hop_by_hop.note(HopByHop::CONNECTION),
            (10, "keep-alive") => self.hop_by_hop.note(HopByHop::KEEP_ALIVE),
            (16, "proxy-connection") => self.hop_by_hop.note(HopByHop::PROXY_CONNECTION),
            (18, "proxy-authenticate") => self.hop_by_hop.note(HopByHop::PROXY_AUTHENTICATE),
            (19, "proxy-authorization") => self.hop_by_hop.note(HopByHop::PROXY_AUTHORIZATION),
            (9, "forwarded" | "x-real-ip")
            | (15, "x-forwarded-for")
            | (16, "x-forwarded-host")
            | (17, "x-forwarded-proto")
            | (18, "x-forwarded-prefix") => self.forwarding = true,
            (10, "user-agent") => self.agent = self.count,
            (10, "tracestate") | (11, "traceparent") => self.trace = true,
            (12, "x-request-id") => self.request_id = true,
            (17, "x-request-timeout") => self.timeout = true,
            (16, "x-tollgate-trace") => self.account = true,
            _ => self.underscore |= name.bytes().any(|byte| byte == b'_'),
        }
    }
}

/// Removes what ends at this hop, on all `Connection` lines (RFC 9110 §7.6.1), and every name that an upstream could
/// mistake for a managed one (`X_Forwarded_For`). `TE: trailers` stays, since gRPC needs it.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove_surveyed(headers, &Survey::of(headers));
}

/// The same, for fields that were looked at before.
pub fn remove_surveyed(headers: &mut HeaderMap, survey: &Survey) {
    if survey.underscore {
        remove_look_alikes(headers);
    }
    let found = survey.hop_by_hop;
    if !found.any() {
        return;
    }
    if found.connection() {
        for name in connection_options(headers) {
            headers.remove(&name);
        }
    }
    let wants_trailers =
        found.has(HopByHop::TE) && headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
    found.remove_from(headers);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes from trailers what only a head may say (RFC 9110 §6.5.1): a server that merges the two would believe a client
/// what the gateway vouches for.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    for name in NEVER_HOP_BY_HOP {
        trailers.remove(name);
    }
    trailers.remove(X_REAL_IP);
    trailers.remove(X_TOLLGATE_TRACE);
    trailers.remove(VIA);
}

/// The fields that the sender's `Connection` lines name, without those that may never be taken away, and without the
/// usual options: no field is called `close`, and `Keep-Alive` goes in any case.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION);
    let tokens = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let usual = |token: &&str| ["close", "keep-alive"].iter().any(|usual| token.trim().eq_ignore_ascii_case(usual));
    tokens
        .filter(|token| !usual(token))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .filter(|name| !NEVER_HOP_BY_HOP.contains(&name.as_str()))
        .collect()
}

/// CGI, WSGI and PHP read `X_Forwarded_For` as `X-Forwarded-For`, so a client could say what only we may.
fn remove_look_alikes(headers: &mut HeaderMap) {
    const MANAGED: [&str; 13] = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-request-id",
        "x-real-ip",
        "forwarded",
        "via",
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "authorization",
    ];
    let look_alikes: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_') && MANAGED.contains(&name.as_str().replace('_', "-").as_str()))
        .cloned()
        .collect();
    for name in look_alikes {
        headers.remove(name);
    }
}

/// Whether a list-valued field holds this token, case-insensitively, parameters ignored.
pub fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|text| {
        text.split(',').any(|item| item.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(token)))
    })
}

/// The protocol that the client asks to switch to, where its `Connection` says `upgrade` too. Never `h2c`: the stream
/// that would follow could not be looked at (RFC 9113 §3.1 has deprecated it).
pub fn requested_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let announced = headers.get_all(CONNECTION).iter().any(|line| has_token(line, "upgrade"));
    let single = headers.get_all(UPGRADE).iter().nth(1).is_none();
    let plain = protocol.to_str().is_ok_and(|text| !text.contains(',') && !text.trim().eq_ignore_ascii_case("h2c"));
    (announced && single && plain).then(|| protocol.clone())
}

/// The client's address: the peer's own, unless trusted proxies stand between; then the nearest that is not one of
/// them, read from the right, since everything further left is only what somebody claims.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut client = peer;
    for hop in forwarding_hops(headers) {
        let Some(address) = hop else { break };
        client = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// Whether an address is one of `trusted_proxies`.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The hops that `X-Forwarded-For` names, or `Forwarded` where the former is absent, nearest first. `None` stands for
/// one that is not an address.
fn forwarding_hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let (name, node): (_, fn(&str) -> Option<&str>) = match headers.contains_key(X_FORWARDED_FOR) {
        true => (X_FORWARDED_FOR, |element| Some(element)),
        false => (FORWARDED, forwarded_for),
    };
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    let texts = lines.into_iter().rev().map(|line| line.to_str().unwrap_or_default());
    texts.flat_map(|text| text.rsplit(',')).map(|element| node(element).and_then(node_address)).collect()
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value)
}

/// The address of a node, which may be quoted, bracketed and have a port (RFC 7239 §6).
fn node_address(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    if let Some(rest) = node.strip_prefix('[') {
        return rest.split_once(']').and_then(|(address, _)| address.parse().ok());
    }
    let bare = match node.split_once(':') {
        Some((address, port)) if !port.contains(':') => address,
        _ => node,
    };
    bare.parse().ok()
}

/// Makes one field of the pieces in which an HTTP/2 client may send its cookies: a server that speaks HTTP/1.1 expects
/// one (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(COOKIE).iter();
    let Some(first) = pieces.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    for piece in pieces {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(piece.as_bytes());
    }
    if joined.len() > first.len()
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(joined))
    {
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
