//! The signature algorithms that a token may have (RFC 7518 §3, RFC 8037), and sets of them.

use jsonwebtoken::Algorithm as Primitive;

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

use Algorithm::{EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, Es256, Es384, EdDsa, Hs256, Hs384, Hs512];

    /// The name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Rs256 => "RS256",
            Rs384 => "RS384",
            Rs512 => "RS512",
            Ps256 => "PS256",
            Ps384 => "PS384",
            Ps512 => "PS512",
            Es256 => "ES256",
            Es384 => "ES384",
            EdDsa => "EdDSA",
            Hs256 => "HS256",
            Hs384 => "HS384",
            Hs512 => "HS512",
        }
    }

    /// The algorithm of this name, in exactly this spelling. `Ed25519` is what RFC 9864 calls `EdDSA` with that curve.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "Ed25519" => Some(EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.name() == name),
        }
    }

    /// Whether whoever can verify can also sign.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Hs256 | Hs384 | Hs512)
    }

    pub(super) const fn primitive(self) -> Primitive {
        match self {
            Rs256 => Primitive::RS256,
            Rs384 => Primitive::RS384,
            Rs512 => Primitive::RS512,
            Ps256 => Primitive::PS256,
            Ps384 => Primitive::PS384,
            Ps512 => Primitive::PS512,
            Es256 => Primitive::ES256,
            Es384 => Primitive::ES384,
            EdDsa => Primitive::EdDSA,
            Hs256 => Primitive::HS256,
            Hs384 => Primitive::HS384,
            Hs512 => Primitive::HS512,
        }
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Algorithms(u16);

impl Algorithms {
    /// What RSA keys can do.
    pub const RSA: Self = Self::of(&[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512]);
    /// What shared secrets can do.
    pub const HMAC: Self = Self::of(&[Hs256, Hs384, Hs512]);

    /// The set of these.
    pub const fn of(list: &[Algorithm]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether it is one of them.
    pub const fn has(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u16) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::named("Ed25519"), Some(EdDsa));
        for name in ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "ES512", "ES256K", "HS1", "EdDSA\0"] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithms::HMAC.has(algorithm), algorithm.is_symmetric());
            assert_eq!(
                Algorithms::RSA.has(algorithm),
                algorithm.name().ends_with(['6', '4', '2']) && {
                    algorithm.name().starts_with("RS") || algorithm.name().starts_with("PS")
                }
            );
            assert_eq!(Algorithms::of(&[algorithm]).0.count_ones(), 1);
        }
    }
}
