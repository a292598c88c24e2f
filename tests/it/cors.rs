//! Pages of other origins: preflights are answered here and before anybody is asked who he is, and every answer says which
//! page may read it, whoever made it.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::client::Answer;
use crate::support::{Backend, Client2, Gate, OK, ask};

const KEYS: &str = "[auth.main]\nkind = 'basic'\nusers_file = '/dev/null'\n";
const POLICY: &str = "cors = { origins = ['https://app.test', 'https://*.example.test:8443'], methods = ['GET', 'PUT'], \
                      headers = ['authorization', 'x-a'], expose_headers = ['x-total'], credentials = true, max_age = '10min' }\n";

fn preflight(target: &str, origin: &str, method: &str) -> String {
    format!(
        "OPTIONS {target} HTTP/1.1\r\nHost: gate\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n\
         Access-Control-Request-Headers: authorization\r\n\r\n"
    )
}

fn request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")
}

/// What it says of who may read it: whose, with credentials, and what it depends on.
fn says(answer: &Answer) -> (Vec<&str>, bool, Vec<&str>) {
    let head = &answer.head;
    (
        head.all("access-control-allow-origin"),
        head.all("access-control-allow-credentials") == ["true"],
        head.all("vary"),
    )
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_needs_no_credentials() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, &format!("methods = ['GET', 'PUT']\nauth = 'main'\n{POLICY}{KEYS}"));
    for origin in ["https://app.test", "https://a.b.example.test:8443"] {
        let answer = ask(gate.address(), preflight("/x", origin, "PUT")).await;
        assert_eq!((answer.status(), answer.content.bytes.len()), (204, 0));
        assert_eq!(says(&answer), (vec![origin], true, vec!["Origin"]));
        for (name, value) in [
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "authorization, x-a"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.head.all(name), [value], "{name}");
        }
        assert!(answer.head.has("x-request-id"));
    }
    for origin in
        ["https://evil.test", "null", "https://example.test:8443", "https://a.example.test", "http://app.test", ""]
    {
        let answer = ask(gate.address(), preflight("/x", origin, "PUT")).await;
        assert_eq!(answer.status(), 204, "{origin}");
        assert_eq!(says(&answer), (vec![], false, vec!["Origin"]), "{origin}");
        assert!(!answer.head.has("access-control-allow-methods"), "{origin}");
    }
    let mut client = Client2::<Full<Bytes>>::connect(gate.address()).await;
    let asked = Request::options("http://gate/x")
        .header("origin", "https://app.test")
        .header("access-control-request-method", "PUT");
    let answer = client.send(asked.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.test");
    assert!(backend.seen().is_empty());
    gate.counted("tollgate_requests_total{route=\"app\",method=\"OPTIONS\",status=\"204\"} 9").await;
    assert!(!gate.metrics().await.contains("tollgate_refusals_total{route=\"app\""));
}

#[tokio::test]
async fn what_is_no_preflight_is_a_request_like_any_other() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, &format!("{POLICY}auth = {{ use = 'main', optional = true }}\n{KEYS}"));
    for fields in ["", "Origin: https://app.test\r\n", "Access-Control-Request-Method: PUT\r\n"] {
        let answer = ask(gate.address(), request("OPTIONS /", fields)).await;
        assert_eq!(answer.status(), 200, "{fields}");
    }
    assert_eq!(backend.seen().len(), 3);
    let strict = Gate::before(&backend, &format!("methods = ['PUT']\n{POLICY}"));
    assert_eq!(ask(strict.address(), request("OPTIONS /", "Origin: https://app.test\r\n")).await.status(), 405);
    let open = Gate::before(&backend, "methods = ['PUT']\n");
    assert_eq!(
        ask(open.address(), preflight("/", "https://app.test", "PUT")).await.status(),
        405,
        "no cors, no preflight"
    );
}

