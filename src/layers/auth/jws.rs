//! A token as it is written (RFC 7515 §7.1): three parts, their base64url in its one form, and the header. Nothing here
//! is verified, and nothing that a header could say about where a key is to be found is even read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::algorithm::Algorithm;
use super::failure::{Failure, shown};

/// Longest token, in bytes.
pub const LONGEST: usize = 32 * 1024;
/// Longest key id, in bytes.
pub const LONGEST_KEY_ID: usize = 256;

/// A token, taken apart.
#[derive(Debug)]
pub struct Jws<'a> {
    /// What the header says.
    pub header: Header,
    /// What was signed: header and payload as they came.
    pub signed: &'a [u8],
    /// The payload, decoded.
    pub payload: Vec<u8>,
    /// The signature as it came: base64url, known to be in its one form.
    pub signature: &'a str,
}

/// The part of a header that counts.
#[derive(Debug)]
pub struct Header {
    /// The algorithm that the token claims, where it is one that is known.
    pub algorithm: Algorithm,
    /// The id of the key that it claims.
    pub key_id: Option<String>,
}

/// The header as it is written. Members that are known stand at most once; `jwk`, `jku`, `x5u` and `x5c` are not known.
#[derive(Deserialize)]
struct Written {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    enc: bool,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn parse(token: &'a [u8]) -> Result<Self, Failure> {
        if token.len() > LONGEST {
            return Err(Failure::Malformed("longer than 32 KiB"));
        }
        let token = std::str::from_utf8(token).map_err(|_| Failure::Malformed("not ASCII"))?;
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let five = token.split('.').count() == 5;
            return Err(Failure::Malformed(if five { "encrypted" } else { "not three parts" }));
        };
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let header = Header::parse(&decode(header, "the header is not base64url")?)?;
        let payload = decode(payload, "the payload is not base64url")?;
        if signature.is_empty() {
            return Err(Failure::Malformed("not signed"));
        }
        decode(signature, "the signature is not base64url")?;
        Ok(Self { header, signed, payload, signature })
    }
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, Failure> {
        let wrong = || Failure::Malformed("the header is not that of a token");
        // All of it, also the members that nobody reads: JSON is UTF-8 (RFC 7515 §5.2, step 3).
        let text = std::str::from_utf8(json).map_err(|_| wrong())?;
        let written: Written = serde_json::from_str(text).map_err(|_| wrong())?;
        if written.crit {
            return Err(Failure::Critical);
        }
        if written.enc {
            return Err(Failure::Malformed("encrypted"));
        }
        if written.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KEY_ID) {
            return Err(Failure::Malformed("the key id is longer than 256 bytes"));
        }
        if let Some(other) = written.typ.filter(|kind| !is_access_token(kind)) {
            return Err(Failure::Type(shown(&other)));
        }
        let Some(algorithm) = Algorithm::named(&written.alg) else {
            return Err(Failure::Algorithm(shown(&written.alg)));
        };
        Ok(Self { algorithm, key_id: written.kid })
    }
}

/// Whether a token of this type may be an access token: those that name another use in their type never are, such as
/// `logout+jwt` or `dpop+jwt` (RFC 8725 §3.11); `at+jwt` is one (RFC 9068).
fn is_access_token(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    !kind.ends_with("+jwt") || kind == "at+jwt"
}

fn decode(part: &str, wrong: &'static str) -> Result<Vec<u8>, Failure> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Failure::Malformed(wrong))
}

/// Whether a member is there, whatever it holds.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<Header, Failure> {
        let token = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
        Jws::parse(token.as_bytes()).map(|jws| jws.header)
    }

    #[test]
    fn the_form_is_exact() {
        let jws = Jws::parse(b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AAAA").unwrap();
        assert_eq!((jws.header.algorithm, jws.header.key_id.as_deref()), (Algorithm::Es256, Some("a")));
        assert_eq!((jws.signed, jws.payload.as_slice()), (&b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30"[..], &b"{}"[..]));
        for token in [
            "",
            ".",
            "..",
            "...",
            "a.b",
            "eyJhbGciOiJFUzI1NiJ9.e30.",      // no signature
            "eyJhbGciOiJFUzI1NiJ9.e30.AAAA.", // a fourth part
            "eyJhbGciOiJFUzI1NiJ9.e30.AAA=",  // padding
            "eyJhbGciOiJFUzI1NiJ9=.e30.AAAA", // padding
            "eyJhbGciOiJFUzI1NiJ9.e30.AAB",   // bits behind the end
            "eyJhbGciOiJFUzI1NiJ9.e30.AA+A",  // the other alphabet
            "eyJhbGciOiJFUzI1NiJ9.e30.AA A",  // a space
            "eyJhbGciOiJFUzI1NiJ9 .e30.AAAA",
            "eyJhbGciOiJFUzI1NiJ9.e30.AAAA\n",
            "eyJhbGciOiJFUzI1NiJ9.e31.AAAA",  // bits behind the end
            "eyJhbGciOiJFUzI1NiJ9.e30.A.A.A", // encrypted
            "é.e30.AAAA",
        ] {
            assert!(matches!(Jws::parse(token.as_bytes()), Err(Failure::Malformed(_))), "{token}");
        }
        assert!(Jws::parse(b"eyJhbGciOiJFUzI1NiJ9.e30.\xff").is_err());
        assert!(Jws::parse(&vec![b'a'; LONGEST + 1]).is_err());
    }

    #[test]
    fn headers_that_could_mean_two_things_are_refused() {
        for header in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"alg":5}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
            r#"{"alg":"ES256","enc":"A128GCM"}"#,
            r#"{"alg":"ES256"} x"#,
        ] {
            assert!(matches!(parse(header), Err(Failure::Malformed(_))), "{header}");
        }
        let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(LONGEST_KEY_ID + 1));
        assert!(parse(&long).is_err());
        for alg in ["none", "None", "nOnE", "NONE", "", "ES256K", "es256", "HS2048"] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert!(matches!(parse(&header), Err(Failure::Algorithm(_))), "{alg}");
        }
        for crit in ["[]", r#"["exp"]"#, "null", r#"["b64"],"b64":false"#] {
            let header = format!(r#"{{"alg":"ES256","crit":{crit}}}"#);
            assert!(matches!(parse(&header), Err(Failure::Critical)), "{crit}");
        }
    }

    #[test]
    fn a_type_that_names_another_use_is_refused() {
        for kind in ["JWT", "jwt", "at+jwt", "application/at+JWT", "JOSE", "application/jwt"] {
            assert!(parse(&format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#)).is_ok(), "{kind}");
        }
        for kind in ["logout+jwt", "dpop+jwt", "application/secevent+jwt", "AT2+JWT"] {
            assert!(matches!(parse(&format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#)), Err(Failure::Type(_))), "{kind}");
        }
        // Where a token says that its key is to be found does not count.
        assert!(parse(r#"{"alg":"ES256","jku":"http://evil","jwk":{"kty":"oct"},"x5c":1,"x5u":[]}"#).is_ok());
    }
}
