//! Signatures that are missing, borrowed, bent, or right for another key; and those that a careless implementation of
//! one algorithm takes.

use super::{Bench, Expect};
use crate::lab::issuer::algorithm::Family;
use crate::lab::issuer::der;
use crate::lab::issuer::key::KeyError;
use crate::lab::issuer::token::{self, encode};

/// The order of P-256 (FIPS 186-5 and SP 800-186 §3.2.1.3).
const ORDER_P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
/// The order of P-384 (SP 800-186 §3.2.1.4).
const ORDER_P384: &str =
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
/// The order of edwards25519, little-endian (RFC 8032 §5.1).
const ORDER_ED25519: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

pub(super) fn add(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let signature = bench.of.key.sign(bench.of.algorithm, signing_input(bench).as_bytes())?;
    borrowed(bench)?;
    bent(bench, &signature);
    match bench.of.key.family() {
        Family::P256 => ecdsa(bench, &signature, &unhex(ORDER_P256)),
        Family::P384 => ecdsa(bench, &signature, &unhex(ORDER_P384)),
        Family::Ed25519 => eddsa(bench, &signature),
        Family::Rsa => rsa(bench, signature.len()),
        Family::Hmac => {}
    }
    Ok(())
}

/// Good signatures of something else.
fn borrowed(bench: &mut Bench<'_>) -> Result<(), KeyError> {
    let header = bench.header.clone();
    let [head, payload, signature] = bench.parts().map(str::to_owned);
    let edited = |members| encode(token::text(&members).as_bytes());
    let admin = edited(bench.claims_with("sub", "admin"));
    bench.bad("claims-edited", "another subject under the old signature", format!("{head}.{admin}.{signature}"));
    let longer = edited(bench.claims_with("exp", bench.of.now.saturating_add(315_360_000)));
    bench.bad("claims-prolonged", "another end under the old signature", format!("{head}.{longer}.{signature}"));
    let renamed = edited(bench.header_with("x-extra", "new"));
    bench.bad("header-edited", "another header under the old signature", format!("{renamed}.{payload}.{signature}"));
    let forged = bench.forge(&header)?;
    bench.bad("key-of-the-forger", "signed by another key under the real key's name", forged);
    let alone = encode(&bench.of.key.sign(bench.of.algorithm, payload.as_bytes())?);
    bench.bad("signature-of-payload", "a good signature of the payload alone", format!("{head}.{payload}.{alone}"));
    let unencoded = [head.as_bytes(), b".", bench.payload().as_bytes()].concat();
    let raw = encode(&bench.of.key.sign(bench.of.algorithm, &unencoded)?);
    bench.bad(
        "signature-of-decoded",
        "a good signature of the payload before it is encoded",
        format!("{head}.{payload}.{raw}"),
    );
    Ok(())
}

fn bent(bench: &mut Bench<'_>, signature: &[u8]) {
    let input = signing_input(bench);
    let mut add = |name: &str, about, bytes: &[u8]| bench.bad(name, about, format!("{input}.{}", encode(bytes)));
    let flipped = |at: usize| {
        let mut bytes = signature.to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        bytes
    };
    let last = signature.len().saturating_sub(1);
    add("signature-first-bit", "one bit of the signature turned", &flipped(0));
    add("signature-last-bit", "one bit of the signature turned", &flipped(last));
    add("signature-empty", "nothing where the signature belongs", b"");
    add("signature-short", "the signature without its last byte", &signature[..last]);
    add("signature-half", "the first half of the signature", &signature[..signature.len() / 2]);
    add("signature-one-byte", "the first byte of the signature", &signature[..1]);
    add("signature-long", "the signature and a byte more", &[signature, &[0]].concat());
    add("signature-shifted", "a byte more and the signature", &[&[0], signature].concat());
    add("signature-twice", "the signature twice", &[signature, signature].concat());
    add("signature-zeros", "zeros", &vec![0; signature.len()]);
    add("signature-ones", "bytes of 255", &vec![255; signature.len()]);
    add("signature-reversed", "the signature backwards", &signature.iter().rev().copied().collect::<Vec<u8>>());
}

