//! `mint-token` from outside: keys, tokens, forgeries and the issuer on a port, judged by programs that share nothing
//! with it: OpenSSL, and the libraries of another language. What is not installed is said to be not run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that is not run says so")]

#[path = "mint/inspect.rs"]
mod inspect;
#[path = "mint/issuer.rs"]
mod issuer;
#[path = "mint/openssl.rs"]
mod openssl;
#[path = "mint/python.rs"]
mod python;
#[path = "mint/trial.rs"]
mod trial;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The algorithms that have a public half.
pub(crate) const PUBLIC: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Runs `mint-token` with nothing in its environment.
pub(crate) fn mint(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mint-token")).args(arguments).env_clear().output().unwrap()
}

/// The same where it has to go well; returns what it printed, without the last line break.
pub(crate) fn minted(arguments: &[&str]) -> String {
    let output = mint(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit code and complaint.
fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let output = mint(arguments);
    assert_eq!(output.stdout, b"", "{arguments:?}");
    (output.status.code(), err(&output))
}

/// A folder with a key for this algorithm, and the key's path.
pub(crate) fn key(algorithm: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    minted(&["keygen", "--alg", algorithm, "--out", text(folder.path())]);
    let key = text(&folder.path().join("key.pem")).to_owned();
    (folder, key)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A part of a token, as JSON.
pub(crate) fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn json_in(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn exit_codes_say_who_has_to_act() {
    let (_folder, key) = key("ES256");
    assert_eq!(mint(&["--key", &key]).status.code(), Some(0));
    assert_eq!(fails(&["--key", &key, "--alg", "RS256"]).0, Some(1));
    assert_eq!(fails(&["--key", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]).0, Some(1));
    assert_eq!(fails(&["--secret", "env:NOWHERE"]).0, Some(1));
    assert_eq!(fails(&["--key", "/nowhere/key.pem"]).0, Some(3));
    assert_eq!(fails(&["keygen", "--out", "/proc/nowhere"]).0, Some(3));
    for usage in [
        &[][..],
        &["--key", &key, "--secret", "x"],
        &["--key", &key, "--alg", "none"],
        &["--key", &key, "--expires-in", "3600"],
        &["--key", &key, "--expires-in", "soon"],
        &["--key", &key, "--claim", "a={"],
        &["--key", &key, "--claim", "a"],
        &["--secret", ""],
        &["keygen"],
        &["jwks"],
        &["serve", "--listen", "a"],
        &["attack", "--key", &key, "--url", "ftp://a/"],
    ] {
        assert_eq!(fails(usage).0, Some(2), "{usage:?}");
    }
}

/// Every 64th thumbprint begins with a hyphen, and so may a secret.
#[test]
fn what_begins_with_a_hyphen_is_a_name_or_a_secret_too() {
    let token = minted(&["--secret", "-a secret of thirty-two characters", "--kid", "-4K0", "--sub", "-alice"]);
    assert_eq!(part(&token, 0)["kid"], "-4K0");
    assert_eq!(part(&token, 1)["sub"], "-alice");
    minted(&["inspect", &token, "--secret", "-a secret of thirty-two characters"]);
}

#[test]
fn a_key_is_for_its_owner_alone_and_never_lost() {
    for (algorithm, private) in [("ES256", "key.pem"), ("HS512", "secret")] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/folder");
        let arguments = ["keygen", "--alg", algorithm, "--out", text(&out)];
        let said = minted(&arguments);
        let path = out.join(private);
        assert_eq!(said.lines().next(), Some(text(&path)));
        let first = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (code, complaint) = fails(&arguments);
        assert_eq!(code, Some(3));
        assert!(complaint.contains("--force"), "{complaint}");
        assert_eq!(fs::read(&path).unwrap(), first);
        minted(&[&arguments[..], &["--force"]].concat());
        assert_ne!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let files = fs::read_dir(&out).unwrap().count();
        assert_eq!(files, if private == "secret" { 1 } else { 3 }, "{algorithm}: nothing is left over");
    }
    // A set without its key would be as bad as a key that is lost.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("jwks.json"), "mine").unwrap();
    assert_eq!(fails(&["keygen", "--out", text(folder.path())]).0, Some(3));
    assert!(!folder.path().join("key.pem").exists());
}

#[test]
fn a_key_set_has_public_keys_and_names_them_by_their_thumbprints() {
    let (folder, one) = key("RS256");
    let (_other, two) = key("EdDSA");
    let set: Value = serde_json::from_str(&minted(&["jwks", "--key", &one, &two])).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.iter().map(|key| key["kty"].as_str().unwrap()).collect::<Vec<_>>(), ["RSA", "OKP"]);
    for key in keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
    }
    let token = minted(&["--key", &one]);
    assert_eq!(part(&token, 0)["kid"], keys[0]["kid"]);
    assert_eq!(json_in(folder.path().join("jwks.json"))["keys"][0]["kid"], keys[0]["kid"]);
    assert_eq!(fails(&["jwks", "--key", &one, &one]).0, Some(1));
    assert_eq!(fails(&["jwks", "--key", &one, &two, "--kid", "a"]).0, Some(1));
}

