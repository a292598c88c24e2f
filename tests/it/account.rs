//! `X-Tollgate-Trace`: who brings the operators' token is told on the response what became of the request; nobody else is,
//! and no token goes any further.

use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;

use crate::support::log::Log;
use crate::support::tokens::Signer;
use crate::support::{Backend, Client2, Gate, OK, ask, eventually_async, get};

const TOKEN: &str = "hunter2-hunter2";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"hunter2-hunter2\"\n";

/// What is told of a GET with these fields, each with its line end.
async fn told(gate: &Gate, target: &str, fields: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Tollgate-Trace: {TOKEN}\r\n{fields}\r\n");
    let answer = ask(gate.address(), request).await;
    assert!(answer.head.all("vary").contains(&"x-tollgate-trace"), "{answer:?}");
    let told = answer.head.all("x-tollgate-trace");
    assert_eq!(told.len(), 1, "{answer:?}");
    without_time(told[0])
}

/// The same without how long it took.
fn without_time(told: &str) -> String {
    let mut parts = told.split(";ms=");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

#[tokio::test]
async fn each_layer_says_what_it_has_decided() {
    let kept = "HTTP/1.1 200 OK\r\ncache-control: max-age=3600, public\r\nx-tollgate-trace: mine\r\ncontent-length: 2\r\n\r\nok";
    let backend = Backend::answering(kept).await;
    let limits = "[rate_limits.each]\nkey = 'ip'\nrate = '1/h'\nburst = 4\n[rate_limits.who]\nkey = 'subject'\nrate = '1000/s'\n\
                  [rate_limits.looking]\nkey = 'global'\nrate = '1/h'\nburst = 1\nmode = 'observe'\n";
    let gate = Gate::before(
        &backend,
        &format!(
            "auth = 'main'\nallow_ips = ['127.0.0.1']\nmax_in_flight = 5\nrate_limit = ['each', 'who', 'looking']\n\
             cache = true\n[auth.main]\nsecret = '{SECRET}'\n{limits}{ADMIN}"
        ),
    );
    let token = Signer::hs256(SECRET.as_bytes()).token(&json!({"sub": "ann\u{e9}\"", "exp": 4_000_000_000_u64}));
    let authorization = format!("Authorization: Bearer {token}\r\n");
    let first = told(&gate, "/x", &authorization).await;
    let early = "route;name=\"app\", ip_access;pass, path_guard;pass, limit;name=\"each\";key=\"ip:127.0.0.1\", \
                 limit;name=\"looking\";key=\"global\", ";
    assert!(
        first.starts_with(&format!(
            "{early}rate_limit;pass, in_flight;pass, deadline;pass, auth;pass, limit;name=\"who\";key=\"subject:"
        )),
        "{first}"
    );
    let last = format!(
        ", rate_limit;pass, body_limit;pass, identity;by=\"main\";subject=\"ann%C3%A9\\\"\", cache;miss, \
         upstream;name=\"app\";address=\"{}\";tries=1, answer;status=200",
        backend.address()
    );
    assert!(first.ends_with(&last), "{first}");
    eventually_async("it is stored", async || {
        get(gate.admin(), "/api/v1/status").await.text().contains("\"entries\":1")
    })
    .await;
    let second = told(&gate, "/x", &authorization).await;
    assert!(
        second.contains("rate_limit;observe;cause=\"limit looking: used up (observed)\", in_flight;pass"),
        "{second}"
    );
    assert!(second.contains(", cache;hit, answer;status=200") && !second.contains("upstream"), "{second}");
    let refused = told(&gate, "/x", "").await;
    assert!(
        refused.contains(", auth;refuse, answer;status=401;code=\"token_missing\";cause=\"auth main: no credential\""),
        "{refused}"
    );
    told(&gate, "/x", "").await;
    let limited = told(&gate, "/x", "").await;
    assert!(limited.contains(", rate_limit;refuse, answer;status=429;code=\"rate_limited\""), "{limited}");
    assert_eq!(told(&gate, "/a%", "").await, "answer;status=400;code=\"bad_request\"");
}

#[tokio::test]
async fn tries_and_failures_are_told() {
    let good = Backend::answering(OK).await;
    let gate = Gate::start(&format!(
        "[[routes]]\nname = 'app'\nprefix = '/'\nupstream = 'app'\n[[routes]]\nname = 'gone'\nprefix = '/gone'\n\
         upstream = 'http://127.0.0.1:9'\n[upstreams.app]\naddresses = ['127.0.0.1:9', '{}']\neject = {{ max_share = 0 }}\n{ADMIN}",
        good.address()
    ));
    eventually_async("there was a second try", async || {
        let text = told(&gate, "/", "").await;
        text.ends_with(&format!("upstream;name=\"app\";address=\"{}\";tries=2, answer;status=200", good.address()))
    })
    .await;
    let gone = told(&gate, "/gone", "").await;
    assert!(
        gone.contains("address=\"127.0.0.1:9\"") && gone.contains("answer;status=502;code=\"upstream_connect\""),
        "{gone}"
    );
}

#[tokio::test]
async fn nobody_else_is_told_and_no_token_goes_further() {
    let (backend, log) = (Backend::answering(OK).await, Log::new());
    let configured = Gate::before(&backend, &format!("{}{ADMIN}", log.table()));
    let without = Gate::before(&backend, "[admin]\nlisten = \"127.0.0.1:0\"\n");
    let right = format!("X-Tollgate-Trace: {TOKEN}\r\n");
    let mut count = 0;
    for (gate, fields) in [
        (&configured, "X-Tollgate-Trace: hunter3-hunter2\r\n".to_owned()),
        (&configured, "X-Tollgate-Trace:\r\n".to_owned()),
        (&configured, format!("X-Tollgate-Trace: Bearer {TOKEN}\r\n")),
        (&configured, right.repeat(2)),
        (&configured, format!("{right}X-Tollgate-Trace: hunter3\r\n")),
        (&configured, format!("Authorization: Bearer {TOKEN}\r\n")),
        (&without, right.clone()),
        (&without, "X-Tollgate-Trace:\r\n".to_owned()),
    ] {
        let answer = ask(gate.address(), format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
        assert_eq!(
            (answer.status(), answer.head.has("x-tollgate-trace"), answer.head.has("vary")),
            (200, false, false),
            "{fields}"
        );
        count += usize::from(std::ptr::eq(gate, &raw const configured));
    }
    told(&configured, "/", "Connection: x-tollgate-trace\r\n").await;
    assert!(backend.seen().iter().all(|seen| !seen.head.has("x-tollgate-trace")), "{:?}", backend.seen());
    assert!(!log.text(count + 1).await.contains("hunter"));
    // Another token counts from the next request on, also on a connection that is open.
    let mut client = Client2::connect(configured.address()).await;
    let mut traced = async || {
        let request = http::Request::get("http://a/").header("x-tollgate-trace", TOKEN);
        let response = client.send(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        response.headers().contains_key("x-tollgate-trace")
    };
    assert!(traced().await);
    let address = backend.address();
    let other = format!(
        "[upstreams.app]\naddresses = [\"{address}\"]\n[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n{}{}",
        log.table(),
        ADMIN.replace("hunter2", "hunter4")
    );
    assert!(configured.reload(&other).await.is_ok());
    assert!(!traced().await);
}
