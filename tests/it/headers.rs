//! Header fields on their way through: what ends at this hop, what is said of the client, whom to believe.

use crate::support::{Backend, Client, Gate, OK, ask};

async fn seen_with(gate: &Gate, backend: &Backend, fields: &str) -> crate::support::wire::Head {
    let request = format!("GET / HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n");
    assert_eq!(ask(gate.address(), request).await.status(), 200);
    backend.seen().pop().unwrap().head
}

#[tokio::test]
async fn what_ends_at_this_hop_does_not_reach_the_upstream() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let fields = "Connection: keep-alive, X-One\r\nConnection: x-two ,, X-Missing, Content-Type\r\nX-One: 1\r\nX-Two: 2\r\n\
                  X-Three: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\
                  TE: gzip, trailers;q=0.5\r\nUpgrade: websocket\r\nContent-Type: text/plain\r\n";
    let head = seen_with(&gate, &backend, fields).await;
    for gone in [
        "connection",
        "x-one",
        "x-two",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "transfer-encoding",
        "expect",
    ] {
        assert!(!head.has(gone), "{gone}: {head:?}");
    }
    assert_eq!(head.get("x-three"), Some("3"));
    assert_eq!(head.get("te"), Some("trailers"));
    assert_eq!(head.get("content-type"), Some("text/plain"), "no option takes this away");
    let plain = seen_with(&gate, &backend, "TE: gzip\r\n").await;
    assert!(!plain.has("te"), "{plain:?}");
}

#[tokio::test]
async fn what_ends_at_this_hop_does_not_reach_the_client() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-One\r\nConnection: x-two, keep-alive\r\nX-One: 1\r\nX-Two: 2\r\n\
                  X-Three: 3\r\nKeep-Alive: timeout=60\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
                  Set-Cookie: a=1\r\nSet-Cookie: b=2, c\r\nServer: app\r\nContent-Length: 2\r\n\r\nok";
    let backend = Backend::answering(answer).await;
    let gate = Gate::before(&backend, "");
    let head = ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await.head;
    for gone in ["connection", "x-one", "x-two", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(!head.has(gone), "{gone}: {head:?}");
    }
    assert_eq!(head.get("x-three"), Some("3"));
    assert_eq!(head.get("server"), Some("app"));
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2, c"]);
}

#[tokio::test]
async fn the_upstream_hears_who_asked_and_a_stranger_cannot_say_otherwise() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let forged = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 9.9.9.9\r\n\
                  X-Forwarded-Host: evil.test\r\nX-Forwarded-Prefix: /evil\r\nForwarded: for=9.9.9.9\r\nX-Request-Id: evil\r\n";
    let head = seen_with(&gate, &backend, forged).await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-host"), Some("gate.test"));
    assert_eq!(head.get("via"), Some("1.1 tollgate"));
    assert_eq!(head.get("host"), Some("gate.test"));
    for gone in ["x-real-ip", "x-forwarded-prefix", "forwarded"] {
        assert!(!head.has(gone), "{gone}");
    }
    assert_eq!(head.get("x-request-id").unwrap().len(), 36, "an id of the gateway's own");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added_to() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let told = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.test\r\nVia: 1.0 edge\r\n\
                X-Forwarded-Prefix: /app\r\nForwarded: for=203.0.113.7\r\nX-Request-Id: from-the-edge\r\n";
    let head = seen_with(&gate, &backend, told).await;
    assert_eq!(head.all("x-forwarded-for").join(", "), "203.0.113.7, 127.0.0.1");
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-host"), Some("public.test"));
    assert_eq!(head.get("x-forwarded-prefix"), Some("/app"));
    assert_eq!(head.all("forwarded").join(", "), "for=203.0.113.7, for=127.0.0.1;proto=http");
    assert_eq!(head.get("x-request-id"), Some("from-the-edge"));
    assert_eq!(head.all("via").join(", "), "1.0 edge, 1.1 tollgate");
    let untold = seen_with(&gate, &backend, "").await;
    assert_eq!(untold.get("x-forwarded-proto"), Some("http"));
    assert_eq!(untold.get("x-forwarded-host"), Some("gate.test"));
    assert!(!untold.has("forwarded"));
}

