//! Passive health: an address whose requests fail is left out for a while, one request tries whether it is back, and
//! when none is well all are tried.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tollgate::base::clock;

use crate::support::load::{Load, ask};
use crate::support::scrape::scrape;
use crate::support::town::Town;
use crate::support::{Backend, Gate, eventually, eventually_async, get};

/// A gateway before these addresses, with keys of `[upstreams.app.eject]`, after those of `[upstreams.app]`.
fn gate(addresses: &[impl ToString], upstream: &str, eject: &str) -> Gate {
    let list: Vec<String> = addresses.iter().map(|address| format!("\"{}\"", address.to_string())).collect();
    Gate::start(&format!(
        "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n\
         [upstreams.app]\naddresses = [{}]\n{upstream}\n[upstreams.app.eject]\n{eject}\n",
        list.join(", ")
    ))
}

/// An address as operators see it; null if there is no such address.
async fn seen(gate: &Gate, address: SocketAddr) -> Value {
    let status: Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
    let addresses = status["upstreams"][0]["addresses"].as_array().unwrap().clone();
    addresses.into_iter().find(|one| one["address"] == address.to_string()).unwrap_or_default()
}

/// Waits until operators see the address in this state.
async fn is(gate: &Gate, address: SocketAddr, state: &str) -> Value {
    eventually_async(&format!("{address} is {state}"), async || seen(gate, address).await["state"] == state).await;
    seen(gate, address).await
}

