//! Upstreams that are services: SRV records say ports, priorities and weights, and lead to names with addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hickory_proto::rr::RecordType::{A, SRV};
use http::Version;
use tollgate::lab::dns::{Behaviour, Service};

use crate::support::load::{Client, Load, ask};
use crate::support::town::{TTL, Town};
use crate::support::{Backend, Gate, eventually, eventually_async};

const NAME: &str = "_http._tcp.app.test";
const OK: &str = "HTTP/1.1 200 OK\r\nx-backend: odd@port\r\ncontent-length: 0\r\n\r\n";

/// A record for the target with this number.
fn record(town: &Town, priority: u16, weight: u16, target: u8) -> Service {
    Service { priority, weight, port: town.port, target: target_name(target) }
}

fn target_name(target: u8) -> String {
    format!("t{target}.test")
}

/// Says that the service has these records.
fn announce(town: &Town, services: impl Into<Vec<Service>>) {
    town.names.set_services(NAME, services, TTL);
}

/// A gateway in front of the service.
fn gate(town: &Town, dns: &str) -> Gate {
    let quick = format!("refresh = \"100ms\"\nmin_refresh = \"20ms\"\ntimeout = \"100ms\"\n{dns}");
    let text = format!("[upstreams.app]\nsrv = \"{NAME}.\"\n[[routes]]\nprefix = \"/\"\nupstream = \"app\"");
    town.gate_asking(&quick, &text)
}

async fn hits(gate: &Gate, requests: u64) -> BTreeMap<String, u64> {
    let mut client = Client::new(gate.address(), Version::HTTP_11);
    let mut hits = BTreeMap::new();
    for _ in 0..requests {
        let answer = client.ask("/").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        *hits.entry(answer.backend).or_default() += 1;
    }
    hits
}

async fn srv(gate: &Gate) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
    status["upstreams"][0]["srv"].clone()
}