#[test]
fn a_secret_is_never_published_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    minted(&["keygen", "--alg", "HS256", "--out", text(folder.path())]);
    let path = folder.path().join("secret");
    let secret = fs::read_to_string(&path).unwrap();
    let (code, complaint) = fails(&["jwks", "--key", text(&path)]);
    assert_eq!(code, Some(1));
    assert!(!complaint.contains(&secret), "{complaint}");
    let from_file = minted(&[
        "--secret",
        &format!("file:{}", text(&path)),
        "--claim",
        "iat=1",
        "--without",
        "jti",
        "--expires-in",
        "never",
    ]);
    let literal = minted(&["--secret", &secret, "--claim", "iat=1", "--without", "jti", "--expires-in", "never"]);
    let from_environment = Command::new(env!("CARGO_BIN_EXE_mint-token"))
        .args(["--secret", "env:KEY", "--claim", "iat=1", "--without", "jti", "--expires-in", "never"])
        .env_clear()
        .env("KEY", &secret)
        .output()
        .unwrap();
    assert_eq!(from_file, literal);
    assert_eq!(String::from_utf8(from_environment.stdout).unwrap().trim_end(), literal);
    assert!(part(&literal, 0).get("kid").is_none(), "a hash of a secret helps to guess it");
    for output in [mint(&["--secret", "hunter2"]), mint(&["--secret", "hunter2", "--alg", "ES256"])] {
        assert!(!err(&output).contains("hunter2"), "{}", err(&output));
        assert!(!err(&output).is_empty(), "a short secret, or the wrong kind, is worth a word");
    }
    let wrong = mint(&["--secret", "file:"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_token_says_what_was_asked_for() {
    let (_folder, key) = key("ES256");
    let token = minted(&[
        "--key",
        &key,
        "--iss",
        "https://me.example/",
        "--aud",
        "orders",
        "--aud",
        "billing",
        "--sub",
        "alice",
        "--scope",
        "a b",
        "--claim",
        "tenant=acme",
        "--claim",
        "realm={\"roles\":[\"x\"]}",
        "--not-before",
        "-1h",
        "--expires-in",
        "2030-01-01T00:00:00Z",
        "--header",
        "typ=at+jwt",
        "--kid",
        "mine",
    ]);
    assert_eq!(part(&token, 0), json!({"alg": "ES256", "kid": "mine", "typ": "at+jwt"}));
    let claims = part(&token, 1);
    assert_eq!(claims["aud"], json!(["orders", "billing"]));
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["scope"]),
        (&json!("https://me.example/"), &json!("alice"), &json!("a b"))
    );
    assert_eq!((&claims["tenant"], &claims["realm"]), (&json!("acme"), &json!({"roles": ["x"]})));
    assert_eq!(claims["exp"], 1_893_456_000);
    assert_eq!(claims["iat"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(), 3600);
    assert_ne!(claims["jti"], part(&minted(&["--key", &key]), 1)["jti"]);
    let ended = part(&minted(&["--key", &key, "--expires-in", "-5min"]), 1);
    assert_eq!(ended["exp"].as_i64().unwrap() - ended["iat"].as_i64().unwrap(), -300);
}

#[test]
fn the_list_of_forgeries_is_for_people_and_for_programs() {
    let (folder, key) = key("ES256");
    let jwks = folder.path().join("jwks.json");
    let asked = ["attack", "--key", &key, "--iss", "me", "--aud", "you", "--jwks", text(&jwks)];
    let lines = minted(&[&asked[..], &["--json"]].concat());
    let list: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: BTreeSet<&str> = list.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), list.len());
    for name in [
        "control",
        "alg-none",
        "alg-none-mixed",
        "hs256-with-pem",
        "hs256-with-der",
        "hs256-with-jwks-as-published",
        "claims-edited",
        "signature-empty",
        "kid-path",
        "kid-sql",
        "jku",
        "x5u",
        "jwk",
        "x5c",
        "crit-unknown",
        "expired",
        "not-yet",
        "exp-missing",
        "exp-text",
        "exp-huge",
        "iss-other",
        "aud-other",
        "ecdsa-psychic",
        "ecdsa-der",
        "shape-truncated",
        "shape-nested-dots",
        "header-alg-twice-none-last",
        "base64-padding",
        "b64-false",
    ] {
        assert!(names.contains(name), "{name} is missing");
    }
    let plain = minted(&asked);
    for (line, one) in plain.lines().zip(&list) {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns[..2], [one["name"].as_str().unwrap(), one["expect"].as_str().unwrap()]);
        assert_eq!(columns.len(), 3, "{line}");
    }
    assert_eq!(plain.lines().count(), list.len());
    assert_eq!(minted(&["attack", "--key", &key, "--only", "psychic-r", "--only", "alg-null"]).lines().count(), 2);
    assert_eq!(fails(&["attack", "--key", &key, "--only", "no-such-name"]).0, Some(1));
}

#[test]
fn completions_and_man_pages_are_its_own() {
    assert!(minted(&["completions", "bash"]).contains("mint-token"));
    assert!(minted(&["man"]).contains(".TH mint-token"));
    let folder = tempfile::tempdir().unwrap();
    minted(&["man", "--out", text(folder.path())]);
    assert!(folder.path().join("mint-token-attack.1").exists());
}
