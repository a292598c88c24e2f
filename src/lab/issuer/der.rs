//! As much of DER (X.690 §8, §10) as keys and a certificate need: writing values, and reading an RSA public key.

/// INTEGER
const INTEGER: u8 = 0x02;
/// BIT STRING
const BIT_STRING: u8 = 0x03;
/// SEQUENCE
const SEQUENCE: u8 = 0x30;

/// A value with its tag and length.
pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let used = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len())..];
    match used {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        // A length has at most eight bytes.
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// These values in one.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// An unsigned number, given as big-endian bytes.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let bare = bare(bytes);
    match bare.first() {
        Some(first) if *first < 0x80 => value(INTEGER, bare),
        _ => value(INTEGER, &[&[0], bare].concat()),
    }
}

/// Whole bytes as a string of bits.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1), as big-endian bytes without leading zeros.
pub(super) fn rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, _) = read(der, SEQUENCE)?;
    let (modulus, rest) = read(inside, INTEGER)?;
    let (exponent, _) = read(rest, INTEGER)?;
    Some((bare(modulus), bare(exponent)))
}

/// The content of the first value, which has this tag, and what stands behind it.
fn read(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short if short < 0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (bytes.iter().try_fold(0_usize, |sum, byte| Some(sum.checked_mul(256)? + usize::from(*byte)))?, rest)
        }
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// Without leading zeros.
fn bare(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_signs_are_as_der_wants_them() {
        assert_eq!(unsigned(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(value(4, &[7; 200])[..3], [4, 0x81, 200]);
        assert_eq!(value(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(value(4, &[]), [4, 0]);
    }

    #[test]
    fn an_rsa_key_is_read_back_and_a_broken_one_is_not() {
        let modulus = [0xff; 256];
        let der = sequence(&[&unsigned(&modulus), &unsigned(&[1, 0, 1])]);
        assert_eq!(rsa_public_key(&der), Some((&modulus[..], &[1, 0, 1][..])));
        for end in 0..der.len() {
            assert_eq!(rsa_public_key(&der[..end]), None, "{end}");
        }
        assert_eq!(rsa_public_key(&[SEQUENCE, 0xff, 0xff]), None);
    }
}