/// Waits until only these answer.
async fn serve(gate: &Gate, stamps: &[String]) {
    eventually_async(&format!("{stamps:?} serve"), async || {
        hits(gate, 12).await.into_keys().collect::<Vec<_>>() == stamps
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_ports_are_those_of_the_records() {
    let town = Town::new().await;
    let _running = (town.start("app", 1).await, town.start("app", 2).await);
    let odd = Backend::on(Ipv4Addr::new(127, 0, 0, 1), |mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(OK).await;
        }
    })
    .await;
    town.publish(&target_name(1), &[1, 2]);
    town.names.set(&target_name(3), [odd.address().ip()], TTL);
    let elsewhere = Service { priority: 0, weight: 1, port: odd.address().port(), target: target_name(3) };
    announce(&town, [record(&town, 0, 4, 1), elsewhere]);
    let gate = gate(&town, "");
    // The record with four fifths of the weight has two addresses, which share them.
    serve(
        &gate,
        &[
            "app@".to_owned() + &town.address(1).to_string(),
            "app@".to_owned() + &town.address(2).to_string(),
            "odd@port".to_owned(),
        ],
    )
    .await;
    let hits = hits(&gate, 50).await;
    assert_eq!(hits.values().copied().collect::<Vec<_>>(), [20, 20, 10], "{hits:?}");
    let srv = srv(&gate).await;
    assert_eq!(srv["records"].as_array().unwrap().len(), 2, "{srv}");
    assert_eq!(srv["targets"].as_array().unwrap().len(), 2, "{srv}");
    assert_eq!((&srv["state"], &srv["ttl_seconds"]), (&"fresh".into(), &TTL.into()), "{srv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_priority_serves_while_the_first_cannot() {
    let town = Town::new().await;
    let first = town.start("first", 1).await;
    let _second = town.start("second", 2).await;
    town.publish(&target_name(1), &[1]);
    town.publish(&target_name(2), &[2]);
    announce(&town, [record(&town, 10, 0, 1), record(&town, 20, 60_000, 2)]);
    let gate = gate(&town, "");
    let (one, two) = (format!("first@{}", town.address(1)), format!("second@{}", town.address(2)));
    serve(&gate, std::slice::from_ref(&one)).await;
    // It stops without a word to DNS: connections that cannot be made go to the next.
    first.stop().await;
    assert_eq!(hits(&gate, 10).await.into_keys().collect::<Vec<_>>(), std::slice::from_ref(&two));
    let _back = town.start("first", 1).await;
    serve(&gate, std::slice::from_ref(&one)).await;
    // Its record goes, and comes again.
    announce(&town, [record(&town, 20, 0, 2)]);
    serve(&gate, &[two]).await;
    announce(&town, [record(&town, 10, 0, 1), record(&town, 20, 0, 2)]);
    serve(&gate, &[one]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_targets_change_under_load_and_nothing_is_lost() {
    let town = Town::new().await;
    let mut running = Vec::new();
    for last in 1..=4 {
        running.push(town.start("app", last).await);
    }
    town.publish(&target_name(1), &[1]);
    town.publish(&target_name(2), &[2]);
    announce(&town, [record(&town, 0, 1, 1)]);
    let gate = gate(&town, "");
    let stamp = |last: u8| format!("app@{}", town.address(last));
    serve(&gate, &[stamp(1)]).await;
    let load = Load::start(gate.address(), "/", 3);
    // Another target, which is slow to be known: the old one serves until it is.
    town.names.behave(&target_name(2), &Behaviour::ServFail);
    announce(&town, [record(&town, 0, 1, 2)]);
    let asked = town.names.queries(&target_name(2), A);
    eventually("the new target is asked for", || town.names.queries(&target_name(2), A) > asked + 3).await;
    serve(&gate, &[stamp(1)]).await;
    town.names.behave(&target_name(2), &Behaviour::Normal);
    serve(&gate, &[stamp(2)]).await;
    // The target moves, then gets another address.
    town.publish(&target_name(2), &[3]);
    serve(&gate, &[stamp(3)]).await;
    town.publish(&target_name(2), &[3, 4]);
    serve(&gate, &[stamp(3), stamp(4)]).await;
    load.goes_on(20).await;
    load.stop().await.assert_only("app");
    let srv = srv(&gate).await;
    assert_eq!(srv["targets"].as_array().unwrap().len(), 1, "what nothing leads to is not followed: {srv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_stale_and_away_like_a_name() {
    let town = Town::new().await;
    let _running = town.start("app", 1).await;
    town.publish(&target_name(1), &[1]);
    announce(&town, [record(&town, 0, 1, 1)]);
    let gate = gate(&town, "hold_empty = \"1s\"");
    let is = async |state: &str| eventually_async(state, async || srv(&gate).await["state"] == state).await;
    is("fresh").await;
    serve(&gate, &[format!("app@{}", town.address(1))]).await;
    let load = Load::start(gate.address(), "/", 2);
    for outage in [Behaviour::Silence, Behaviour::ServFail, Behaviour::Garbage] {
        town.names.behave(NAME, &outage);
        town.names.behave(&target_name(1), &outage);
        let failed = async || srv(&gate).await["lookups_failed"].as_u64().unwrap();
        let before = failed().await;
        eventually_async("lookups fail", async || failed().await > before + 4).await;
        is("stale").await;
        load.goes_on(10).await;
        town.names.behave(NAME, &Behaviour::Normal);
        town.names.behave(&target_name(1), &Behaviour::Normal);
        is("fresh").await;
    }
    town.names.behave(NAME, &Behaviour::NxDomain);
    is("holding").await;
    load.goes_on(10).await;
    load.stop().await.assert_only("app");
    is("empty").await;
    assert_eq!(ask(gate.address(), "/").await.status, 503);
    town.names.behave(NAME, &Behaviour::Normal);
    eventually_async("it is back", async || ask(gate.address(), "/").await.status == 200).await;
    // `.` says that there is no such service here (RFC 2782).
    announce(&town, [Service { priority: 0, weight: 0, port: town.port, target: ".".to_owned() }]);
    eventually_async("it is gone", async || ask(gate.address(), "/").await.status == 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_known_yet_is_waited_for() {
    let town = Town::new().await;
    let _running = town.start("app", 1).await;
    let gate = gate(&town, "");
    let mut client = Client::new(gate.address(), Version::HTTP_11);
    let asked = town.names.queries(NAME, SRV);
    let comes_up = async {
        eventually("lookups", || town.names.queries(NAME, SRV) > asked + 1).await;
        announce(&town, [record(&town, 0, 1, 1)]);
        town.publish(&target_name(1), &[1]);
    };
    let (answer, ()) = tokio::join!(client.ask("/"), comes_up);
    assert_eq!(answer.unwrap().status, 200);
}
