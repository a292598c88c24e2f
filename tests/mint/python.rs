//! PyJWT and joserfc judge our tokens: libraries of another language, over another cryptographic library. `.ci/run`
//! installs them; where they are not, this says so.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::{PUBLIC, err, key, minted, text};

/// Where `.ci/run` puts them.
fn packages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/python")
}

fn python(arguments: &[&str]) -> Option<Output> {
    Command::new("python3").args(arguments).env("PYTHONPATH", packages()).output().ok()
}

/// Whether both libraries are there.
fn there() -> bool {
    let found = python(&["-c", "import jwt, cryptography, joserfc"]).is_some_and(|output| output.status.success());
    if !found {
        eprintln!("NOT RUN: PyJWT and joserfc are not installed");
    }
    found
}

fn judge(arguments: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mint/judge.py");
    python(&[&[script], arguments].concat()).unwrap()
}

#[test]
fn independent_libraries_take_our_tokens_and_our_key_sets() {
    if !there() {
        return;
    }
    let said = ["--iss", "me", "--aud", "you", "--sub", "alice", "--claim", "n={\"a\":1}"];
    let (rsa_folder, rsa) = key("RS256");
    let (p256_folder, p256) = key("ES256");
    let mut jobs = String::new();
    let mut job = |keys: Value, algorithm: &str, token: &str, good: bool| {
        jobs += &format!("{}\n", json!({"keys": keys, "algorithm": algorithm, "token": token, "good": good}));
    };
    let set = |arguments: &[&str]| serde_json::from_str::<Value>(&minted(arguments)).unwrap();
    for algorithm in PUBLIC {
        let (_folder, own) = match algorithm {
            "ES384" | "EdDSA" => key(algorithm),
            "ES256" => (tempfile::tempdir().unwrap(), p256.clone()),
            _ => (tempfile::tempdir().unwrap(), rsa.clone()),
        };
        let token = minted(&[&["--key", &own, "--alg", algorithm][..], &said].concat());
        job(set(&["jwks", "--key", &own, "--alg", algorithm]), algorithm, &token, true);
    }
    for (algorithm, folder) in [("RS256", &rsa_folder), ("ES256", &p256_folder)] {
        let written = std::fs::read(folder.path().join("jwks.json")).unwrap();
        let (_other, other) = key(algorithm);
        // Under the name of the real key, so that only the signature is wrong.
        let written: Value = serde_json::from_slice(&written).unwrap();
        let kid = written["keys"][0]["kid"].as_str().unwrap().to_owned();
        let token = minted(&[&["--key", &other, "--kid", &kid][..], &said].concat());
        job(written, algorithm, &token, false);
    }
    for algorithm in ["HS256", "HS384", "HS512"] {
        let folder = tempfile::tempdir().unwrap();
        minted(&["keygen", "--alg", algorithm, "--out", text(folder.path())]);
        let secret = std::fs::read_to_string(folder.path().join("secret")).unwrap();
        let token = minted(&[&["--secret", &secret, "--alg", algorithm][..], &said].concat());
        job(secret.into(), algorithm, &token, true);
    }
    let list = rsa_folder.path().join("list");
    std::fs::write(&list, jobs).unwrap();
    let output = judge(&["tokens", text(&list)]);
    assert!(output.status.success(), "{}", err(&output));
}

/// What passes there is no forgery, or a fault of theirs: each such name is looked at before it is listed here.
#[test]
fn independent_libraries_refuse_the_forgeries_that_they_should() {
    if !there() {
        return;
    }
    let (folder, key) = key("ES256");
    let list = minted(&["attack", "--key", &key, "--iss", "me", "--aud", "you", "--sub", "alice", "--json"]);
    let file = folder.path().join("list");
    std::fs::write(&file, list).unwrap();
    let output = judge(&["forgeries", text(&folder.path().join("jwks.json")), "ES256", text(&file)]);
    assert!(output.status.success(), "{}", err(&output));
    print!("{}", String::from_utf8_lossy(&output.stdout));
}
