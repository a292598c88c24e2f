//! Compact tokens (RFC 7515 §3.1): three parts of base64url, the last a signature of the first two as they stand.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::{Key, KeyError};

/// What a token says of itself: header or claims.
pub type Members = Map<String, Value>;

/// Bytes as base64url without padding (RFC 7515 §2).
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The usual header, with whatever else is wanted in it.
pub fn header(algorithm: Algorithm, kid: Option<&str>, more: &Members) -> Members {
    let mut header = Members::new();
    header.insert("alg".to_owned(), algorithm.as_str().into());
    header.insert("typ".to_owned(), "JWT".into());
    if let Some(kid) = kid {
        header.insert("kid".to_owned(), kid.into());
    }
    header.extend(more.clone());
    header
}

/// A signed token.
///
/// # Errors
/// The key is not for the algorithm.
pub fn signed(header: &Members, claims: &Members, key: &Key, algorithm: Algorithm) -> Result<String, KeyError> {
    signed_bytes(text(header).as_bytes(), text(claims).as_bytes(), key, algorithm)
}

/// Members as JSON.
pub fn text(members: &Members) -> String {
    Value::Object(members.clone()).to_string()
}

/// The same of bytes that need not be what they should be.
///
/// # Errors
/// The key is not for the algorithm.
pub fn signed_bytes(header: &[u8], payload: &[u8], key: &Key, algorithm: Algorithm) -> Result<String, KeyError> {
    let input = input(header, payload);
    let signature = key.sign(algorithm, input.as_bytes())?;
    Ok(format!("{input}.{}", encode(&signature)))
}

/// What is signed.
pub fn input(header: &[u8], payload: &[u8]) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 §A.1.
    #[test]
    fn a_published_token_comes_out_byte_by_byte() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = Key::from_secret(&URL_SAFE_NO_PAD.decode(secret).unwrap()).unwrap();
        let header = b"{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}";
        let payload = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        assert_eq!(
            signed_bytes(header, payload, &key, Algorithm::Hs256).unwrap(),
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
             LmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    /// RFC 8037 §A.4, with the key of §A.1 in PKCS #8.
    #[test]
    fn so_does_one_of_ed25519_whose_payload_is_no_json() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let begin = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = Key::from_pem(&super::super::pem::write("PRIVATE KEY", &[&begin[..], &seed].concat())).unwrap();
        assert_eq!(
            signed_bytes(b"{\"alg\":\"EdDSA\"}", b"Example of Ed25519 signing", &key, Algorithm::EdDsa).unwrap(),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4\
             iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }
}