/// What broken ECDSA takes: numbers that are no residues (CVE-2022-21449 and its kin), another encoding.
fn ecdsa(bench: &mut Bench<'_>, signature: &[u8], order: &[u8]) {
    let input = signing_input(bench);
    let size = order.len();
    let (r, s) = signature.split_at(size);
    let number = |low: u8| [vec![0; size - 1], vec![low]].concat();
    let pairs: [(&str, &'static str, Vec<u8>, Vec<u8>); 7] = [
        ("psychic", "r = s = 0", number(0), number(0)),
        ("psychic-r", "r = 0, s = 1", number(0), number(1)),
        ("psychic-s", "r = 1, s = 0", number(1), number(0)),
        ("ones", "r = s = 1", number(1), number(1)),
        ("order", "r = s = the order of the curve", order.to_vec(), order.to_vec()),
        ("order-r", "r = the order of the curve", order.to_vec(), s.to_vec()),
        ("swapped", "r and s exchanged", s.to_vec(), r.to_vec()),
    ];
    for (name, about, r, s) in pairs {
        bench.bad(format!("ecdsa-{name}"), about, format!("{input}.{}", encode(&[r, s].concat())));
    }
    let asn1 = encode(&der::sequence(&[&der::unsigned(r), &der::unsigned(s)]));
    bench.bad("ecdsa-der", "a good signature in DER instead of two numbers", format!("{input}.{asn1}"));
    let zeros = encode(&der::sequence(&[&der::unsigned(&[]), &der::unsigned(&[])]));
    bench.bad("ecdsa-der-psychic", "r = s = 0 in DER", format!("{input}.{zeros}"));
    let mirrored = encode(&[r, &difference(order, s)].concat());
    let about = "the other signature that is as good: a token cannot be known by its bytes";
    bench.add(Expect::Either, "ecdsa-mirrored", about, format!("{input}.{mirrored}"));
}

/// A second form of a good signature, which RFC 8032 §5.1.7 refuses; and a key and a point of small order.
fn eddsa(bench: &mut Bench<'_>, signature: &[u8]) {
    let input = signing_input(bench);
    let (point, number) = signature.split_at(signature.len() / 2);
    let (mut sum, mut carry) = (Vec::new(), 0);
    for (left, right) in number.iter().zip(unhex(ORDER_ED25519)) {
        let total = u16::from(*left) + u16::from(right) + carry;
        sum.push(total.to_le_bytes()[0]);
        carry = total >> 8;
    }
    let again = encode(&[point, &sum].concat());
    bench.bad("eddsa-order-added", "a good signature with the order added to S", format!("{input}.{again}"));
    let neutral = encode(&[&[1][..], &[0; 63]].concat());
    bench.bad("eddsa-neutral", "the neutral point and zero", format!("{input}.{neutral}"));
}

fn rsa(bench: &mut Bench<'_>, size: usize) {
    let input = signing_input(bench);
    let one = encode(&[vec![0; size - 1], vec![1]].concat());
    bench.bad("rsa-one", "the number one, which stays itself under any exponent", format!("{input}.{one}"));
    let Some(public) = bench.of.key.rsa_public_der() else { return };
    let Some((modulus, _)) = der::rsa_public_key(&public) else { return };
    let modulus = encode(modulus);
    bench.bad("rsa-modulus", "the modulus itself", format!("{input}.{modulus}"));
}

fn signing_input(bench: &Bench<'_>) -> String {
    let [header, payload, _] = bench.parts();
    format!("{header}.{payload}")
}

/// `left - right`, big-endian numbers of one length.
fn difference(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut out: Vec<u8> = left
        .iter()
        .zip(right)
        .rev()
        .map(|(left, right)| {
            let value = 256 + u16::from(*left) - u16::from(*right) - borrow;
            borrow = u16::from(value < 256);
            value.to_le_bytes()[0]
        })
        .collect();
    out.reverse();
    out
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|digit| digit.try_into().ok()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_subtracted_with_their_borrows() {
        assert_eq!(difference(&[1, 0, 0], &[0, 0, 1]), [0, 255, 255]);
        assert_eq!(difference(&[2, 5], &[1, 6]), [0, 255]);
        assert_eq!(unhex("00ff10"), [0, 255, 16]);
    }
}
