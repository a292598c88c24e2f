//! `mint-token inspect`: what it says of good tokens, of forgeries, and of those that others have published. Its checks
//! are the gateway's own, so this is also where the gateway's verification meets every forgery.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tollgate::lab::issuer::algorithm::Algorithm;
use tollgate::lab::issuer::attack::{Attempt, Expect, Material, attempts};
use tollgate::lab::issuer::jwk;
use tollgate::lab::issuer::key::Key;
use tollgate::lab::issuer::order::{Moment, Order};
use tollgate::lab::issuer::server::wall_clock;
use tollgate::layers::auth::claims::ClaimRules;
use tollgate::layers::auth::keys::{Keys, Origin};
use tollgate::layers::auth::verify::{Rules, verify};

use crate::issuer::Issuer;
use crate::{PUBLIC, err, key, mint, minted, text};

/// Its exit code and what it prints, with one space where there are several.
fn inspected(arguments: &[&str]) -> (Option<i32>, String) {
    let output = mint(&[&["inspect"][..], arguments].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &err(&output);
    let words: Vec<&str> = said.split(' ').filter(|word| !word.is_empty()).collect();
    (output.status.code(), words.join(" "))
}

fn beside(key: &str, name: &str) -> String {
    text(&Path::new(key).with_file_name(name)).to_owned()
}

fn from_input(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mint-token"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn what_we_sign_the_gateway_accepts_and_under_another_key_it_does_not() {
    let (_rsa_folder, rsa) = key("RS256");
    let (_other, other) = key("ES256");
    for algorithm in PUBLIC {
        let (_folder, own) = match &algorithm[..1] {
            "E" => key(algorithm),
            _ => (tempfile::tempdir().unwrap(), rsa.clone()),
        };
        let token = minted(&["--key", &own, "--alg", algorithm]);
        let set = tempfile::NamedTempFile::new().unwrap();
        fs::write(&set, minted(&["jwks", "--key", &own, "--alg", algorithm])).unwrap();
        let (code, said) = inspected(&[&token, "--jwks", text(set.path())]);
        assert_eq!(code, Some(0), "{algorithm}: {said}");
        assert!(said.ends_with("accepted\n") && said.contains(&format!("{algorithm} by key ")), "{said}");
        let (code, said) = inspected(&[&token, "--public-key", &beside(&own, "public.pem")]);
        assert_eq!(code, Some(0), "{algorithm}: {said}");
        let (code, said) = inspected(&[&token, "--jwks", &beside(&other, "jwks.json")]);
        assert_eq!(code, Some(1), "{algorithm}: {said}");
        assert!(said.contains("FAILED signature"), "{said}");
    }
    for algorithm in ["HS256", "HS384", "HS512"] {
        let folder = tempfile::tempdir().unwrap();
        minted(&["keygen", "--alg", algorithm, "--out", text(folder.path())]);
        let secret = format!("file:{}", text(&folder.path().join("secret")));
        let token = minted(&["--secret", &secret, "--alg", algorithm]);
        assert_eq!(inspected(&[&token, "--secret", &secret]).0, Some(0), "{algorithm}");
        let (code, said) = inspected(&[&token, "--secret", "another"]);
        assert_eq!(code, Some(1), "{said}");
    }
}

#[test]
fn it_says_which_checks_fail_and_why_all_at_once() {
    let (_folder, key) = key("ES256");
    let jwks = beside(&key, "jwks.json");
    let token = minted(&["--key", &key, "--expires-in", "-2h", "--not-before", "1h", "--iss", "me", "--aud", "you"]);
    let asked = ["--jwks", &jwks, "--iss", "her", "--aud", "him", "--require", "tenant"];
    let (code, said) = inspected(&[&[token.as_str()][..], &asked].concat());
    assert_eq!(code, Some(1));
    for line in
        ["FAILED exp", "FAILED nbf", "FAILED iss", "FAILED aud", "FAILED required_claims", "ok signature", "ok form"]
    {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    assert!(said.contains("refused: expired 72"), "{said}");
    assert!(said.contains("2 h ago") && said.contains(", in "), "times for people: {said}");
    let json = minted_or_not(&[&["inspect", &token, "--json"][..], &asked].concat());
    assert_eq!((&json["accepted"], &json["payload"]["iss"]), (&false.into(), &"me".into()));
    let verdict = |name: &str| {
        let checks = json["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["verdict"].clone()
    };
    assert_eq!(
        (verdict("signature"), verdict("exp"), verdict("iat")),
        ("passed".into(), "failed".into(), "passed".into())
    );
    let good = minted(&["--key", &key, "--iss", "her", "--aud", "him", "--claim", "tenant=acme"]);
    let (code, said) = inspected(&[&[good.as_str()][..], &asked].concat());
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = inspected(&[&good, "--jwks", &jwks, "--max-lifetime", "10min"]);
    assert_eq!(code, Some(1), "{said}");
}

fn minted_or_not(arguments: &[&str]) -> Value {
    serde_json::from_slice(&mint(arguments).stdout).unwrap()
}

#[test]
fn without_a_key_nothing_is_proven_and_a_token_may_come_from_standard_input() {
    let (_folder, key) = key("EdDSA");
    let token = minted(&["--key", &key, "--sub", "alice"]);
    let (code, said) = inspected(&[&token]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\"sub\": \"alice\"") && said.ends_with("nothing is proven\n"), "{said}");
    let jwks = beside(&key, "jwks.json");
    let output = from_input(&["inspect", "-", "--jwks", &jwks], &format!("{token}\n"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    for broken in ["", "a", "a.b.c", "e30.e30.AA", &token[..token.len() / 2]] {
        let (code, said) = inspected(&[broken, "--jwks", &jwks]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("FAILED form") && said.contains("refused: "), "{said}");
    }
    assert_eq!(inspected(&[&token, "--jwks", "/nowhere"]).0, Some(3));
    assert_eq!(inspected(&[&token, "--jwks", &key]).0, Some(1));
    assert_eq!(inspected(&[&token, "--jwks", &jwks, "--secret", "x"]).0, Some(2));
    assert_eq!(inspected(&[]).0, Some(2));
}

#[test]
fn keys_come_from_a_url_too() {
    let issuer = Issuer::start(&[]);
    let url = |path: &str| format!("http://{}{path}", issuer.address);
    let (token, _) = issuer.token();
    let (code, said) = inspected(&[&token, "--jwks", &url("/.well-known/jwks.json"), "--iss", &url("")]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(inspected(&[&token, "--jwks", &url("/nowhere")]).0, Some(3));
    assert_eq!(inspected(&[&token, "--jwks", &url("/.well-known/openid-configuration")]).0, Some(1));
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    assert_eq!(inspected(&[&token, "--jwks", &format!("http://{nobody}/")]).0, Some(3));
}

/// RFC 7515 appendix A and RFC 8037 appendix A: the signatures are good, whatever the payloads are.
#[test]
fn published_tokens_have_good_signatures() {
    let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let (name, token) = (&vector["name"], vector["token"].as_str().unwrap());
        let set = tempfile::NamedTempFile::new().unwrap();
        fs::write(&set, serde_json::json!({ "keys": [vector["key"]] }).to_string()).unwrap();
        let asked = [token, "--jwks", text(set.path())];
        let (code, said) = inspected(&[&asked[..], &["--signature-only"]].concat());
        let good = vector["good"].as_bool().unwrap();
        assert_eq!(code, Some(i32::from(!good)), "{name}: {said}");
        assert_eq!(inspected(&asked).0, Some(1), "{name}: its time is over, or it has no claims");
    }
}

/// Every forgery, for each kind of key, against what the gateway verifies with.
#[test]
fn no_forgery_passes_the_gateways_verification_and_no_good_token_fails_it() {
    for name in ["RS256", "PS512", "ES256", "ES384", "EdDSA", "HS256"] {
        let algorithm: Algorithm = name.parse().unwrap();
        let key = Key::generate(algorithm, 2048).unwrap();
        let kid = jwk::thumbprint(&key);
        let (set, keys) = match jwk::public(&key, kid.as_deref(), Some(algorithm)) {
            Some(public) => {
                let set = jwk::set([public]).to_string();
                (Some(set.clone()), Keys::from_jwks(set.as_bytes(), Origin::Network).unwrap())
            }
            None => (None, Keys::from_secret(&tollgate::base::secret::Secret::new(key.private_text().unwrap()))),
        };
        let order = Order {
            issuer: Some("https://issuer.example/".into()),
            audience: vec!["orders".into()],
            subject: Some("user".into()),
            expires: Some(Moment::FromNow(600)),
            ..Order::default()
        };
        let now = wall_clock();
        let claims = order.claims(now, "id");
        let jwks = set.as_ref().map(String::as_bytes);
        let material = Material { key: &key, algorithm, kid: kid.as_deref(), claims: &claims, jwks, now };
        let rules = Rules {
            algorithms: Vec::new(),
            claims: ClaimRules {
                issuer: order.issuer.clone(),
                audience: order.audience.clone(),
                leeway: Duration::from_secs(30),
                ..ClaimRules::default()
            },
        };
        let now = u64::try_from(now).unwrap();
        let wrong = |one: &Attempt| match (one.expect, verify(one.token.as_bytes(), &keys, &rules, now)) {
            (Expect::Accept, Err(failure)) => Some(format!("{name}: {} is good, and refused: {failure}", one.name)),
            (Expect::Refuse, Ok(_)) => Some(format!("{name}: {} passes", one.name)),
            _ => None,
        };
        let wrong: Vec<String> = attempts(&material).unwrap().iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// One valid and one invalid vector of each of Wycheproof's groups, as people would try them by hand; the gateway's own
/// tests have them all.
#[test]
fn published_vectors_can_be_run() {
    let vectors: Value = serde_json::from_str(include_str!("../wycheproof/json_web_signature.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("jwks.json");
    let mut tried = 0;
    for group in vectors["groups"].as_array().unwrap().iter().filter(|group| group["key"]["crv"] != "P-521") {
        fs::write(&set, serde_json::json!({"keys": [group["key"]]}).to_string()).unwrap();
        for valid in [true, false] {
            // A key for PS256 and a token that says PS384 do not go together here.
            let mut tests = group["tests"].as_array().unwrap().iter();
            let test = tests.find(|test| test["valid"] == valid && test["comment"] != "Figure20");
            let Some(test) = test else { continue };
            let (code, said) = inspected(&[test["jws"].as_str().unwrap(), "--jwks", text(&set), "--signature-only"]);
            assert_eq!(code, Some(i32::from(!valid)), "{}: {test}: {said}", group["comment"]);
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}
