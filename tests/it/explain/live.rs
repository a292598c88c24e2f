//! A gateway that runs and is asked what would become of a request: it says what then happens, also where that depends on
//! what has happened before, and asking leaves no trace.

use std::process::Output;

use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};
use tollgate::config::load;

use super::{SECRET, pick};
use crate::support::client::Answer;
use crate::support::load::ask as fetch;
use crate::support::tokens::{Signer, jwks};
use crate::support::{Backend, Gate, OK, ask, eventually_async, get};

/// What the gateway says of a request that nobody has sent.
pub(super) async fn explained(gate: &Gate, method: &Method, target: &str, fields: &[(&str, String)]) -> Value {
    let order = json!({"method": method.as_str(), "url": target, "headers": fields});
    let answer = post(gate, "", &order.to_string()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let told: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(told["live"], true);
    told
}

async fn post(gate: &Gate, fields: &str, order: &str) -> Answer {
    let (admin, length) = (gate.admin(), order.len());
    let head = format!(
        "POST /api/v1/explain HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}"
    );
    ask(admin, format!("{head}\r\n\r\n{order}")).await
}

/// The word of one layer.
fn layer<'a>(told: &'a Value, name: &str) -> &'a Value {
    let layers = told["layers"].as_array().unwrap();
    layers.iter().find(|layer| layer["layer"] == name).unwrap_or(&Value::Null)
}

/// What a request that matters for limits and caches can look like.
fn request(rng: &mut Rng) -> (Method, String, Vec<(&'static str, String)>) {
    let method = pick(rng, &["GET", "GET", "GET", "HEAD", "POST"]).parse().unwrap();
    let target = pick(rng, &["/a", "/a?x", "/b", "/c", "/short"]).to_owned();
    let mut fields = vec![("host", "a.test".to_owned())];
    for (name, values) in [
        ("x-who", &["", "ann", "bob"][..]),
        ("x-v", &["", "1"]),
        ("cache-control", &["", "", "", "no-cache", "only-if-cached", "max-stale", "no-store"]),
    ] {
        let value = pick(rng, values);
        fields.extend((!value.is_empty()).then(|| (name, value.to_owned())));
    }
    let claims = |sub: &str| json!({"sub": sub, "aud": "shop", "exp": 4_000_000_000_u64});
    let token = |sub: &str| format!("Bearer {}", Signer::hs256(SECRET.as_bytes()).token(&claims(sub)));
    let subject = pick(rng, &["", "ann", "bob"]);
    fields.extend((!subject.is_empty()).then(|| ("authorization", token(subject))));
    (method, target, fields)
}

/// Limits that are soon used up, and caches that keep what they may.
fn configuration(rng: &mut Rng, backend: &Backend) -> String {
    let mut text = format!("[server]\nworkers = 1\n[auth.main]\nsecret = \"{SECRET}\"\naudience = [\"shop\"]\n");
    let keys = ["'ip'", "'header:x-who'", "'subject'", "['route', 'header:x-who']"];
    for name in ["one", "two"] {
        let (key, burst) = (pick(rng, &keys), rng.u8(1..8));
        let mode = pick(rng, &["enforce", "enforce", "observe"]);
        text += &format!("[rate_limits.{name}]\nkey = {key}\nrate = '1/h'\nburst = {burst}\nmode = '{mode}'\n");
    }
    for (number, path) in ["/", "/a", "/b"].into_iter().enumerate() {
        let mut line = |lines: &[&str]| text += &format!("{}\n", pick(rng, lines));
        line(&[&format!(
            "[[routes]]\nname = 'r{number}'\nprefix = '{path}'\nupstream = 'http://{}'",
            backend.address()
        )]);
        line(&[
            "",
            "auth = { use = 'main', optional = true }",
            "auth = 'main'",
            "auth = { use = 'main', mode = 'observe' }",
        ]);
        line(&["", "rate_limit = ['one']", "rate_limit = ['one', 'two']"]);
        line(&[
            "cache = true",
            "cache = { ttl = '1h' }",
            "cache = { ttl = '1h', vary_by = ['header:x-v', 'subject'] }",
        ]);
    }
    text
}

/// What is kept for an hour, and what is stale at once.
async fn origin() -> Backend {
    Backend::replying(|seen| {
        let fresh = if seen.head.target().starts_with("/short") { "max-age=0" } else { "public, max-age=3600" };
        format!("HTTP/1.1 200 OK\r\ncache-control: {fresh}\r\nvary: x-v\r\netag: \"1\"\r\ncontent-length: 2\r\n\r\nok")
    })
    .await
}

/// Waits until nothing is on its way into the cache.
async fn settled(gate: &Gate) {
    eventually_async("the cache is at rest", async || {
        let status: Value = serde_json::from_str(&fetch(gate.admin(), "/api/v1/status").await.body).unwrap();
        status["cache"]["fetching"] == 0 && status["cache"]["filling_bytes"] == 0
    })
    .await;
}

/// Holds what was told against what has happened then, and returns it as a word.
fn compare(told: &Value, answer: &Answer, asked: usize) -> &'static str {
    let outcome = &told["outcome"];
    match (outcome["result"].as_str().unwrap(), answer.status()) {
        ("refused", status) => {
            assert_eq!((&outcome["status"], asked), (&status.into(), 0), "{told:#}");
            match outcome["code"].as_str().unwrap() {
                "rate_limited" => "limited",
                "not_cached" => "not_cached",
                "token_missing" => "unauthorized",
                other => panic!("{other}"),
            }
        }
        ("forwarded", 200) => {
            let cached = answer.head.get("cache-status").unwrap();
            match layer(told, "cache")["cache"]["does"].as_str().unwrap() {
                "hit" => {
                    assert!(cached.starts_with("tollgate; hit") && asked == 0, "{cached}");
                    "hit"
                }
                "stale" => {
                    let is_stale = cached.contains("ttl=-") || cached.ends_with("ttl=0");
                    assert!(cached.starts_with("tollgate; hit") && is_stale, "{cached}");
                    "stale"
                }
                "fetch" => {
                    assert!(cached.starts_with("tollgate; fwd=") && asked == 1, "{cached}");
                    "fetched"
                }
                "pass" => {
                    assert!(cached.contains("fwd=bypass") || cached.contains("fwd=method"), "{cached}");
                    "passed"
                }
                other => panic!("{other}"),
            }
        }
        other => panic!("{other:?}: {answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_says_what_its_limits_and_its_cache_do_next() {
    let mut words = std::collections::BTreeMap::<&str, usize>::new();
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let backend = origin().await;
        let text = configuration(&mut rng, &backend);
        // Whoever asks for subjects has to ask who it is.
        let Ok(_) = load::from_text(&text) else { continue };
        let gate = Gate::start(&text);
        for _ in 0..40 {
            let (method, target, fields) = request(&mut rng);
            let told = explained(&gate, &method, &target, &fields).await;
            let again = explained(&gate, &method, &target, &fields).await;
            let before = backend.seen().len();
            let answer = super::happens(&gate, &method, &target, &fields).await;
            settled(&gate).await;
            let asked = backend.seen().len() - before;
            let agrees = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compare(&told, &answer, asked)));
            let Ok(word) = agrees else {
                panic!("seed {seed}: {method} {target} {fields:?}\n{text}\n{told:#}\n{answer:?}");
            };
            assert_eq!(timeless(&told["layers"]), timeless(&again["layers"]), "asking uses nothing up");
            *words.entry(word).or_default() += 1;
        }
    }
    for word in ["limited", "not_cached", "unauthorized", "hit", "stale", "fetched", "passed"] {
        assert!(words.get(word).is_some_and(|count| *count > 1), "{word} hardly happened: {words:?}");
    }
}

