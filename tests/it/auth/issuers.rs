//! Issuers that are away, slow, broken or hostile: what was known goes on for its time, and what is not known is nobody's
//! fault but theirs.

use std::time::Duration;

use serde_json::json;

use super::Guarded;
use crate::support::issuer::{Issuer, Manner, answer};
use crate::support::tokens::{Signer, jwks};
use crate::support::{eventually_async, eventually_some};

/// Tokens of an issuer that is asked often.
async fn guarded(issuer: &Issuer, more: &str) -> Guarded {
    let auth = format!(
        "jwks_url = '{}'\nallow_http = true\njwks_refresh = '100ms'\njwks_cooldown = '100ms'\n{more}",
        issuer.url()
    );
    Guarded::with(tempfile::tempdir().unwrap(), &auth, "'main'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_waits_for_the_keys() {
    let signer = Signer::es256("k");
    let issuer = Issuer::of(&[&signer]).await;
    let guarded = guarded(&issuer, "").await;
    assert_eq!(guarded.bearer(&signer.good("a")).await.status(), 200);
    assert!(issuer.asked() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_it_is_503_until_there_are_some() {
    let signer = Signer::es256("k");
    for manner in [Manner::Dead, Manner::Silent, Manner::Says(answer("", "{}"))] {
        let issuer = Issuer::behaving(manner).await;
        let guarded = guarded(&issuer, "").await;
        let token = signer.good("a");
        for _ in 0..2 {
            let answer = guarded.bearer(&token).await;
            assert_eq!(answer.refusal(), (503, "keys_unavailable".to_owned()));
            let after: u64 = answer.head.get("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&after), "{after}");
        }
        // One who has no token is told so all the same.
        assert_eq!(guarded.ask("").await.refusal(), (401, "token_missing".to_owned()));
        issuer.publish(&[&signer]);
        eventually_async("keys", async || guarded.bearer(&token).await.status() == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_keys_go_on_whatever_the_issuer_says() {
    let signer = Signer::es256("k");
    let issuer = Issuer::of(&[&signer]).await;
    let guarded = guarded(&issuer, "").await;
    let known = signer.good("a");
    assert_eq!(guarded.bearer(&known).await.status(), 200);
    let evil = Issuer::of(&[&Signer::es256("k")]).await;
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\ncontent-length: 0\r\n\r\n", evil.url());
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(2 << 20));
    let secret = jwks(&[&Signer::hs256(&[7; 32])]);
    let crowd = jwks(&vec![&signer; 101]);
    for (manner, word) in [
        (Manner::Says(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec()), "status"),
        (Manner::Says(answer("", "<html>")), "content"),
        (Manner::Says(answer("", "{\"keys\":[]}")), "content"),
        (Manner::Says(answer("", &secret)), "content"),
        (Manner::Says(answer("", &crowd)), "content"),
        (Manner::Says(answer("", &huge)), "too_large"),
        (Manner::Says(moved.into_bytes()), "redirect"),
        (Manner::Says(b"SSH-2.0-x\r\n\r\n".to_vec()), "protocol"),
        (Manner::Silent, "timeout"),
        (Manner::Dead, "protocol"),
    ] {
        let line = format!("tollgate_jwks_refreshes_total{{auth=\"main\",result=\"{word}\"}} ");
        let count = async || {
            let page = guarded.gate.metrics().await;
            page.lines().find_map(|known| known.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or_default()
        };
        let before = count().await;
        issuer.now(manner);
        eventually_async(word, async || count().await > before).await;
        assert_eq!(guarded.bearer(&known).await.status(), 200, "{word}");
        assert_eq!(guarded.bearer(&signer.good("b")).await.status(), 200, "{word}");
    }
    assert_eq!(evil.asked(), 0, "a redirect to another host was followed");
    let page = guarded.gate.metrics().await;
    assert!(page.contains("tollgate_jwks_age_seconds{auth=\"main\"}"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_too_old_are_no_keys() {
    let signer = Signer::es256("k");
    let issuer = Issuer::of(&[&signer]).await;
    let guarded = guarded(&issuer, "jwks_max_stale = '3s'\n").await;
    let known = signer.good("a");
    assert_eq!(guarded.bearer(&known).await.status(), 200);
    issuer.now(Manner::Dead);
    // Never a 401, and in the end no pass, not even for a token that was known.
    let ended = async || match guarded.bearer(&known).await {
        answer if answer.status() == 200 => None,
        answer => Some(answer.refusal()),
    };
    assert_eq!(eventually_some("the end of the keys", ended).await, (503, "keys_unavailable".to_owned()));
    issuer.publish(&[&signer]);
    eventually_async("keys again", async || guarded.bearer(&known).await.status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_about_the_issuer_that_was_asked() {
    let signer = Signer::es256("k");
    let issuer = Issuer::behaving(Manner::Dead).await;
    let document = |name: &str| {
        let body = json!({"issuer": name, "jwks_uri": format!("{}/keys/now", issuer.name())});
        ("/.well-known/openid-configuration".to_owned(), answer("", &body.to_string()))
    };
    let moved = b"HTTP/1.1 307 Moved\r\nLocation: /keys/really\r\ncontent-length: 0\r\n\r\n".to_vec();
    let keys = [
        ("/keys/now".to_owned(), moved),
        ("/keys/really".to_owned(), answer("cache-control: max-age=300\r\n", &jwks(&[&signer]))),
    ];
    let auth = format!("issuer = '{}'\ndiscovery = true\nallow_http = true\njwks_refresh = '100ms'\n", issuer.name());
    issuer.now(Manner::Knows([&[document("https://evil.example")][..], &keys].concat()));
    let guarded = Guarded::with(tempfile::tempdir().unwrap(), &auth, "'main'").await;
    let token = signer.token(&json!({"iss": issuer.name(), "exp": crate::support::tokens::now() + 60}));
    assert_eq!(guarded.bearer(&token).await.refusal(), (503, "keys_unavailable".to_owned()));
    issuer.now(Manner::Knows([&[document(&issuer.name())][..], &keys].concat()));
    eventually_async("keys", async || guarded.bearer(&token).await.status() == 200).await;
    let other = signer.token(&json!({"iss": "https://evil.example", "exp": crate::support::tokens::now() + 60}));
    assert_eq!(guarded.bearer(&other).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_before_a_restart_is_known_after() {
    let signer = Signer::es256("k");
    let issuer = Issuer::of(&[&signer]).await;
    let kept = tempfile::tempdir().unwrap();
    let auth = format!("cache_dir = {:?}\n", kept.path().join("keys"));
    let first = guarded(&issuer, &auth).await;
    assert_eq!(first.bearer(&signer.good("a")).await.status(), 200);
    let file = kept.path().join("keys/main.jwks.json");
    eventually_async("the file", async || file.exists()).await;
    let gate = first.gate;
    tokio::task::spawn_blocking(move || gate.shutdown()).await.unwrap();
    issuer.now(Manner::Dead);
    let second = guarded(&issuer, &auth).await;
    assert_eq!(second.bearer(&signer.good("a")).await.status(), 200);
    // Of another issuer it says nothing.
    let other = Issuer::behaving(Manner::Dead).await;
    let third = guarded(&other, &auth).await;
    assert_eq!(third.bearer(&signer.good("a")).await.status(), 503);
    // And what was broken meanwhile is worth nothing.
    std::fs::write(&file, "{").unwrap();
    let fourth = guarded(&issuer, &auth).await;
    assert_eq!(fourth.bearer(&signer.good("a")).await.status(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_keys_waits_no_longer_than_the_route_allows() {
    let issuer = Issuer::behaving(Manner::Silent).await;
    let backend = crate::support::Backend::answering(crate::support::OK).await;
    let gate = crate::support::Gate::before(
        &backend,
        &format!("auth = 'main'\ntimeout = '50ms'\n[auth.main]\njwks_url = '{}'\nallow_http = true\n", issuer.url()),
    );
    let token = Signer::es256("k").good("a");
    let request = format!("GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\n\r\n");
    let asking = crate::support::ask(gate.address(), request);
    // Well below the two seconds that it would wait otherwise.
    let answer = tokio::time::timeout(Duration::from_millis(1900), asking).await.expect("an answer in time");
    assert_eq!(answer.refusal(), (503, "keys_unavailable".to_owned()));
}
