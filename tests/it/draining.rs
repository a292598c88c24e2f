//! An operator takes an address out of service, and back.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::client::Answer;
use crate::support::load::{Load, ask as fetch};
use crate::support::scrape::scrape;
use crate::support::town::Town;
use crate::support::{Client, Gate, ask, eventually, eventually_async};

const ROUTE: &str = "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n";

/// Asks the operators' listener for a change, with these header lines.
async fn post(admin: SocketAddr, path: &str, fields: &str) -> Answer {
    ask(admin, format!("POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n{fields}\r\n")).await
}

fn path(upstream: &str, address: SocketAddr, what: &str) -> String {
    format!("/api/v1/upstreams/{upstream}/addresses/{address}/{what}")
}

async fn seen(gate: &Gate, address: SocketAddr) -> Value {
    let status: Value = serde_json::from_str(&fetch(gate.admin(), "/api/v1/status").await.body).unwrap();
    let addresses = status["upstreams"][0]["addresses"].as_array().unwrap().clone();
    addresses.into_iter().find(|one| one["address"] == address.to_string()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_address_finishes_and_gets_nothing_more_until_it_is_taken_back() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    town.publish("app.test", &[1, 2]);
    let port = town.port;
    let gate = town.gate(&format!("{ROUTE}[upstreams.app]\ndns = \"app.test.:{port}\"\n"));
    let one = town.socket(1);
    let load = Load::start(gate.address(), "/", 2);
    // Something that is under way when the address is drained.
    let mut slow = [Client::connect(gate.address()).await, Client::connect(gate.address()).await];
    for client in &mut slow {
        client.send("GET /delay/1500 HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    }
    load.goes_on(50).await;
    let drained = post(gate.admin(), &path("app", one, "drain"), "").await;
    assert_eq!(drained.status(), 200, "{drained:?}");
    let told: Value = serde_json::from_slice(&drained.content.bytes).unwrap();
    assert_eq!((&told["upstream"], &told["state"]), (&"app".into(), &"draining".into()), "{told}");
    assert_eq!(told["address"], one.to_string());
    for client in &mut slow {
        assert_eq!(client.answer().await.unwrap().status(), 200);
    }
    eventually_async("its connections are closed", async || seen(&gate, one).await["connections"] == 0).await;
    let before = seen(&gate, one).await["requests"].clone();
    town.noticed(&["app.test"]).await;
    load.goes_on(100).await;
    let now = seen(&gate, one).await;
    assert_eq!((&now["requests"], &now["state"]), (&before, &"draining".into()), "{now}");
    assert!(now["why"].as_str().unwrap().contains("operator"), "{now}");
    let page = scrape(gate.admin()).await;
    let count = |state| page.value("tollgate_upstream_endpoints", &[("state", state)]);
    assert_eq!((count("draining"), count("healthy")), (Some(1.0), Some(1.0)));
    assert_eq!(page.labels("tollgate_endpoint_requests_total", "address").len(), 2, "it has not left");
    // Twice is as good as once.
    assert_eq!(post(gate.admin(), &path("app", one, "drain"), "").await.status(), 200);
    assert_eq!(post(gate.admin(), &path("app", one, "undrain"), "").await.status(), 200);
    let stamp = format!("app@{}", one.ip());
    let used = load.seen().backends[&stamp];
    eventually("it is used again", || load.seen().backends[&stamp] > used).await;
    load.stop().await.assert_only("app");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_drained_there_is_nobody_to_ask() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    let one = town.socket(1);
    let gate = Gate::start(&format!("{ROUTE}[upstreams.app]\naddresses = [\"{one}\"]\n"));
    assert_eq!(post(gate.admin(), &path("app", one, "drain"), "").await.status(), 200);
    assert_eq!(
        ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await.refusal(),
        (503, "no_endpoints".into())
    );
    assert_eq!(post(gate.admin(), &path("app", one, "undrain"), "").await.status(), 200);
    assert_eq!(fetch(gate.address(), "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_said_to_be_so() {
    let gate = Gate::start(&format!("{ROUTE}[upstreams.app]\naddresses = [\"127.0.0.1:9\", \"[::1]:9\"]\n"));
    let refusal = async |path: &str| {
        let answer = post(gate.admin(), path, "").await;
        (answer.refusal(), answer.text())
    };
    let (known, text) = refusal("/api/v1/upstreams/orders/addresses/127.0.0.1:9/drain").await;
    assert_eq!(known, (404, "unknown_upstream".into()));
    assert!(text.contains("`orders`") && text.contains("there are: app"), "{text}");
    for address in ["127.0.0.1:10", "127.0.0.2:9", "localhost:9", "127.0.0.1", "x"] {
        let (known, text) = refusal(&format!("/api/v1/upstreams/app/addresses/{address}/drain")).await;
        assert_eq!(known, (404, "unknown_address".into()));
        assert!(text.contains(&format!("`{address}`")), "{text}");
    }
    for written in ["[::1]:9", "%5B::1%5D:9", "127.0.0.1%3A9"] {
        let path = format!("/api/v1/upstreams/app/addresses/{written}/drain");
        assert_eq!(post(gate.admin(), &path, "").await.status(), 200, "{written}");
    }
    let got = fetch(gate.admin(), "/api/v1/upstreams/app/addresses/127.0.0.1:9/undrain").await;
    assert_eq!(got.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_the_token_where_there_is_one() {
    let upstream = format!("{ROUTE}[upstreams.app]\naddresses = [\"127.0.0.1:9\"]\n");
    let drain = "/api/v1/upstreams/app/addresses/127.0.0.1:9/drain";
    let gate = Gate::start(&format!("[admin]\ntoken = \"hunter2\"\n{upstream}"));
    let missing = post(gate.admin(), drain, "").await;
    assert_eq!(missing.refusal(), (401, "token_missing".into()));
    assert_eq!(missing.head.get("www-authenticate"), Some("Bearer realm=\"tollgate\""));
    for wrong in ["hunter3", "hunter", "hunter22"] {
        let refused = post(gate.admin(), drain, &format!("Authorization: Bearer {wrong}\r\n")).await;
        assert_eq!(refused.refusal(), (401, "token_invalid".into()), "{wrong}");
        assert!(refused.head.get("www-authenticate").unwrap().contains("invalid_token"));
    }
    // Nothing is told to whoever may not ask.
    let unknown = "/api/v1/upstreams/nobody/addresses/x/drain";
    assert_eq!(post(gate.admin(), unknown, "").await.status(), 401);
    assert_eq!(seen(&gate, SocketAddr::from(([127, 0, 0, 1], 9))).await["state"], "healthy");
    assert_eq!(post(gate.admin(), drain, "Authorization: Bearer hunter2\r\n").await.status(), 200);
    // What changes nothing is free.
    assert_eq!(fetch(gate.admin(), "/api/v1/status").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_neither_the_network_nor_a_web_page_changes_anything() {
    let upstream = format!("{ROUTE}[upstreams.app]\naddresses = [\"127.0.0.1:9\"]\n");
    let drain = "/api/v1/upstreams/app/addresses/127.0.0.1:9/drain";
    let open = Gate::start(&format!("[admin]\nlisten = \"0.0.0.0:0\"\n{upstream}"));
    let here = SocketAddr::from(([127, 0, 0, 1], open.admin().port()));
    for fields in ["", "Authorization: Bearer \r\n", "Authorization: Bearer x\r\n"] {
        assert_eq!(post(here, drain, fields).await.refusal(), (403, "no_token".into()), "{fields}");
    }
    let local = Gate::start(&upstream);
    let page = post(local.admin(), drain, "Origin: http://evil.example\r\n").await;
    assert_eq!(page.refusal(), (403, "web_page".into()));
    assert_eq!(post(local.admin(), drain, "").await.status(), 200);
}
