//! Stale responses: served while they are asked for anew, or when that fails, and otherwise not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{gate, get_with, replying, response, status};
use crate::support::{Backend, Gate, eventually_some, get};

#[tokio::test]
async fn it_is_asked_for_anew_behind_the_clients_back_and_only_once() {
    let backend = super::counting("cache-control: max-age=0, stale-while-revalidate=60\r\n").await;
    let gate = gate(&backend, "true");
    assert_eq!(get(gate.address(), "/").await.text(), "1");
    let stale = get(gate.address(), "/").await;
    assert_eq!((stale.text(), status(&stale)), ("1".into(), "tollgate; hit".into()));
    eventually_some("the new one", async || {
        let answer = get_with(&gate, "/", "Cache-Control: only-if-cached, max-stale\r\n").await;
        (answer.text() != "1").then_some(())
    })
    .await;
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 0").await;
}

#[tokio::test]
async fn the_route_says_how_long_and_at_most() {
    let backend = super::counting("cache-control: max-age=0, stale-while-revalidate=60\r\n").await;
    let gate = gate(&backend, "{ stale_while_revalidate = \"0s\" }");
    for expected in ["1", "2"] {
        assert_eq!(get(gate.address(), "/").await.text(), expected);
    }
    let plain = super::counting("cache-control: max-age=0\r\n").await;
    let default = self::gate(&plain, "{ stale_while_revalidate = \"60s\" }");
    for expected in ["1", "1"] {
        assert_eq!(get(default.address(), "/").await.text(), expected);
    }
}

/// A backend that fails from the moment that it is told to, in this way.
async fn failing(control: &'static str, way: &'static str) -> (Backend, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let told = fails.clone();
    let backend = Backend::start(move |mut peer| {
        let fails = told.clone();
        async move {
            while peer.request().await.is_some() {
                match (fails.load(Ordering::SeqCst), way) {
                    (false, _) => peer.send(response(&format!("cache-control: {control}\r\n"), "good")).await,
                    (true, "reset") => return peer.reset(),
                    (true, "garbage") => peer.send("what?\r\n\r\n").await,
                    (true, status) => peer.send(format!("HTTP/1.1 {status} No\r\ncontent-length: 3\r\n\r\nbad")).await,
                }
            }
        }
    })
    .await;
    (backend, fails)
}

#[tokio::test]
async fn an_upstream_that_fails_is_covered_for_where_the_origin_allows_it() {
    for way in ["reset", "garbage", "500", "502", "503", "504"] {
        let (backend, fails) = failing("max-age=0, stale-if-error=60", way).await;
        let gate = gate(&backend, "true");
        get(gate.address(), "/").await;
        fails.store(true, Ordering::SeqCst);
        let covered = get(gate.address(), "/").await;
        assert_eq!((covered.status(), covered.text()), (200, "good".into()), "{way}");
        assert!(status(&covered).contains("fwd=stale; fwd-status=5"), "{way}: {}", status(&covered));
        assert_ne!(get_with(&gate, "/", "Cache-Control: max-age=60\r\n").await.status(), 200, "{way}");
    }
}

#[tokio::test]
async fn and_not_where_anything_speaks_against_it() {
    for (control, cache) in [
        ("max-age=0", "true"),
        ("max-age=0, stale-if-error=60, must-revalidate", "{ stale_if_error = \"1h\" }"),
        ("no-cache, stale-if-error=60", "{ stale_if_error = \"1h\" }"),
        ("s-maxage=0", "{ stale_if_error = \"1h\" }"),
        ("max-age=0, stale-if-error=60", "{ stale_if_error = \"0s\" }"),
    ] {
        let (backend, fails) = failing(control, "503").await;
        let gate = gate(&backend, cache);
        get(gate.address(), "/").await;
        fails.store(true, Ordering::SeqCst);
        assert_eq!(get(gate.address(), "/").await.status(), 503, "{control} {cache}");
    }
    let (backend, fails) = failing("max-age=0, stale-if-error=60", "404").await;
    let gate = gate(&backend, "true");
    get(gate.address(), "/").await;
    fails.store(true, Ordering::SeqCst);
    assert_eq!(get(gate.address(), "/").await.status(), 404, "an answer is no failure");
}

#[tokio::test]
async fn a_default_time_is_for_what_says_nothing_and_never_against_a_word() {
    let backend = replying(|seen, number| {
        let fields = match seen.head.target() {
            "/silent" => "",
            "/no-store" => "cache-control: no-store\r\n",
            "/private" => "cache-control: private\r\n",
            "/old" => "cache-control: max-age=0\r\n",
            "/cookie" => "set-cookie: a=b\r\n",
            _ => "cache-control: no-cache\r\n",
        };
        response(fields, &number.to_string())
    });
    let backend = backend.await;
    let gate = Gate::before(&backend, "cache = { ttl = \"60s\" }\n");
    for (target, kept) in [
        ("/silent", true),
        ("/no-store", false),
        ("/private", false),
        ("/old", false),
        ("/cookie", false),
        ("/no-cache", false),
    ] {
        let (first, second) = (get(gate.address(), target).await.text(), get(gate.address(), target).await.text());
        assert_eq!(first == second, kept, "{target}");
    }
}
