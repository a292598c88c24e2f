//! OpenSSL judges our signatures, and its keys are ours to sign with. Where the program is not installed, this says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{PUBLIC, err, key, mint, minted, text};

/// Whether there is an OpenSSL.
fn there() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("NOT RUN: openssl is not installed");
    }
    found
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What OpenSSL says of a token's signature.
fn verifies(folder: &Path, algorithm: &str, public: &Path, token: &str) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (input_file, signature_file) = (folder.join("input"), folder.join("signature"));
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    fs::write(&input_file, input).unwrap();
    fs::write(&signature_file, if algorithm.starts_with("ES") { der(&raw) } else { raw }).unwrap();
    let (public, input, signature) = (text(public), text(&input_file), text(&signature_file));
    let digest = format!("-sha{}", &algorithm[2..]);
    let edwards = ["pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", input, "-sigfile", signature];
    let plain = ["dgst", &digest, "-verify", public, "-signature", signature, input];
    let padded = [
        "dgst",
        &digest,
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:digest",
        "-verify",
        public,
        "-signature",
        signature,
        input,
    ];
    let arguments = match &algorithm[..2] {
        "Ed" => &edwards[..],
        "PS" => &padded[..],
        _ => &plain[..],
    };
    Command::new("openssl").args(arguments).output().unwrap().status.success()
}

/// Two numbers one behind the other, as OpenSSL wants them: in DER. Short lengths do, up to P-384.
fn der(raw: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let bare: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = bare.first().is_none_or(|first| *first >= 0x80);
        let length = u8::try_from(bare.len() + usize::from(sign)).unwrap();
        [vec![2, length], vec![0; usize::from(sign)], bare].concat()
    };
    let (r, s) = raw.split_at(raw.len() / 2);
    let both = [number(r), number(s)].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

#[test]
fn openssl_verifies_what_we_sign_and_reads_the_keys_that_we_make() {
    if !there() {
        return;
    }
    let (rsa_folder, rsa) = key("RS256");
    for algorithm in PUBLIC {
        let (_folder, own) = match &algorithm[..1] {
            "E" => key(algorithm),
            _ => (tempfile::tempdir().unwrap(), rsa.clone()),
        };
        openssl(&["pkey", "-in", &own, "-noout", "-check"]);
        let public = Path::new(&own).with_file_name("public.pem");
        assert_eq!(fs::read_to_string(&public).unwrap(), openssl(&["pkey", "-in", &own, "-pubout"]), "{algorithm}");
        let token = minted(&["--key", &own, "--alg", algorithm, "--sub", "alice"]);
        assert!(verifies(rsa_folder.path(), algorithm, &public, &token), "{algorithm}");
        let bent = token.replacen("eyJ", "eyK", 1);
        assert!(!verifies(rsa_folder.path(), algorithm, &public, &bent), "{algorithm}: another header");
    }
}

#[test]
fn keys_that_openssl_makes_sign_in_every_form_that_it_writes() {
    if !there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (rsa, p256, p384, ed) = (path("rsa"), path("p256"), path("p384"), path("ed"));
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &rsa]);
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", &p256]);
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", &p384]);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", &ed]);
    let traditional = path("rsa-traditional");
    openssl(&["rsa", "-in", &rsa, "-traditional", "-out", &traditional]);
    assert!(fs::read_to_string(&traditional).unwrap().contains("BEGIN RSA PRIVATE KEY"));
    assert!(fs::read_to_string(&p256).unwrap().contains("BEGIN EC PARAMETERS"), "the key comes second");
    for (key, algorithm) in
        [(&rsa, "RS256"), (&traditional, "RS256"), (&p256, "ES256"), (&p384, "ES384"), (&ed, "EdDSA")]
    {
        let public = folder.path().join("public");
        openssl(&["pkey", "-in", key, "-pubout", "-out", text(&public)]);
        let token = minted(&["--key", key]);
        assert!(verifies(folder.path(), algorithm, &public, &token), "{key}");
    }
    let small = path("small");
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", &small]);
    let locked = path("locked");
    openssl(&["pkey", "-in", &rsa, "-aes256", "-passout", "pass:x", "-out", &locked]);
    let other_curve = path("p521");
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", &other_curve]);
    for (key, word) in [(&small, "2048"), (&locked, "encrypted"), (&other_curve, "P-384"), (&path("public"), "private")]
    {
        let output = mint(&["--key", key]);
        assert_eq!(output.status.code(), Some(1), "{key}");
        assert!(err(&output).contains(word), "{key}: {}", err(&output));
    }
}

#[test]
fn the_der_that_this_test_writes_is_what_the_library_reads() {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey, VerificationAlgorithm,
    };
    let both: [(&str, &'static dyn VerificationAlgorithm, &'static dyn VerificationAlgorithm); 2] = [
        ("ES256", &ECDSA_P256_SHA256_FIXED, &ECDSA_P256_SHA256_ASN1),
        ("ES384", &ECDSA_P384_SHA384_FIXED, &ECDSA_P384_SHA384_ASN1),
    ];
    for (algorithm, fixed, asn1) in both {
        let (folder, key) = key(algorithm);
        let pem = fs::read_to_string(folder.path().join("public.pem")).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let public = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        for _ in 0..8 {
            let token = minted(&["--key", &key]);
            let (input, signature) = token.rsplit_once('.').unwrap();
            let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
            UnparsedPublicKey::new(fixed, &public).verify(input.as_bytes(), &raw).unwrap();
            UnparsedPublicKey::new(asn1, &public).verify(input.as_bytes(), &der(&raw)).unwrap();
        }
    }
}
