//! What others have stored must never be what an attacker has made of it: everything that is not in the key and that a
//! backend may answer by.

use super::{gate, get_with, replying, response, send};
use crate::support::{Client, Gate, ask, get};

/// A backend that answers by everything that it is sent, as careless ones do.
async fn gullible() -> crate::support::Backend {
    replying(|seen, number| {
        let told: Vec<String> = seen
            .head
            .names()
            .into_iter()
            .filter(|name| {
                name.starts_with("x-") && !matches!(*name, "x-request-id" | "x-forwarded-for" | "x-request-timeout")
            })
            .map(|name| format!("{name}={}", seen.head.all(name).join(",")))
            .collect();
        let body = format!("{} {} {}", seen.head.line, told.join(" "), String::from_utf8_lossy(&seen.content.bytes));
        response(&format!("cache-control: max-age=60\r\nx-number: {number}\r\n"), &body)
    })
    .await
}

#[tokio::test]
async fn fields_that_no_key_covers_neither_poison_nor_are_served() {
    let backend = gullible().await;
    let gate = gate(&backend, "true");
    for (number, field) in [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: evil",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: host=evil.example",
        "X_Forwarded_Host: evil.example",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "X_Original_Url: /evil",
        "X-HTTP-Method-Override: DELETE",
        "X-Host: evil.example",
        "X-Forwarded-Scheme: evil",
        "X-Forwarded-Port: 666",
        "X-Forwarded-Server: evil.example",
        "Front-End-Https: evil",
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{number}");
        get_with(&gate, &target, &format!("{field}\r\n")).await;
        let innocent = get(gate.address(), &target).await;
        assert!(
            !innocent.text().to_lowercase().contains("evil") && !innocent.text().contains("666"),
            "{field}: {}",
            innocent.text()
        );
        assert!(!innocent.text().contains("DELETE"), "{field}: {}", innocent.text());
    }
}

#[tokio::test]
async fn a_host_is_one_however_it_is_written_and_never_two() {
    let backend = gullible().await;
    let gate = gate(&backend, "true");
    let host = async |host: &str| {
        let answer = ask(gate.address(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        answer.head.get("x-number").unwrap_or("none").to_owned()
    };
    assert_eq!(host("shop.example").await, "1");
    assert_eq!(host("SHOP.Example.").await, "1");
    assert_eq!(host("shop.example:8080").await, "2");
    assert_eq!(host("shop.example.evil").await, "3");
    assert_eq!(host("shop.example").await, "1");
    let absolute = "GET http://Shop.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(ask(gate.address(), absolute).await.head.get("x-number"), Some("1"), "the target names the host");
}

#[tokio::test]
async fn a_get_with_a_body_passes_by_the_store() {
    let backend = gullible().await;
    let gate = gate(&backend, "true");
    for fat in [
        "GET / HTTP/1.1\r\nHost: gate\r\nContent-Length: 4\r\n\r\nevil",
        "GET / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    ] {
        let answer = ask(gate.address(), fat).await;
        assert_eq!(answer.head.get("cache-status"), Some("tollgate; fwd=bypass"), "{fat}");
        assert!(!get(gate.address(), "/").await.text().contains("evil"));
    }
}

#[tokio::test]
async fn crafted_fields_of_a_vary_are_never_taken_for_others() {
    let backend = replying(|seen, number| {
        let of = |name: &str| seen.head.all(name).join("+");
        response("cache-control: max-age=60\r\nvary: a, b\r\n", &format!("{number} a={} b={}", of("a"), of("b")))
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    let all = [
        "",
        "A: 1\r\n",
        "B: 1\r\n",
        "A: 1\r\nB: 2\r\n",
        "A: 1\\x002\r\n",
        "A: 1,b: 2\r\n",
        "A: 1\"\r\nB: \"2\r\n",
        "A: \"1\r\nB: 2\"\r\n",
        "A:\r\nB:\r\n",
        "A: 2\r\nB: 1\r\n",
    ];
    let mut first = Vec::new();
    for fields in all {
        first.push(get_with(&gate, "/", fields).await.text());
    }
    assert_eq!(backend.seen().len(), all.len(), "each has its own");
    for (fields, answer) in all.into_iter().zip(first) {
        assert_eq!(get_with(&gate, "/", fields).await.text(), answer, "{fields}");
    }
    assert_eq!(backend.seen().len(), all.len());
}

#[tokio::test]
async fn paths_are_keys_as_they_are_forwarded() {
    let backend = gullible().await;
    let gate = gate(&backend, "true");
    let number =
        async |target: &str| get(gate.address(), target).await.head.get("x-number").unwrap_or("none").to_owned();
    assert_eq!(number("/a/b?x=1&y=2").await, "1");
    assert_eq!(number("/a/./c/../b?x=1&y=2").await, "1", "the same path in another spelling");
    assert_eq!(number("/%61/b?x=1&y=2").await, "1");
    for (at, other) in ["/a/b?y=2&x=1", "/a/b?x=1&y=2&", "/a/b?X=1&y=2", "/a/b", "/A/b?x=1&y=2", "/a%2Fb?x=1&y=2"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(number(other).await, (at + 2).to_string(), "{other}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_tells_keys_apart_by_what_it_says() {
    let backend = gullible().await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"http://{address}\"\ncache = true\n"
    ));
    let with = async |field: &str| get_with(&gate, "/", &format!("{field}\r\n")).await.text();
    let plain = get(gate.address(), "/").await.text();
    assert!(with("X-Forwarded-Proto: https").await.contains("https"));
    assert!(with("X-Forwarded-Host: other.example").await.contains("other.example"));
    assert_eq!(get(gate.address(), "/").await.text(), plain);
    assert_eq!(with("X-Forwarded-For: 10.1.1.1").await, plain, "an address is nothing to answer by");
}

#[tokio::test]
async fn no_request_can_make_a_key_of_its_own_by_its_method_or_connection() {
    let backend = gullible().await;
    let gate = gate(&backend, "true");
    // `Connection` takes a field away behind the cache: it must not take away what the answer depends on unseen.
    get_with(&gate, "/", "Connection: x-user\r\nX-User: evil\r\n").await;
    assert!(!get(gate.address(), "/").await.text().contains("evil"));
    for method in ["OPTIONS", "TRACE", "PUT"] {
        send(&gate, method, "/", "Content-Length: 0\r\n").await;
        let innocent = get(gate.address(), "/").await;
        assert!(innocent.text().starts_with("GET "), "{}", innocent.text());
    }
    let mut client = Client::connect(gate.address()).await;
    client.send("GET /up HTTP/1.1\r\nHost: gate\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    client.answer().await.unwrap();
    assert_eq!(get(gate.address(), "/up").await.head.get("cache-status").map(|text| text.contains("hit")), Some(false));
}
