//! Every way in which a token can be wrong: each is refused with the right code, nothing reaches the backend, and no
//! answer helps the next attempt.

use serde_json::{Value, json};

use super::Guarded;
use crate::support::client::Answer;
use crate::support::tokens::{Signer, encode, jwks, now};
use crate::support::{Client, eventually_some};

const AUTH: &str = "issuer = 'https://issuer.example/'\naudience = ['orders', 'billing']\nmax_lifetime = '1h'\n";

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example/", "aud": "orders", "sub": "alice", "iat": now(), "nbf": now(), "exp": now() + 600,
    })
}

/// Good claims but for these; null takes one away.
fn but(changes: &Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap().clone() {
        match value {
            Value::Null => drop(object.remove(&name)),
            value => drop(object.insert(name, value)),
        }
    }
    claims
}

struct Forgery {
    name: String,
    token: String,
    code: &'static str,
}

/// Forgeries by somebody who has no key.
fn without_a_key(es: &Signer, rs: &Signer) -> Vec<(String, String)> {
    let claims = claims();
    let good = es.token(&claims);
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let mut all = Vec::new();
    let mut add = |name: &str, token: String| all.push((name.to_owned(), token));
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "ES384", "RS1", "es256"] {
        let unsigned = encode(json!({"alg": alg, "typ": "JWT", "kid": "es"}).to_string());
        add(&format!("alg {alg:?}"), format!("{unsigned}.{payload}.{signature}"));
        add(&format!("alg {alg:?}, no signature"), format!("{unsigned}.{payload}."));
    }
    for (name, secret) in [
        ("the PEM", rs.pem.clone()),
        ("the PEM, trimmed", rs.pem.trim().to_owned()),
        ("the JWK", rs.jwk.to_string()),
        ("the set", jwks(&[es, rs])),
        ("nothing", String::new()),
    ] {
        let hmac = Signer::hs256(secret.as_bytes());
        for kid in ["rs", "es"] {
            let token = hmac.sign(&json!({"alg": "HS256", "kid": kid}), &claims);
            add(&format!("HMAC with {name} for {kid}"), token);
        }
        add(&format!("HMAC with {name}"), hmac.sign(&json!({"alg": "HS256"}), &claims));
    }
    let admin = encode(but(&json!({"sub": "admin"})).to_string());
    add("edited claims", format!("{header}.{admin}.{signature}"));
    add("half a signature", format!("{header}.{payload}.{}", &signature[..43]));
    add("zeros for a signature", format!("{header}.{payload}.{}", encode([0; 64])));
    add("the signature of another token", {
        let other = es.token(&but(&json!({"sub": "bob"})));
        format!("{header}.{payload}.{}", other.rsplit('.').next().unwrap())
    });
    let stranger = Signer::es256("es");
    add("another key of that name", stranger.token(&claims));
    let embedded = json!({"alg": "ES256", "kid": "es", "jwk": stranger.jwk});
    add("a key in the header", stranger.sign(&embedded, &claims));
    for kid in ["../../../../dev/null", "x' UNION SELECT 'k", "http://evil.example/", "", "es\u{0}", "ES"] {
        add(&format!("kid {kid:?}"), stranger.sign(&json!({"alg": "ES256", "kid": kid}), &claims));
    }
    add("a key elsewhere", stranger.sign(&json!({"alg": "ES256", "jku": "http://evil.example/jwks"}), &claims));
    add("a certificate elsewhere", stranger.sign(&json!({"alg": "ES256", "x5u": "http://evil.example/c"}), &claims));
    for (name, token) in malformed(header, payload, signature) {
        add(name, token);
    }
    all
}