/// The same without the seconds that are left of something.
fn timeless(told: &Value) -> Value {
    match told {
        Value::Object(members) => {
            let lasting = members.iter().filter(|(name, _)| *name != "retry_after");
            lasting.map(|(name, value)| (name.clone(), timeless(value))).collect()
        }
        Value::Array(items) => items.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

/// What is counted, without what runs on by itself.
async fn counts(gate: &Gate) -> Vec<String> {
    let of_requests =
        ["tollgate_auth_", "tollgate_refusals_", "tollgate_rate_limit_", "tollgate_requests_", "tollgate_cache_"];
    let page = gate.metrics().await;
    let lines = page.lines().filter(|line| of_requests.iter().any(|name| line.starts_with(name)));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_leaves_no_trace() {
    let signer = Signer::es256("k1");
    let keys = jwks(&[&signer]);
    let issuer = Backend::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len())).await;
    let (backend, service) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let (upstream, url) = (backend.address(), issuer.address());
    let route = |name: &str, rest: &str| {
        format!("[[routes]]\nname = '{name}'\nprefix = '/{name}'\nupstream = 'http://{upstream}'\n{rest}\n")
    };
    let gate = Gate::start(&format!(
        "[server]\nworkers = 1\n[auth.main]\njwks_url = 'http://{url}/keys'\nallow_http = true\n[auth.service]\nkind = 'forward'\n\
         url = 'http://{}/check'\n[rate_limits.few]\nkey = 'ip'\nrate = '1/h'\nburst = 1\n{}{}{}",
        service.address(),
        route(
            "observed",
            "auth = { use = 'main', mode = 'observe' }\nrate_limit = 'few'\nmax_in_flight = 1\ncache = true"
        ),
        route("asked", "auth = 'main'"),
        route("service", "auth = 'service'"),
    ));
    // The keys are there, and a token that they verify passes.
    let good = vec![("host", "a".to_owned()), ("authorization", format!("Bearer {}", signer.good("ann")))];
    eventually_async("there are keys", async || {
        explained(&gate, &Method::GET, "/asked", &good).await["outcome"]["result"] == "forwarded"
    })
    .await;
    let (before, fetched) = (counts(&gate).await, issuer.connections());
    let stranger = vec![good[0].clone(), ("authorization", format!("Bearer {}", Signer::es256("k2").good("eve")))];
    for _ in 0..3 {
        let told = explained(&gate, &Method::GET, "/observed", &good[..1]).await;
        assert_eq!(layer(&told, "auth")["verdict"], "observe", "{told:#}");
        assert_eq!(layer(&told, "rate_limit")["limits"][0]["remaining"], 0, "{told:#}");
        assert_eq!(
            (&told["outcome"]["result"], &layer(&told, "in_flight")["verdict"]),
            (&json!("forwarded"), &json!("pass"))
        );
        // A key that may have come since: a request would have it fetched.
        let told = explained(&gate, &Method::GET, "/asked", &stranger).await;
        assert_eq!((&layer(&told, "auth")["verdict"], &told["outcome"]["result"]), (&json!("open"), &json!("open")));
        let told = explained(&gate, &Method::GET, "/service", &good[..1]).await;
        assert_eq!(layer(&told, "auth")["verdict"], "open", "{told:#}");
    }
    assert_eq!(counts(&gate).await, before);
    assert_eq!((issuer.connections(), service.connections(), backend.connections()), (fetched, 0, 0));
    assert_eq!(get(gate.address(), "/observed").await.status(), 200);
    let told = explained(&gate, &Method::GET, "/observed", &good[..1]).await;
    assert_eq!((&told["outcome"]["code"], &told["outcome"]["layer"]), (&json!("rate_limited"), &json!("rate_limit")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_the_token_may_ask_and_only_for_what_is_a_request() {
    let gate = Gate::start("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"hunter2-hunter2\"\n");
    let order = r#"{"method":"GET","url":"/"}"#;
    assert_eq!(post(&gate, "", order).await.refusal(), (401, "token_missing".into()));
    assert_eq!(post(&gate, "Authorization: Bearer wrong\r\n", order).await.refusal(), (401, "token_invalid".into()));
    let token = "Authorization: Bearer hunter2-hunter2\r\n";
    let told: Value = serde_json::from_str(&post(&gate, token, order).await.text()).unwrap();
    assert_eq!(told["outcome"]["code"], "bad_request", "a request without a host: {told}");
    for order in [
        "",
        "[]",
        r#"{"url":"/"}"#,
        r#"{"method":"GET","url":"/","more":1}"#,
        r#"{"method":"G T","url":"/"}"#,
        r#"{"method":"GET","url":"http://a b/"}"#,
        r#"{"method":"GET","url":"/\r\nx: y"}"#,
        r#"{"method":"GET","url":"/","headers":[["a b","c"]]}"#,
        r#"{"method":"GET","url":"/","headers":[["a","b\r\nc: d"]]}"#,
        r#"{"method":"GET","url":"/","from":"here"}"#,
    ] {
        assert_eq!(post(&gate, token, order).await.refusal(), (400, "bad_order".into()), "{order}");
    }
}

/// Runs `tollgate explain --live` with these arguments, and this token in its environment.
fn command(gate: &Gate, arguments: &[&str], token: &str) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["explain", "--live", "--admin", &format!("http://{}", gate.admin())]).args(arguments);
    command.env_clear().env("TOLLGATE_ADMIN_TOKEN", token).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_what_the_gateway_says() {
    let backend =
        Backend::answering("HTTP/1.1 200 OK\r\ncache-control: max-age=3600\r\ncontent-length: 2\r\n\r\nok").await;
    let gate = Gate::before(&backend, "cache = true\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"hunter2-hunter2\"\n");
    assert_eq!(get(gate.address(), "/x").await.status(), 200);
    settled(&gate).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = command(&gate, &["GET", "http://gate/x", "-H", "x-secret: hunter3"], "hunter2-hunter2");
    assert_eq!((told.status.code(), text(&told.stderr)), (Some(0), String::new()));
    let told = text(&told.stdout);
    for line in [
        "  > app  takes it",
        "    hit ",
        "s old, fresh for 3",
        &format!("{} healthy", backend.address()),
        "It is forwarded.",
    ] {
        assert!(told.contains(line), "{line} is missing in\n{told}");
    }
    let told = command(&gate, &["GET", "http://gate/y", "--json"], "hunter2-hunter2");
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["live"], &layer(&told, "cache")["cache"]["does"]), (&json!(true), &json!("fetch")));
    assert_eq!(backend.seen().len(), 1, "nothing is sent");
    let refused = command(&gate, &["GET", "/x"], "wrong");
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(1), String::new()));
    assert!(text(&refused.stderr).contains("error: 401: "), "{}", text(&refused.stderr));
    assert_eq!(command(&gate, &["GET", "/x", "--online"], "hunter2-hunter2").status.code(), Some(2));
}
