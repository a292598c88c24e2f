//! `tollgate explain` held against what a real gateway does: for many configurations and requests both name the same
//! route, the same refusal, and the same request for the upstream, whether the file or the gateway itself is asked.

mod live;
mod network;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use tollgate::app::explain::Inquiry;
use tollgate::config::Config;
use tollgate::config::load;

use crate::support::client::Answer;
use crate::support::tokens::Signer;
use crate::support::{Backend, Gate, OK, ask};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Routes of a configuration: each has an upstream of its own, so that one tells the other.
const ROUTES: usize = 6;

/// What else may stand in one, by kind.
const LINES: &[&[&str]] = &[
    &["hosts = ['a.test']", "hosts = ['*.test']", "hosts = ['*.a.test', 'x']", "hosts = ['b.a.test']"],
    &["methods = ['GET']", "methods = ['POST', 'DELETE']"],
    &["headers = { x-v = '1' }", "headers = { x-v = '2', x-w = '1' }"],
    &["query = { beta = '1' }"],
    &["encoded_slashes = 'allow'", "encoded_slashes = 'reject'"],
    &["rewrite = '/v2{path}'", "rewrite = '/fixed'"],
    &["allow_ips = ['127.0.0.0/8']", "deny_ips = ['10.0.0.0/8']", "allow_ips = ['10.0.0.1/32']"],
    &["max_body = '20B'", "max_in_flight = 3", "timeout = '0s'"],
    &[
        "auth = 'main'",
        "auth = { use = 'main', scopes = ['read'] }",
        "auth = { use = 'main', optional = true }",
        "auth = { use = 'main', claims = { tenant = 'acme' } }",
        "auth = { use = 'main', mode = 'observe' }",
        "auth = { use = ['main', 'keys', 'users'] }",
        "auth = 'keys'",
        "auth = { use = ['users'], mode = 'observe' }",
    ],
    &["cors = { origins = ['https://p.test'], credentials = true }", "cors = { origins = ['*'] }"],
    &["cache = true", "cache = { ttl = '1h', vary_by = ['header:x-v'] }"],
    &["rate_limit = ['wide']", "rate_limit = ['wide', 'users']", "rate_limit = ['looking']"],
];
/// Limits that no request of a test meets, or that only look.
const LIMITS: &str = "[rate_limits.wide]\nkey = 'ip'\nrate = '1000000/s'\n[rate_limits.users]\nkey = 'subject'\n\
                      rate = '1000000/s'\n[rate_limits.looking]\nkey = 'global'\nrate = '1/h'\nmode = 'observe'\n";

/// An answer that no cache keeps, so that each request is like the first.
const UNKEPT: &str = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 2\r\n\r\nok";

/// One of these.
fn pick<'a, T: ?Sized>(rng: &mut Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// A route with whatever may stand in one.
fn route(rng: &mut Rng, number: usize) -> String {
    let mut text = format!("[[routes]]\nname = \"r{number}\"\nupstream = \"u{number}\"\n");
    let path = pick(rng, &["/", "/", "/a", "/a", "/a/b", "/a/b/c", "/b"]);
    let exact = rng.u8(..4) == 0;
    text += &format!("{} = \"{path}\"\n", if exact { "path" } else { "prefix" });
    for lines in LINES {
        let often = lines[0].starts_with("auth") || lines[0].starts_with("cors");
        if rng.u8(..if often { 2 } else { 4 }) == 0 {
            text += pick(rng, lines);
            text.push('\n');
        }
    }
    if !exact && rng.bool() {
        text += "strip_prefix = true\n";
    }
    text
}