/// Tokens that are none.
fn malformed(header: &str, payload: &str, signature: &str) -> Vec<(&'static str, String)> {
    let good = format!("{header}.{payload}.{signature}");
    vec![
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("the other alphabet", good.replace(['-', '_'], "+") + "+/"),
        ("a fourth part", format!("{good}.{signature}")),
        ("encrypted", format!("{header}.{payload}.{payload}.{payload}.{signature}")),
        ("two parts", format!("{header}.{payload}")),
        ("no payload", format!("{header}..{signature}")),
        ("a comma", format!("{good},{good}")),
        ("a space", format!("{header}. {payload}.{signature}")),
        ("dots", "...".to_owned()),
        ("not a token", "hello".to_owned()),
        ("a header that is no object", format!("{}.{payload}.{signature}", encode("[]"))),
        ("alg twice", format!("{}.{payload}.{signature}", encode(r#"{"alg":"ES256","kid":"es","alg":"none"}"#))),
        ("40 KiB", format!("{header}.{}.{signature}", encode(vec![b' '; 30 * 1024]))),
    ]
}

/// Tokens by a key that is known, which are not what they should be.
fn with_a_key(es: &Signer) -> Vec<Forgery> {
    let of = |name: &str, token, code| Forgery { name: name.to_owned(), token, code };
    let header = |more: Value| {
        let mut header = json!({"alg": "ES256", "kid": "es"});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        es.sign(&header, &claims())
    };
    let mut all = vec![
        of("crit", header(json!({"crit": ["exp"]})), "token_invalid"),
        of("crit of nothing", header(json!({"crit": []})), "token_invalid"),
        of("b64", header(json!({"crit": ["b64"], "b64": false})), "token_invalid"),
        of("a logout token", header(json!({"typ": "logout+jwt"})), "token_invalid"),
        of("a proof of possession", header(json!({"typ": "dpop+jwt"})), "token_invalid"),
        of("an array", es.sign(&json!({"alg": "ES256", "kid": "es"}), &json!([claims()])), "token_invalid"),
    ];
    for (changes, code) in [
        (json!({"exp": now() - 60}), "token_expired"),
        (json!({"exp": now() - 31}), "token_expired"),
        (json!({"exp": 0}), "token_expired"),
        (json!({"exp": null}), "token_invalid"),
        (json!({"exp": (now() + 600).to_string()}), "token_invalid"),
        (json!({"exp": true}), "token_invalid"),
        (json!({"exp": -1}), "token_invalid"),
        (json!({"exp": 1e300}), "token_invalid"),
        (json!({"exp": now() + 7200}), "token_invalid"),
        (json!({"nbf": now() + 120}), "token_invalid"),
        (json!({"nbf": "now"}), "token_invalid"),
        (json!({"iat": now() + 120}), "token_invalid"),
        (json!({"iat": [now()]}), "token_invalid"),
        (json!({"iss": null}), "token_invalid"),
        (json!({"iss": "https://issuer.example"}), "token_invalid"),
        (json!({"iss": ["https://issuer.example/"]}), "token_invalid"),
        (json!({"iss": 5}), "token_invalid"),
        (json!({"aud": null}), "token_invalid"),
        (json!({"aud": "Orders"}), "token_invalid"),
        (json!({"aud": []}), "token_invalid"),
        (json!({"aud": ["other", 5]}), "token_invalid"),
        (json!({"aud": {"orders": true}}), "token_invalid"),
        (json!({"sub": 5}), "token_invalid"),
    ] {
        all.push(of(&changes.to_string(), es.token(&but(&changes)), code));
    }
    all
}

fn assert_refused(answer: &Answer, name: &str, code: &str) {
    assert_eq!(answer.refusal(), (401, code.to_owned()), "{name}");
    let challenge = answer.head.get("www-authenticate").unwrap();
    let expected = match code {
        "token_missing" => "Bearer realm=\"tollgate\"".to_owned(),
        "token_expired" => {
            "Bearer realm=\"tollgate\", error=\"invalid_token\", error_description=\"the token has expired\"".to_owned()
        }
        _ => "Bearer realm=\"tollgate\", error=\"invalid_token\", error_description=\"the token is not valid\""
            .to_owned(),
    };
    assert_eq!(challenge, expected, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_forgery_passes() {
    let (es, rs) = (Signer::es256("es"), Signer::rs256("rs"));
    let guarded = Guarded::by(&[&es, &rs], AUTH, "'main'").await;
    for good in [es.token(&claims()), rs.token(&claims()), es.token(&but(&json!({"aud": ["x", "billing"]})))] {
        assert_eq!(guarded.bearer(&good).await.status(), 200);
    }
    let passed = guarded.backend.seen().len();
    let mut client = Client::connect(guarded.gate.address()).await;
    let forged = without_a_key(&es, &rs).into_iter();
    let forged = forged.map(|(name, token)| Forgery { name, token, code: "token_invalid" });
    let all: Vec<Forgery> = forged.chain(with_a_key(&es)).collect();
    for Forgery { name, token, code } in &all {
        let request = format!("GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\n\r\n");
        assert_refused(&client.ask(request).await, name, code);
    }
    assert_eq!(guarded.backend.seen().len(), passed);
    assert!(all.len() > 80, "only {} forgeries", all.len());
    assert_eq!(guarded.counted("ok").await, 3);
    let page = guarded.gate.metrics().await;
    let refused = |code: &str| {
        let line = format!("tollgate_refusals_total{{route=\"app\",code=\"{code}\",mode=\"enforce\"}} ");
        page.lines().find_map(|known| known.strip_prefix(&line)?.parse::<usize>().ok()).unwrap()
    };
    assert_eq!(refused("token_invalid") + refused("token_expired"), all.len());
}

#[tokio::test]
async fn odd_fields_are_refused() {
    let es = Signer::es256("es");
    let guarded = Guarded::by(&[&es], AUTH, "'main'").await;
    let good = es.token(&claims());
    for (fields, code) in [
        (String::new(), "token_missing"),
        ("Authorization: Basic dTpw\r\n".to_owned(), "token_missing"),
        (format!("Authorization: {good}\r\n"), "token_missing"),
        (format!("Authorization: Bearer{good}\r\n"), "token_missing"),
        (format!("X-Authorization: Bearer {good}\r\n"), "token_missing"),
        (format!("Proxy-Authorization: Bearer {good}\r\n"), "token_missing"),
        (format!("Cookie: access_token={good}\r\n"), "token_missing"),
        ("Authorization: Bearer\r\n".to_owned(), "token_invalid"),
        ("Authorization: Bearer \r\n".to_owned(), "token_invalid"),
        (format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n"), "token_invalid"),
        (format!("Authorization: Basic dTpw\r\nAuthorization: Bearer {good}\r\n"), "token_invalid"),
        (format!("Authorization: Bearer {good}\u{ff}\r\n"), "token_invalid"),
        (format!("Authorization: Bearer \t{good} {good}\r\n"), "token_invalid"),
    ] {
        assert_refused(&guarded.ask(&fields).await, &fields, code);
    }
    assert!(guarded.backend.seen().is_empty());
    let huge = guarded.ask(&format!("Authorization: Bearer {}\r\n", "a".repeat(1 << 20))).await;
    assert_eq!(huge.status(), 431);
    for scheme in ["Bearer", "bearer", "BEARER", "bEARER  "] {
        assert_eq!(guarded.ask(&format!("Authorization: {scheme} {good}\r\n")).await.status(), 200, "{scheme}");
    }
}

#[tokio::test]
async fn the_reason_is_in_the_log_and_the_token_is_not() {
    let es = Signer::es256("es");
    let guarded = Guarded::by(&[&es], AUTH, "'main'").await;
    let good = es.token(&claims());
    let bad = es.token(&but(&json!({"iss": "https://evil.example/"})));
    assert_eq!(guarded.bearer(&good).await.status(), 200);
    let answer = guarded.bearer(&bad).await;
    assert!(!answer.text().contains("issuer"), "{}", answer.text());
    let log = guarded.file("access.log");
    let text = eventually_some("two lines", async || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.lines().count() >= 2).then_some(text)
    });
    let text = text.await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["auth"], &lines[0]["subject"]), (&"main".into(), &"alice".into()));
    assert_eq!(lines[1]["cause"], "auth main: the issuer is not the one configured");
    assert_eq!((lines[1].get("subject"), &lines[1]["code"]), (None, &"token_invalid".into()));
    for token in [good, bad] {
        assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
    }
    assert_eq!(guarded.counted("issuer").await, 1);
}

#[tokio::test]
async fn a_body_is_not_asked_for_before_the_token_is_looked_at() {
    let es = Signer::es256("es");
    let guarded = Guarded::by(&[&es], AUTH, "'main'").await;
    let mut client = Client::connect(guarded.gate.address()).await;
    client.send("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.refusal(), (401, "token_missing".to_owned()));
}
