//! Active checks: who is asked, how, and what follows from the answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use http::StatusCode;
use serde_json::Value;
use tollgate::lab::hello;

use crate::support::load::{Load, ask};
use crate::support::scrape::scrape;
use crate::support::town::{Container, Town};
use crate::support::{Backend, Gate, OK, eventually, eventually_async, get};

/// What a container answers its checks with, changed as it runs; 0 is never.
type Health = Arc<AtomicU16>;

/// A container that answers requests, and checks at `/health` with what `status` says.
async fn container(town: &Town, last: u8, status: u16) -> (Container, Health) {
    let health = Arc::new(AtomicU16::new(status));
    let asked = health.clone();
    let answer = move || {
        let status = asked.load(Ordering::SeqCst);
        async move {
            if status == 0 {
                std::future::pending::<()>().await;
            }
            StatusCode::from_u16(status).unwrap()
        }
    };
    let router = hello::router(&format!("app@{}", town.address(last))).route("/health", axum::routing::get(answer));
    (town.start_with(router, last).await, health)
}

/// A gateway before `app.test`, whose checks are quick.
fn gate(town: &Town, checks: &str) -> Gate {
    let port = town.port;
    town.gate(&format!(
        "[[routes]]\nprefix = \"/app\"\nstrip_prefix = true\nupstream = \"app\"\n\
         [upstreams.app]\ndns = \"app.test.:{port}\"\n\
         [upstreams.app.health]\npath = \"/health\"\ninterval = \"50ms\"\n{checks}\n"
    ))
}

async fn seen(gate: &Gate, address: SocketAddr) -> Value {
    let status: Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
    let addresses = status["upstreams"][0]["addresses"].as_array().unwrap().clone();
    addresses.into_iter().find(|one| one["address"] == address.to_string()).unwrap_or_default()
}

async fn is(gate: &Gate, address: SocketAddr, state: &str) -> Value {
    eventually_async(&format!("{address} is {state}"), async || seen(gate, address).await["state"] == state).await;
    seen(gate, address).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_gets_requests_after_its_first_good_check() {
    let town = Town::new().await;
    let (_one, _) = container(&town, 1, 200).await;
    town.publish("app.test", &[1]);
    let gate = gate(&town, "timeout = \"1h\"");
    let load = Load::start(gate.address(), "/app/", 2);
    load.goes_on(50).await;
    for first in [0, 503] {
        let last = if first == 0 { 2 } else { 3 };
        let (started, health) = container(&town, last, first).await;
        town.publish("app.test", &[1, last]);
        let state = is(&gate, town.socket(last), if first == 0 { "checking" } else { "unhealthy" }).await;
        assert_eq!(state["requests"], 0);
        let page = scrape(gate.admin()).await;
        assert_eq!(
            page.value("tollgate_upstream_endpoints", &[("state", state["state"].as_str().unwrap())]),
            Some(1.0)
        );
        load.goes_on(100).await;
        assert_eq!(seen(&gate, town.socket(last)).await["requests"], 0);
        health.store(200, Ordering::SeqCst);
        if first == 0 {
            continue; // its check hangs
        }
        is(&gate, town.socket(last), "healthy").await;
        let stamp = format!("app@{}", town.address(last));
        eventually("it is used", || load.seen().backends.contains_key(&stamp)).await;
        drop(started);
    }
    drop(gate);
    drop(load);
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_hold_both_ways_and_lose_no_request() {
    let town = Town::new().await;
    let (_one, _) = container(&town, 1, 200).await;
    let (_two, health) = container(&town, 2, 204).await;
    town.publish("app.test", &[1, 2]);
    let gate = gate(&town, "expect = [200, 204]\nhealthy = 3\nunhealthy = 2");
    let load = Load::start(gate.address(), "/app/", 2);
    is(&gate, town.socket(2), "healthy").await;
    for bad in [500, 302, 200] {
        health.store(bad, Ordering::SeqCst);
        if bad == 200 {
            assert_eq!(is(&gate, town.socket(2), "healthy").await.get("why"), None);
            continue;
        }
        let out = is(&gate, town.socket(2), "unhealthy").await;
        assert!(out["why"].as_str().unwrap().contains(&format!("answered {bad}")), "{out}");
        // What was picked before may still be counted.
        load.goes_on(20).await;
        let before = seen(&gate, town.socket(2)).await["requests"].clone();
        load.goes_on(100).await;
        assert_eq!(seen(&gate, town.socket(2)).await["requests"], before);
        health.store(204, Ordering::SeqCst);
        is(&gate, town.socket(2), "healthy").await;
        load.goes_on(50).await;
        assert!(seen(&gate, town.socket(2)).await["requests"].as_u64() > before.as_u64());
    }
    load.stop().await.assert_only("app");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_first_check_and_bad_checks_everywhere_stop_nothing() {
    let town = Town::new().await;
    let (_one, one) = container(&town, 1, 0).await;
    town.publish("app.test", &[1]);
    let gate = gate(&town, "timeout = \"1s\"\nunhealthy = 1");
    is(&gate, town.socket(1), "checking").await;
    let ready = ask(gate.admin(), "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("no checked address yet"), "{}", ready.body);
    // Until the check has timed out; then there is nobody better.
    assert_eq!(ask(gate.address(), "/app/").await.status, 200);
    assert!(is(&gate, town.socket(1), "unhealthy").await["why"].as_str().unwrap().contains("no answer within 1s"));
    assert_eq!(ask(gate.admin(), "/readyz").await.status, 200);
    one.store(200, Ordering::SeqCst);
    is(&gate, town.socket(1), "healthy").await;
    one.store(500, Ordering::SeqCst);
    is(&gate, town.socket(1), "unhealthy").await;
    assert_eq!(ask(gate.address(), "/app/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_come_over_connections_of_their_own_and_say_who_asks() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before_upstream(
        &backend,
        "host_header = \"app.internal\"\n[upstreams.app.health]\npath = \"/up?from=gate\"\ninterval = \"20ms\"\n",
    );
    assert_eq!(get(gate.address(), "/request").await.status(), 200);
    eventually("several checks", || backend.seen().len() > 6).await;
    let seen = backend.seen();
    let (checks, requests): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.head.line.contains("/up"));
    let connections: BTreeSet<usize> = checks.iter().map(|check| check.connection).collect();
    assert_eq!(connections.len(), checks.len(), "one each");
    assert!(requests.iter().all(|request| !connections.contains(&request.connection)));
    for check in checks {
        assert_eq!(check.head.line, "GET /up?from=gate HTTP/1.1");
        assert_eq!(check.head.get("host"), Some("app.internal"));
        assert_eq!(check.head.get("connection"), Some("close"));
        assert!(check.head.get("user-agent").unwrap().contains("health check"), "{check:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_upstream_thinks_of_an_address_is_not_what_another_thinks() {
    let backend = Backend::replying(|seen| {
        if seen.head.line.contains("/bad") { "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" } else { OK }
    })
    .await;
    let address = backend.address();
    let upstream = |name: &str| {
        format!(
            "[[routes]]\nprefix = \"/{name}\"\nupstream = \"{name}\"\n[upstreams.{name}]\n\
             addresses = [\"{address}\"]\nhealth = {{ path = \"/{name}\", interval = \"20ms\" }}\n"
        )
    };
    let gate = Gate::start(&(upstream("bad") + &upstream("good")));
    let states = async || {
        let status: Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
        [0, 1].map(|number| status["upstreams"][number]["addresses"][0]["state"].as_str().unwrap().to_owned())
    };
    eventually_async("each has its own", async || states().await == ["unhealthy", "healthy"]).await;
}