fn configuration(rng: &mut Rng, backends: &[Backend], files: &Path) -> String {
    let trusted = pick(rng, &["[]", "[\"127.0.0.0/8\"]"]);
    let mut text = format!("[server]\nworkers = 1\nmax_headers = 12\ntrusted_proxies = {trusted}\n");
    text += &format!(
        "[auth.main]\nsecret = \"{SECRET}\"\naudience = [\"shop\"]\nclaims_to_headers = {{ sub = \"x-user-id\" }}\n\
         [auth.keys]\nkind = 'api_key'\nkeys_file = {keys:?}\n[auth.users]\nkind = 'basic'\nusers_file = {users:?}\n{LIMITS}",
        keys = files.join("keys"),
        users = files.join("users"),
    );
    for (number, backend) in backends.iter().enumerate() {
        let host = pick(rng, &["client", "upstream", "fixed.test"]);
        text += &format!("[upstreams.u{number}]\naddresses = [\"{}\"]\nhost_header = \"{host}\"\n", backend.address());
    }
    (0..rng.usize(1..=ROUTES)).for_each(|number| text += &route(rng, number));
    text
}

/// A request line's target and the fields behind it.
fn request(rng: &mut Rng) -> (Method, String, Vec<(&'static str, String)>) {
    let method = pick(rng, &["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "BREW"]);
    let plain = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/b/c/d", "/b", "/bb", "/c", "/a/./b", "/a/b/../c", "/%61/b"];
    let odd = [
        "/a%2Fb",
        "/a/b%252f",
        "/a%",
        "/../a",
        "/a/..",
        "/a//b",
        "/A",
        "http://a.test/a/b",
        "http://x:80/b/../a",
        "*",
        "/a;v=1",
    ];
    let path = if rng.u8(..5) == 0 { pick(rng, &odd) } else { pick(rng, &plain) };
    let query = pick(rng, &["", "", "?beta=1", "?x&beta=1&y", "?beta=2", "?"]);
    let target = if path == "*" { path.to_owned() } else { format!("{path}{query}") };
    let mut fields = Vec::new();
    let odd = rng.u8(..12) == 0;
    let hosts: &[&str] =
        if odd { &["", "two", "a b", "A.test.", "a.test:99999"] } else { &["a.test", "b.a.test:80", "x", "other"] };
    match pick(rng, hosts) {
        "" => {}
        "two" => fields.extend([("host", "a.test".to_owned()), ("host", "x".to_owned())]),
        host => fields.push(("host", host.to_owned())),
    }
    for (name, values) in [
        ("x-v", &["", "1", "2"][..]),
        ("x-w", &["", "", "1"]),
        ("x-forwarded-for", &["", "", "10.0.0.1", "10.2.3.4, 127.0.0.9"]),
        ("x-user-id", &["", "mallory"]),
        ("cache-control", &["", "", "", "only-if-cached", "no-store"]),
        ("if-none-match", &["", "", "", "\"a\""]),
        ("content-length", if rng.u8(..20) == 0 { &["5, 5", "x"] } else { &["", "", "5", "50"] }),
        ("x-filler", if rng.u8(..20) == 0 { &["many"] } else { &[""] }),
    ] {
        match pick(rng, values) {
            "" => {}
            "many" => fields.extend((0..12).map(|number| ("x-filler", number.to_string()))),
            value => fields.push((name, value.to_owned())),
        }
    }
    if rng.u8(..6) == 0 {
        fields.push(("origin", pick(rng, &["https://p.test", "https://q.test"]).to_owned()));
        fields.push(("access-control-request-method", pick(rng, &["GET", "POST", "BREW"]).to_owned()));
    }
    match rng.u8(..8) {
        0 => fields.push(("x-api-key", pick(rng, &["good-key", "bad-key"]).to_owned())),
        1 => fields
            .push(("authorization", format!("Basic {}", STANDARD.encode(pick(rng, &["dora:pw", "dora:no", "x"]))))),
        _ => fields.extend(credential(rng).map(|token| ("authorization", token))),
    }
    (method.parse().unwrap(), target, fields)
}

fn credential(rng: &mut Rng) -> Option<String> {
    let claims = pick(
        rng,
        &[
            "",
            r#""sub": "ann", "aud": "shop", "exp": 4000000000"#,
            r#""sub": "ann", "aud": "shop", "exp": 4000000000, "scope": "write read""#,
            r#""sub": "ann", "aud": ["shop"], "exp": 4000000000, "tenant": "acme""#,
            r#""sub": "ann", "aud": "shop", "exp": 1000000000"#,
            r#""sub": "ann", "exp": 4000000000"#,
            r#""sub": 7, "aud": "shop", "exp": 4000000000"#,
            "garbage",
        ],
    );
    match claims {
        "" => None,
        "garbage" => Some("Bearer a.b.c".to_owned()),
        claims => {
            let claims: Value = serde_json::from_str(&format!("{{{claims}}}")).unwrap();
            let forged = rng.u8(..5) == 0;
            let secret = if forged { "another-secret-another-secret-32" } else { SECRET };
            Some(format!("Bearer {}", Signer::hs256(secret.as_bytes()).token(&claims)))
        }
    }
}

/// What the gateway said, and what the backends saw.
async fn happens(gate: &Gate, method: &Method, target: &str, fields: &[(&str, String)]) -> Answer {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let length = fields.iter().find(|(name, _)| *name == "content-length").and_then(|(_, value)| value.parse().ok());
    text += &"x".repeat(length.unwrap_or(0));
    ask(gate.address(), text).await
}

async fn explained(config: &Config, method: &Method, target: &str, fields: &[(&str, String)]) -> Value {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let peer = [127, 0, 0, 1].into();
    let inquiry = Inquiry { method: method.clone(), target: target.to_owned(), fields: map, peer, online: false };
    let config = config.clone();
    // A password takes its time, on a thread that may wait.
    let explaining = tokio::task::spawn_blocking(move || inquiry.explain(&config).unwrap());
    let explanation = explaining.await.unwrap();
    assert!(explanation.to_string().contains("\n  host    "));
    serde_json::to_value(explanation).unwrap()
}

/// Fields of which the test knows what an upstream sees.
const SEEN: &[&str] = &[
    "host",
    "x-user-id",
    "x-forwarded-prefix",
    "x-forwarded-host",
    "via",
    "x-v",
    "x-request-timeout",
    "if-none-match",
];

fn compare(told: &Value, answer: &Answer, backends: &[Backend], before: &[usize]) {
    let outcome = &told["outcome"];
    let seen: Vec<usize> = (0..backends.len()).filter(|&at| backends[at].seen().len() > before[at]).collect();
    let chosen = told["routes"].as_array().unwrap().iter().find(|route| route["takes"] == true);
    match outcome["result"].as_str().unwrap() {
        "forwarded" => {
            assert_eq!(answer.status(), 200);
            let [at] = seen[..] else { panic!("{} backends have seen it", seen.len()) };
            assert_eq!(chosen.unwrap()["route"], format!("r{at}"));
            let head = backends[at].seen().pop().unwrap().head;
            let sends = &told["upstream"]["sends"];
            assert_eq!(sends["target"], head.target());
            assert_eq!(sends["method"], head.line.split(' ').next().unwrap());
            let fields = sends["fields"].as_array().unwrap();
            for name in SEEN {
                let told: Vec<&str> =
                    fields.iter().filter(|pair| pair[0] == *name).map(|pair| pair[1].as_str().unwrap()).collect();
                // A moment may have passed.
                let comparable = |value: &str| {
                    value.parse().map_or(value.to_owned(), |millis: u64| millis.div_ceil(10_000).to_string())
                };
                let all = |values: Vec<&str>| values.into_iter().map(comparable).collect::<Vec<_>>();
                assert_eq!(all(told), all(head.all(name)), "{name}");
            }
        }
        "refused" => {
            assert_eq!(outcome["status"], answer.status());
            assert!(seen.is_empty(), "{seen:?}");
            if !answer.text().is_empty() {
                assert_eq!(outcome["code"], answer.code());
            }
        }
        "answered" => {
            assert_eq!(outcome["status"], answer.status());
            assert!(seen.is_empty(), "{seen:?}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_explained_is_what_happens() {
    let mut results = std::collections::BTreeMap::<String, usize>::new();
    let files = tempfile::tempdir().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"good-key");
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(files.path().join("keys"), format!("partner {hex}\n")).unwrap();
    let user = format!("dora:{}\n", bcrypt::hash_with_salt("pw", 4, [1; 16]).unwrap());
    std::fs::write(files.path().join("users"), user).unwrap();
    for seed in 0..26 {
        let mut rng = Rng::with_seed(seed);
        let mut backends = Vec::new();
        for _ in 0..ROUTES {
            backends.push(Backend::answering(UNKEPT).await);
        }
        let text = configuration(&mut rng, &backends, files.path());
        let Ok(loaded) = load::from_text(&text) else { continue };
        let gate = Gate::start(&text);
        for _ in 0..60 {
            let (method, target, fields) = request(&mut rng);
            let before: Vec<usize> = backends.iter().map(|backend| backend.seen().len()).collect();
            let answer = happens(&gate, &method, &target, &fields).await;
            let told = explained(&loaded.config, &method, &target, &fields).await;
            // Whoever is asked takes a target with a host for a URL.
            let is_url = target.starts_with("http:");
            let live = if is_url { told.clone() } else { live::explained(&gate, &method, &target, &fields).await };
            let outcome = &told["outcome"];
            let word = outcome["code"].as_str().or(outcome["layer"].as_str()).or(outcome["result"].as_str());
            let code = word.unwrap();
            *results.entry(code.to_owned()).or_default() += 1;
            for told in [&told, &live] {
                let agrees = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    compare(told, &answer, &backends, &before);
                }));
                assert!(agrees.is_ok(), "seed {seed}: {method} {target} {fields:?}\n{text}\n{told:#}\n{answer:?}");
            }
        }
    }
    // The requests are such that everything happens.
    for code in [
        "forwarded",
        "answered",
        "cors",
        "not_cached",
        "no_route",
        "method_not_allowed",
        "bad_request",
        "ip_denied",
        "token_missing",
        "token_invalid",
        "token_expired",
        "insufficient_scope",
        "body_too_large",
        "header_too_large",
        "credentials_invalid",
    ] {
        assert!(results.contains_key(code), "{code} never happened: {results:?}");
    }
    assert!(results["forwarded"] > 200, "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_layers_that_would_refuse_the_same_one_does() {
    let backend = Backend::answering(OK).await;
    let (address, seats) = (backend.address(), "max_in_flight = 1000");
    let text = format!(
        "[server]\nworkers = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\n[auth.main]\nsecret = \"{SECRET}\"\n[[routes]]\n\
         prefix = \"/\"\nupstream = \"http://{address}\"\nauth = {{ use = \"main\", scopes = [\"read\"] }}\n\
         deny_ips = [\"10.0.0.0/8\"]\nmax_body = \"20B\"\n{seats}\n"
    );
    let config = load::from_text(&text).unwrap().config;
    let gate = Gate::start(&text);
    let token = Signer::hs256(SECRET.as_bytes()).token(&serde_json::json!({"exp": 4_000_000_000_u64, "scope": "read"}));
    let mut codes = std::collections::BTreeSet::new();
    // Each bit is one thing that is wrong.
    for wrong in 0..16 {
        let is = |bit: u8| wrong & (1 << bit) != 0;
        let mut fields = vec![("host", "a".to_owned()), ("content-length", if is(0) { "50" } else { "5" }.to_owned())];
        fields.push(("x-forwarded-for", if is(1) { "10.0.0.1" } else { "11.0.0.1" }.to_owned()));
        fields.extend((!is(2)).then(|| ("authorization", format!("Bearer {token}"))));
        let target = if is(3) { "/a%2Fb" } else { "/a" };
        let answer = happens(&gate, &Method::POST, target, &fields).await;
        let told = explained(&config, &Method::POST, target, &fields).await;
        compare_refusals(&told, &answer);
        codes.insert(told["outcome"]["code"].as_str().unwrap_or("none").to_owned());
    }
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        ["bad_request", "body_too_large", "ip_denied", "none", "token_missing"]
    );
}

fn compare_refusals(told: &Value, answer: &Answer) {
    match told["outcome"]["result"].as_str() {
        Some("forwarded") => assert_eq!(answer.status(), 200, "{told}"),
        _ => assert_eq!(
            (&told["outcome"]["status"], &told["outcome"]["code"]),
            (&answer.status().into(), &answer.code().into())
        ),
    }
}
