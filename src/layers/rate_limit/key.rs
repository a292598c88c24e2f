//! What a request is counted by: an address as it is, everything else as a digest that nobody outside can aim at. What a
//! key lacks is replaced by the client's address, so nobody gets around a limit by leaving something out.

use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use smallvec::SmallVec;

use super::cells::Key;
use super::policy::KeyPart;
use crate::base::exchange::Exchange;

/// The one key of everything.
const GLOBAL: Key = Key([0, 1]);
/// Bytes of a digest that stand in a text: no two values meet in so many.
const DIGEST: usize = 16;

/// What makes digests of its own, so that no key can be aimed at another.
#[derive(Clone, Debug, Default)]
pub struct Seeds(RandomState, RandomState);

/// Finds keys.
#[derive(Clone, Debug)]
pub struct Keyer {
    parts: SmallVec<[KeyPart; 1]>,
    ipv6_prefix: u8,
    seeds: Seeds,
}

/// What a request has that it may be counted by.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What is known of it.
    pub exchange: &'a Exchange,
    /// Its header fields.
    pub headers: &'a HeaderMap,
}

impl Seeds {
    /// The digest of what `write` writes.
    fn digest(&self, write: impl Fn(&mut dyn Hasher)) -> Key {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            write(&mut hasher);
            hasher.finish()
        };
        Key([half(&self.0), half(&self.1)])
    }

    /// What sets the keys of one route apart from those of others.
    pub fn salt(&self, route: &str) -> Key {
        self.digest(|hasher| {
            hasher.write_u8(b'r');
            hasher.write(route.as_bytes());
        })
    }
}

impl Key {
    /// The same key in one route's share.
    pub fn salted(self, salt: Self) -> Self {
        Self([self.0[0] ^ salt.0[0], self.0[1] ^ salt.0[1]])
    }
}

impl Keyer {
    /// Finds keys of these parts.
    pub fn new(parts: &[KeyPart], ipv6_prefix: u8, seeds: Seeds) -> Self {
        Self { parts: parts.iter().cloned().collect(), ipv6_prefix, seeds }
    }

    /// The key of a request.
    pub fn key(&self, seen: Seen<'_>) -> Key {
        match &*self.parts {
            [KeyPart::Ip] => address(masked(seen.exchange.client, self.ipv6_prefix)),
            [KeyPart::Global] => GLOBAL,
            [part] if !seen.has(part) => address(masked(seen.exchange.client, self.ipv6_prefix)),
            parts => self.seeds.digest(|hasher| {
                for part in parts {
                    // Neither byte is in any text: what stands for one key never stands for another.
                    hasher.write(word(seen.found(part)).as_bytes());
                    hasher.write_u8(0xfe);
                    self.write(seen.found(part), seen, &mut Feed(hasher));
                    hasher.write_u8(0xff);
                }
            }),
        }
    }

    /// The same as a text, for what several gateways share and for people. What may be a secret or a name is a digest.
    pub fn text(&self, seen: Seen<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            if !text.is_empty() {
                text.push(',');
            }
            let (found, mut value) = (seen.found(part), Vec::new());
            self.write(found, seen, &mut Plain(&mut value));
            text.push_str(word(found));
            if matches!(found, KeyPart::Ip | KeyPart::Route) {
                text.push(':');
                text.push_str(&String::from_utf8_lossy(&value).replace(['{', '}'], "_"));
            } else if !matches!(found, KeyPart::Global) {
                text.push(':');
                for byte in digest(&SHA256, &value).as_ref().iter().take(DIGEST) {
                    let _ = write!(text, "{byte:02x}");
                }
            }
        }
        text
    }

    /// Writes a part of a request's key that it has.
    fn write(&self, part: &KeyPart, seen: Seen<'_>, out: &mut dyn Write) {
        let _ = match part {
            KeyPart::Ip => write_address(seen.exchange.client, self.ipv6_prefix, out),
            KeyPart::Subject => out.write_str(seen.exchange.subject().map_or("", |subject| subject)),
            KeyPart::Claim(path) => match seen.claim(path) {
                Some(serde_json::Value::String(text)) => out.write_str(text),
                Some(other) => write!(out, "={other}"),
                None => Ok(()),
            },
            KeyPart::Header(name) => seen.headers.get_all(name).iter().try_for_each(|line| {
                match line.to_str() {
                    Ok(text) => out.write_str(text)?,
                    // Bytes that are no text are told apart all the same.
                    Err(_) => line.as_bytes().iter().try_for_each(|byte| out.write_char(char::from(*byte)))?,
                }
                out.write_char('\n')
            }),
            KeyPart::Route => out.write_str(seen.exchange.route.as_deref().unwrap_or_default()),
            KeyPart::Global => Ok(()),
        };
    }
}

impl Seen<'_> {
    /// Whether the request has it.
    fn has(&self, part: &KeyPart) -> bool {
        match part {
            KeyPart::Ip | KeyPart::Global | KeyPart::Route => true,
            KeyPart::Subject => self.exchange.subject().is_some_and(|subject| !subject.is_empty()),
            KeyPart::Claim(path) => self.claim(path).is_some_and(|value| !value.is_null() && value != ""),
            KeyPart::Header(name) => self.headers.get_all(name).iter().any(|line| !line.is_empty()),
        }
    }

    /// The part, or the address if the request lacks it.
    fn found<'a>(&self, part: &'a KeyPart) -> &'a KeyPart {
        if self.has(part) { part } else { &KeyPart::Ip }
    }

    /// A claim of who asks.
    pub fn claim(&self, path: &str) -> Option<&serde_json::Value> {
        self.exchange.identity.as_ref()?.claim(path)
    }
}

/// What a part is called in a text.
fn word(part: &KeyPart) -> &'static str {
    match part {
        KeyPart::Ip => "ip",
        KeyPart::Subject => "subject",
        KeyPart::Claim(_) => "claim",
        KeyPart::Header(_) => "header",
        KeyPart::Route => "route",
        KeyPart::Global => "global",
    }
}

/// The address as far as it tells clients apart: IPv4 in full, whichever way it is written.
fn masked(address: IpAddr, ipv6_prefix: u8) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask)
        }
    }
}

fn address(address: Ipv6Addr) -> Key {
    let bytes = address.octets();
    let (high, low) = bytes.split_at(8);
    let half = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Key([half(high), half(low)])
}

fn write_address(address: IpAddr, ipv6_prefix: u8, out: &mut dyn Write) -> fmt::Result {
    match masked(address, ipv6_prefix).to_canonical() {
        IpAddr::V4(address) => write!(out, "{address}"),
        IpAddr::V6(address) => write!(out, "{address}/{}", ipv6_prefix.min(128)),
    }
}

/// Feeds what is written to a hasher.
struct Feed<'a>(&'a mut dyn Hasher);

impl Write for Feed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Keeps what is written.
struct Plain<'a>(&'a mut Vec<u8>);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