async fn ejections(gate: &Gate) -> f64 {
    scrape(gate.admin()).await.value("tollgate_upstream_ejections_total", &[("upstream", "app")]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_killed_under_load_loses_no_request_and_is_taken_back() {
    let town = Town::new().await;
    let (_one, two) = (town.start("app", 1).await, town.start("app", 2).await);
    let _three = town.start("app", 3).await;
    let gate = gate(&[1, 2, 3].map(|last| town.socket(last)), "", "for = \"300ms\"");
    let load = Load::start(gate.address(), "/", 4);
    load.goes_on(200).await;
    drop(two);
    let out = is(&gate, town.socket(2), "ejected").await;
    assert!(out["why"].as_str().unwrap().starts_with("takes no connection"), "{out}");
    assert!(out["ejected_seconds"].as_f64().is_some(), "{out}");
    let page = scrape(gate.admin()).await;
    let count = |state| page.value("tollgate_upstream_endpoints", &[("upstream", "app"), ("state", state)]);
    assert_eq!((count("ejected"), count("healthy")), (Some(1.0), Some(2.0)));
    load.goes_on(300).await;
    eventually_async("it was tried again and ejected again", async || ejections(&gate).await >= 2.0).await;
    let _two = town.start("app", 2).await;
    let back = is(&gate, town.socket(2), "healthy").await;
    assert!(back.get("why").is_none() && back.get("ejected_seconds").is_none(), "{back}");
    load.goes_on(200).await;
    let seen = load.stop().await;
    seen.assert_only("app");
    assert_eq!(seen.backends.len(), 3, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_out_gets_nothing() {
    let bad = Backend::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let good = Backend::answering(crate::support::OK).await;
    let gate = gate(&[bad.address(), good.address()], "", "for = \"1h\"\nmax_for = \"1h\"");
    eventually_async("it is ejected", async || {
        get(gate.address(), "/").await;
        seen(&gate, bad.address()).await["state"] == "ejected"
    })
    .await;
    let before = bad.seen().len();
    assert_eq!(before, 3, "three in a row");
    for _ in 0..20 {
        assert_eq!(get(gate.address(), "/").await.status(), 200);
    }
    assert_eq!(bad.seen().len(), before);
    assert!(seen(&gate, bad.address()).await["why"].as_str().unwrap().contains("503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_url_that_fails_everywhere_ejects_nobody() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await, town.start("app", 3).await);
    let gate = gate(&[1, 2, 3].map(|last| town.socket(last)), "", "");
    let good = Load::start(gate.address(), "/", 3);
    good.goes_on(100).await;
    let bad = Load::start(gate.address(), "/status/503", 3);
    eventually("many fail", || bad.seen().bad > 2000).await;
    drop(bad);
    let seen = good.stop().await;
    seen.assert_only("app");
    // Where the machine stood still, an address has answered nothing for too long to be above suspicion.
    if seen.slowest < Duration::from_millis(700) {
        assert_eq!(ejections(&gate).await, 0.0, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_accepts_and_never_answers_is_found_out_long_before_a_try_ends() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    let silent = Backend::start(|mut peer| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let addresses = [silent.address(), town.socket(1), town.socket(2)];
    let gate = gate(&addresses, "response_timeout = \"1h\"", "for = \"1h\"\nmax_for = \"1h\"");
    // Clients that wait for one answer before they ask for the next.
    let stuck = Load::start(gate.address(), "/", 6);
    let out = is(&gate, silent.address(), "ejected").await;
    assert!(out["why"].as_str().unwrap().starts_with("answers nothing"), "{out}");
    let asked = silent.seen().len();
    assert!(asked <= 6, "{asked}");
    let load = Load::start(gate.address(), "/", 3);
    load.goes_on(200).await;
    load.stop().await.assert_only("app");
    assert_eq!(silent.seen().len(), asked);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_down_the_first_that_is_back_serves_at_once() {
    let town = Town::new().await;
    let sockets = [1, 2, 3].map(|last| town.socket(last));
    // Nothing but trying everybody can find out within the test that one is back.
    let gate = gate(&sockets, "retry = { attempts = 0 }", "for = \"1h\"\nmax_for = \"1h\"\nmax_share = 1.0");
    eventually_async("two are ejected", async || {
        assert_eq!(ask(gate.address(), "/").await.status, StatusCode::BAD_GATEWAY);
        ejections(&gate).await == 2.0
    })
    .await;
    for _ in 0..6 {
        assert_eq!(ask(gate.address(), "/").await.status, StatusCode::BAD_GATEWAY);
    }
    for last in [1, 2, 3] {
        let container = town.start("app", last).await;
        let began = clock::now();
        eventually_async("an answer", async || ask(gate.address(), "/").await.status == StatusCode::OK).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{last}: {:?}", began.elapsed());
        drop(container);
        // Until the one that was back is as bad as the others.
        let mut failed = 0;
        eventually_async("all are down again", async || {
            failed += u32::from(ask(gate.address(), "/").await.status == StatusCode::BAD_GATEWAY);
            failed > 12
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejection_outlasts_answers_of_dns_and_ends_with_the_address() {
    let town = Town::new().await;
    let _container = town.start("app", 2).await;
    town.publish("app.test", &[1, 2]);
    let port = town.port;
    let gate = town.gate(&format!(
        "[[routes]]\nprefix = \"/app\"\nupstream = \"app\"\n[upstreams.app]\ndns = \"app.test.:{port}\"\n\
         [upstreams.app.eject]\nfor = \"1h\"\nmax_for = \"1h\"\n"
    ));
    eventually_async("it is ejected", async || {
        assert_eq!(ask(gate.address(), "/app/").await.status, 200);
        seen(&gate, town.socket(1)).await["state"] == "ejected"
    })
    .await;
    town.noticed(&["app.test"]).await;
    assert_eq!(seen(&gate, town.socket(1)).await["state"], "ejected");
    town.publish("app.test", &[2]);
    eventually_async("it has left", async || seen(&gate, town.socket(1)).await.is_null()).await;
    town.publish("app.test", &[1, 2]);
    assert!(is(&gate, town.socket(1), "healthy").await.get("why").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_address_stays_whatever_it_does() {
    let town = Town::new().await;
    let socket = town.socket(1);
    let gate = gate(&[socket], "", "for = \"1h\"\nmax_for = \"1h\"\nmax_share = 1.0");
    for _ in 0..10 {
        assert_eq!(get(gate.address(), "/").await.refusal(), (502, "upstream_connect".into()));
    }
    let bad = seen(&gate, socket).await;
    assert_eq!((&bad["state"], &bad["failures"]), (&"healthy".into(), &10.into()));
    assert!(bad["why"].as_str().unwrap().contains("too many are left out"), "{bad}");
    let _container = town.start("app", 1).await;
    assert_eq!(get(gate.address(), "/").await.status(), 200);
    assert!(seen(&gate, socket).await.get("why").is_none());
}
