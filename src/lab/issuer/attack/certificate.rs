//! A certificate that the forger makes for its own key (RFC 5280 §4.1): signed by itself, with little in it.

use jiff::Timestamp;

use crate::lab::issuer::algorithm::{Algorithm, Family};
use crate::lab::issuer::der::{bits, sequence, unsigned, value};
use crate::lab::issuer::key::Key;

/// OBJECT IDENTIFIER
const OID: u8 = 0x06;
/// UTCTime
const UTC_TIME: u8 = 0x17;
/// UTF8String
const UTF8: u8 = 0x0c;
/// SET
const SET: u8 = 0x31;
/// `commonName`
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const DAY: i64 = 86_400;

/// The certificate; a secret has none.
pub(super) fn of(key: &Key, algorithm: Algorithm, now: i64) -> Option<Vec<u8>> {
    let (signing, oid): (Algorithm, &[u8]) = match algorithm.family() {
        Family::Hmac => return None,
        Family::Rsa => (Algorithm::Rs256, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]),
        Family::P256 => (Algorithm::Es256, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]),
        Family::P384 => (Algorithm::Es384, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03]),
        Family::Ed25519 => (Algorithm::EdDsa, &[0x2b, 0x65, 0x70]),
    };
    let null: &[u8] = if signing == Algorithm::Rs256 { &[0x05, 0x00] } else { &[] };
    let method = sequence(&[&value(OID, oid), null]);
    let name = sequence(&[&value(SET, &sequence(&[&value(OID, COMMON_NAME), &value(UTF8, b"forger.example")]))]);
    let validity = sequence(&[&time(now - DAY)?, &time(now + DAY)?]);
    let inside = sequence(&[&unsigned(&[1]), &method, &name, &validity, &name, &key.public_der()?]);
    let signature = key.sign(signing, &inside).ok()?;
    let signature = match signing {
        Algorithm::Es256 | Algorithm::Es384 => {
            let (r, s) = signature.split_at(signature.len() / 2);
            sequence(&[&unsigned(r), &unsigned(s)])
        }
        _ => signature,
    };
    Some(sequence(&[&inside, &method, &bits(&signature)]))
}

/// `YYMMDDHHMMSSZ`, for the years that this form can say.
fn time(seconds: i64) -> Option<Vec<u8>> {
    let text = Timestamp::from_second(seconds).ok()?.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).skip(2).take(12).collect();
    Some(value(UTC_TIME, format!("{digits}Z").as_bytes()))
}