#[tokio::test]
async fn client_and_upstream_get_the_same_id_for_a_request_and_never_twice() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nx-request-id: its-own\r\ncontent-length: 0\r\n\r\n").await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = client.get("/").await;
        let id = answer.head.get("x-request-id").unwrap().to_owned();
        assert_eq!(backend.seen().last().unwrap().head.get("x-request-id"), Some(id.as_str()));
        assert!(!ids.contains(&id));
        ids.push(id);
    }
}

#[tokio::test]
async fn names_that_only_look_like_managed_ones_are_dropped() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let fields = "X_Forwarded_For: 9.9.9.9\r\nX-Forwarded_Host: evil\r\nHo_st: x\r\nContent_Length: 9\r\nX_Other: 1\r\n\
                  Transfer_Encoding: chunked\r\n";
    let head = seen_with(&gate, &backend, fields).await;
    for gone in ["x_forwarded_for", "x-forwarded_host", "content_length", "transfer_encoding"] {
        assert!(!head.has(gone), "{gone}");
    }
    assert_eq!(head.get("x_other"), Some("1"));
}

#[tokio::test]
async fn the_host_goes_on_as_the_upstream_is_to_see_it() {
    for (key, expected) in [
        ("", "api.test:8080"),
        ("host_header = \"client\"", "api.test:8080"),
        ("host_header = \"fixed.test\"", "fixed.test"),
        ("host_header = \"upstream\"", ""),
    ] {
        let backend = Backend::answering(OK).await;
        let gate = Gate::before_upstream(&backend, key);
        let own = backend.address().to_string();
        let request = "GET / HTTP/1.1\r\nHost: API.test.:8080\r\n\r\n";
        assert_eq!(ask(gate.address(), request).await.status(), 200);
        let head = backend.only().head;
        let expected = if expected.is_empty() { own.as_str() } else { expected };
        assert_eq!(head.get("host"), Some(expected), "{key}");
        assert_eq!(head.get("x-forwarded-host"), Some("api.test:8080"), "{key}");
    }
}

#[tokio::test]
async fn a_request_without_a_host_gets_the_upstreams_own() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    assert_eq!(ask(gate.address(), "GET / HTTP/1.0\r\n\r\n").await.status(), 200);
    let head = backend.only().head;
    assert_eq!(head.get("host"), Some(backend.address().to_string().as_str()));
    assert!(head.line.ends_with(" HTTP/1.1"), "{}", head.line);
    assert!(!head.has("x-forwarded-host"));
}

#[tokio::test]
async fn other_fields_pass_untouched_in_their_number_and_order() {
    let backend =
        Backend::answering("HTTP/1.1 299 Odd Reason\r\nX-A: 1\r\nX-A: 2\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n")
            .await;
    let gate = Gate::before(&backend, "");
    let head =
        seen_fields(&gate, "Cookie: a=1; b=2\r\nX-B: 2\r\nX-B: 1\r\nX-Bytes: \u{e9}\r\nAuthorization: Bearer x\r\n")
            .await;
    assert_eq!(head.line, "HTTP/1.1 299 Odd Reason");
    assert_eq!(head.all("x-a"), ["1", "2"]);
    assert_eq!(head.get("x-empty"), Some(""));
    let seen = backend.only().head;
    assert_eq!(seen.get("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.all("x-b"), ["2", "1"]);
    assert_eq!(seen.get("x-bytes"), Some("\u{e9}"));
    assert_eq!(seen.get("authorization"), Some("Bearer x"));
}

async fn seen_fields(gate: &Gate, fields: &str) -> crate::support::wire::Head {
    ask(gate.address(), format!("GET / HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await.head
}
