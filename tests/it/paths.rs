//! The path that an upstream gets to see: canonical, and as the route rewrites it.

use crate::support::{Backend, Client, Gate, OK, ask};

#[tokio::test]
async fn the_upstream_sees_the_canonical_path_and_the_query_as_it_came() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    let cases = [
        ("/a/./b/../c", "/a/c"),
        ("/%41%2d%7e", "/A-~"),
        ("//a///b/", "/a/b/"),
        ("/a/..", "/"),
        ("/a%2e/%2e%2e/b", "/b"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/?", "/?"),
        ("/a?x=%41&y=/../&&z=%zz", "/a?x=%41&y=/../&&z=%zz"),
        ("/./a?q=a//b#", "/a?q=a//b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a?next=http://x/?y", "/a?next=http://x/?y"),
        ("http://gate/abs/./olute?q", "/abs/olute?q"),
        ("http://gate?q", "/?q"),
    ];
    for (sent, expected) in cases {
        assert_eq!(client.get(sent).await.status(), 200, "{sent}");
        assert_eq!(backend.seen().last().unwrap().head.target(), expected, "{sent}");
    }
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_never_reaches_an_upstream() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    for path in ["/../etc", "/a/../../b", "/%2e%2e/b", "/a%00", "/a%0d%0ax", "/a\\b", "/a%", "/a%zz", "/a/..;/b"] {
        let refusal = ask(gate.address(), format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n")).await.refusal();
        assert_eq!(refusal, (400, "bad_request".into()), "{path}");
    }
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn a_stripped_prefix_is_told_to_the_upstream() {
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/orders\"\nstrip_prefix = true\nupstream = \"http://{address}\"\n\
         [[routes]]\nprefix = \"/plain\"\nupstream = \"http://{address}\"\n"
    ));
    let mut client = Client::connect(gate.address()).await;
    for (sent, expected, prefix) in [
        ("/orders", "/", Some("/orders")),
        ("/orders/", "/", Some("/orders")),
        ("/orders/1/2?q=/orders", "/1/2?q=/orders", Some("/orders")),
        ("/orders?q", "/?q", Some("/orders")),
        ("/plain/1", "/plain/1", None),
    ] {
        let request = format!("GET {sent} HTTP/1.1\r\nHost: gate\r\nX-Forwarded-Prefix: /forged\r\n\r\n");
        assert_eq!(client.ask(request).await.status(), 200);
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.head.target(), expected, "{sent}");
        assert_eq!(seen.head.get("x-forwarded-prefix"), prefix, "{sent}");
    }
}

#[tokio::test]
async fn a_path_is_rewritten_and_its_query_kept() {
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let route = |prefix: &str, rest: &str| {
        format!("[[routes]]\nprefix = \"{prefix}\"\nupstream = \"http://{address}\"\n{rest}\n")
    };
    let gate = Gate::start(
        &[
            route("/a", "rewrite = \"/v2{path}\""),
            route("/b", "rewrite = \"/v2{path}\"\nstrip_prefix = true"),
            route("/c", "rewrite = \"/fixed\""),
        ]
        .concat(),
    );
    let mut client = Client::connect(gate.address()).await;
    for (sent, expected) in [("/a/1?q=1", "/v2/a/1?q=1"), ("/b/1", "/v2/1"), ("/b", "/v2/"), ("/c/x?y", "/fixed?y")] {
        assert_eq!(client.get(sent).await.status(), 200);
        assert_eq!(backend.seen().last().unwrap().head.target(), expected, "{sent}");
    }
}

#[tokio::test]
async fn an_escaped_slash_is_refused_where_the_path_decides_something() {
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let route = |prefix: &str, rest: &str| {
        format!("[[routes]]\nprefix = \"{prefix}\"\nupstream = \"http://{address}\"\n{rest}\n")
    };
    let gate = Gate::start(
        &[
            route("/plain", ""),
            route("/strict", "encoded_slashes = \"reject\""),
            route("/strip", "strip_prefix = true"),
            route("/rewrite", "rewrite = \"/x{path}\""),
            route("/trusting", "strip_prefix = true\nencoded_slashes = \"allow\""),
        ]
        .concat(),
    );
    let mut client = Client::connect(gate.address()).await;
    for path in ["/strict/a%2Fb", "/strip/a%5cb", "/rewrite/a%252fb", "/strip/%25%32%66"] {
        let refused = client.get(path).await;
        assert_eq!(refused.refusal(), (400, "bad_request".into()), "{path}");
        assert!(refused.text().contains("encoded_slashes"), "{}", refused.text());
    }
    assert!(backend.seen().is_empty());
    for (path, seen) in
        [("/plain/a%2fb", "/plain/a%2Fb"), ("/trusting/a%2fb", "/a%2Fb"), ("/strict/a%20b", "/strict/a%20b")]
    {
        assert_eq!(client.get(path).await.status(), 200, "{path}");
        assert_eq!(backend.seen().last().unwrap().head.target(), seen);
    }
}