#[tokio::test]
async fn answers_and_refusals_say_who_may_read_them() {
    let backend = Backend::replying(|seen| {
        let vary = if seen.head.target() == "/vary" { "Vary: Accept, origin\r\n" } else { "Vary: Accept\r\n" };
        format!(
            "HTTP/1.1 200 OK\r\n{vary}Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: https://evil.test\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: x-secret\r\nX-Total: 1\r\n\
             Content-Length: 2\r\n\r\nok"
        )
    })
    .await;
    let gate = Gate::before(&backend, &format!("{POLICY}max_body = '4B'\n"));
    let origin = "Origin: https://app.test\r\n";
    let answer = ask(gate.address(), request("GET /", origin)).await;
    assert_eq!(says(&answer), (vec!["https://app.test"], true, vec!["Accept", "Origin"]));
    assert_eq!(answer.head.all("access-control-expose-headers"), ["x-total"]);
    assert_eq!(says(&ask(gate.address(), request("GET /vary", origin)).await).2, ["Accept, origin"]);
    for fields in ["", "Origin: https://evil.test\r\n", &format!("{origin}{origin}")] {
        let answer = ask(gate.address(), request("GET /", fields)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(says(&answer), (vec![], false, vec!["Accept", "Origin"]), "{fields}");
        assert!(!answer.head.has("access-control-expose-headers"));
    }
    let refused = ask(gate.address(), request("PUT /", &format!("{origin}Content-Length: 5\r\n"))).await;
    assert_eq!(refused.refusal(), (413, "body_too_large".to_owned()));
    assert_eq!(says(&refused), (vec!["https://app.test"], true, vec!["Origin"]));

    let guarded = Gate::before(&backend, &format!("{POLICY}auth = 'main'\n{KEYS}"));
    for (fields, expected) in [(origin, vec!["https://app.test"]), ("Origin: null\r\n", vec![]), ("", vec![])] {
        let answer = ask(guarded.address(), request("GET /", fields)).await;
        assert_eq!(answer.refusal(), (401, "credentials_invalid".to_owned()));
        assert_eq!(answer.head.all("access-control-allow-origin"), expected);
        assert_eq!(answer.head.all("vary"), ["Origin"]);
        assert!(answer.head.has("www-authenticate"));
    }
}

#[tokio::test]
async fn anybody_means_anybody_and_null_only_who_is_called_so() {
    let backend = Backend::answering(OK).await;
    let open = Gate::before(&backend, "cors = { origins = ['*'] }\n");
    for origin in ["https://any.test", "null"] {
        let answer = ask(open.address(), request("GET /", &format!("Origin: {origin}\r\n"))).await;
        assert_eq!(says(&answer), (vec!["*"], false, vec!["Origin"]));
    }
    let answer = ask(open.address(), preflight("/", "https://any.test", "DELETE")).await;
    assert_eq!(answer.head.all("access-control-allow-methods"), ["GET, HEAD, POST"], "what any page may");
    let named = Gate::before(&backend, "cors = { origins = ['null'] }\n");
    let answer = ask(named.address(), request("GET /", "Origin: null\r\n")).await;
    assert_eq!(says(&answer), (vec!["null"], false, vec!["Origin"]));
}

#[tokio::test]
async fn the_route_of_the_request_answers_its_preflight() {
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let route = |methods: &str, origin: &str| {
        format!(
            "[[routes]]\nprefix = '/'\nupstream = 'http://{address}'\nmethods = ['{methods}']\ncors = {{ origins = ['{origin}'] }}\n"
        )
    };
    let gate = Gate::start(&(route("GET", "https://get.test") + &route("PUT", "https://put.test")));
    for (method, allowed, other) in
        [("GET", "https://get.test", "https://put.test"), ("PUT", "https://put.test", "https://get.test")]
    {
        assert_eq!(says(&ask(gate.address(), preflight("/", allowed, method)).await).0, [allowed]);
        assert!(says(&ask(gate.address(), preflight("/", other, method)).await).0.is_empty());
    }
    let answer = ask(gate.address(), preflight("/", "https://put.test", "DELETE")).await;
    assert_eq!((answer.status(), answer.head.get("allow")), (405, Some("GET, HEAD, PUT")));
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn what_a_service_answers_says_so_too() {
    let service = Backend::answering(
        "HTTP/1.1 403 No\r\nAccess-Control-Allow-Origin: https://evil.test\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let backend = Backend::answering(OK).await;
    let auth = format!("[auth.main]\nkind = 'forward'\nurl = 'http://{}/'\n", service.address());
    let gate = Gate::before(&backend, &format!("{POLICY}auth = 'main'\n{auth}"));
    let answer = ask(gate.address(), request("GET /", "Origin: https://app.test\r\n")).await;
    assert_eq!((answer.status(), says(&answer)), (403, (vec!["https://app.test"], true, vec!["Origin"])));
    assert_eq!(ask(gate.address(), preflight("/", "https://app.test", "GET")).await.status(), 204);
    assert_eq!(service.seen().len(), 1, "nobody was asked about the preflight");
}
