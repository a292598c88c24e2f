//! DNS that fails, lies or blinks: traffic goes on as long as it can, and no request ever waits for a lookup that it does
//! not need.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::RecordType::A;
use http::Version;
use tollgate::base::clock;
use tollgate::lab::dns::{Behaviour, NameServer};

use crate::support::load::{Answer, Client, Load, ask};
use crate::support::scrape::scrape;
use crate::support::town::{TTL, Town};
use crate::support::{Gate, eventually, eventually_async};

async fn dns(gate: &Gate) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
    status["upstreams"][0]["dns"].clone()
}

async fn is_in_state(gate: &Gate, state: &str) {
    eventually_async(&format!("the name is {state}"), async || dns(gate).await["state"] == state).await;
}

/// Fails unless the answer is the refusal for want of an address.
fn assert_no_endpoints(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["code"], "no_endpoints", "{answer:?}");
    let retry: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(retry >= 1, "{answer:?}");
}

async fn answers(gate: &Gate, status: u16) {
    eventually_async(&format!("it answers {status}"), async || ask(gate.address(), "/app/").await.status == status)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_dns_does_not_touch_the_traffic() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    town.publish("app.test", &[1, 2]);
    let gate = town.gate(&town.route("app"));
    let load = Load::start(gate.address(), "/app/", 2);
    for outage in [Behaviour::Silence, Behaviour::ServFail, Behaviour::Refused, Behaviour::Garbage] {
        load.goes_on(20).await;
        let failed = async || dns(&gate).await["lookups_failed"].as_u64().unwrap();
        let before = failed().await;
        town.names.behave("app.test", &outage);
        eventually_async("many refreshes fail", async || failed().await > before + 6).await;
        assert_eq!(dns(&gate).await["state"], "stale");
        town.names.behave("app.test", &Behaviour::Normal);
        is_in_state(&gate, "fresh").await;
    }
    load.stop().await.assert_only("app");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_lookup_once_there_are_addresses() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let lookups_hang = "refresh = \"100ms\"\nmin_refresh = \"20ms\"\ntimeout = \"1h\"";
    let gate = town.gate_asking(lookups_hang, &town.route("app"));
    answers(&gate, 200).await;
    town.names.set_silent(true);
    let asked = town.names.queries("app.test", A);
    eventually("a lookup hangs", || town.names.queries("app.test", A) > asked).await;
    let load = Load::start(gate.address(), "/app/", 2);
    load.goes_on(300).await;
    let seen = load.stop().await;
    seen.assert_only("app");
    assert!(seen.slowest < Duration::from_secs(5), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_too_old_are_not_used_any_more() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let gate =
        town.gate_asking("refresh = \"100ms\"\nmin_refresh = \"20ms\"\nmax_stale = \"500ms\"", &town.route("app"));
    answers(&gate, 200).await;
    town.names.behave("app.test", &Behaviour::ServFail);
    answers(&gate, 503).await;
    assert_no_endpoints(&ask(gate.address(), "/app/").await);
    let age = |page: &crate::support::scrape::Page| page.value("tollgate_dns_answer_age_seconds", &[]).unwrap();
    let before = age(&scrape(gate.admin()).await);
    eventually_async("the age of the last answer still grows", async || age(&scrape(gate.admin()).await) > before)
        .await;
    town.names.behave("app.test", &Behaviour::Normal);
    answers(&gate, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_gone_is_held_then_refused_and_taken_back_at_once() {
    for gone in [Behaviour::NxDomain, Behaviour::Empty] {
        let town = Town::new().await;
        let _container = town.start("app", 1).await;
        town.publish("app.test", &[1]);
        let gate =
            town.gate_asking("refresh = \"100ms\"\nmin_refresh = \"20ms\"\nhold_empty = \"2s\"", &town.route("app"));
        answers(&gate, 200).await;
        town.names.behave("app.test", &gone);
        is_in_state(&gate, "holding").await;
        assert_eq!(ask(gate.address(), "/app/").await.status, 200, "{gone:?} is held");
        answers(&gate, 503).await;
        is_in_state(&gate, "empty").await;
        let began = clock::now();
        assert_no_endpoints(&ask(gate.address(), "/app/").await);
        assert!(began.elapsed() < Duration::from_secs(5), "a refusal does not wait");
        town.names.behave("app.test", &Behaviour::Normal);
        answers(&gate, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_starts_without_dns_and_says_that_it_is_not_ready() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    town.names.set_silent(true);
    let port = town.port;
    let quick = format!(
        "[[routes]]\nprefix = \"/quick\"\ntimeout = \"300ms\"\nupstream = \"http://app.test.:{port}\"\n{}",
        town.route("app")
    );
    let gate = town.gate(&quick);
    let ready = ask(gate.admin(), "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("no DNS answer yet") && ready.body.contains("app.test"), "{}", ready.body);
    assert_eq!(ask(gate.admin(), "/livez").await.status, 200);
    let began = clock::now();
    assert_no_endpoints(&ask(gate.address(), "/quick").await);
    assert!(began.elapsed() >= Duration::from_millis(250), "it did not wait: {:?}", began.elapsed());
    // A request with time left passes when DNS comes up.
    let mut client = Client::new(gate.address(), Version::HTTP_11);
    let asked = town.names.queries("app.test", A);
    let comes_up = async {
        eventually("more lookups", || town.names.queries("app.test", A) > asked + 2).await;
        town.names.set_silent(false);
    };
    let (answer, ()) = tokio::join!(client.ask("/app/"), comes_up);
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(ask(gate.admin(), "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_is_followed_evenly_and_without_loss() {
    let town = Town::new().await;
    let mut containers = std::collections::BTreeMap::new();
    let gate = town.gate(&town.route("app"));
    let mut load = None;
    for size in [3u8, 10, 1, 3] {
        let missing = (1..=size).filter(|last| !containers.contains_key(last));
        for last in missing.collect::<Vec<_>>() {
            containers.insert(last, town.start("app", last).await);
        }
        town.publish("app.test", &(1..=size).collect::<Vec<_>>());
        town.noticed(&["app.test"]).await;
        for (_, gone) in containers.split_off(&(size + 1)) {
            gone.stop().await;
        }
        let load = load.get_or_insert_with(|| Load::start(gate.address(), "/app/", 2));
        let before = load.seen();
        load.goes_on(60).await;
        let seen = load.seen();
        let more: Vec<u64> = seen
            .backends
            .iter()
            .map(|(name, count)| count - before.backends.get(name).unwrap_or(&0))
            .filter(|more| *more > 0)
            .collect();
        // Two clients are under way while this looks, so each count may be off by one more.
        assert_eq!(more.len(), usize::from(size), "{more:?}");
        assert!(more.iter().max().unwrap() - more.iter().min().unwrap() <= 4, "{size}: {more:?}");
    }
    load.unwrap().stop().await.assert_only("app");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_flap_lose_nothing_and_leave_the_metrics_valid() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    town.publish("app.test", &[1, 2]);
    let [one, two] = [1, 2].map(|last| town.address(last));
    let lists = vec![vec![one], vec![two], vec![one, two]];
    let gate = town.gate(&town.route("app"));
    // Something that keeps the addresses busy when they leave, so that they are draining when they are back.
    let slow = Load::start(gate.address(), "/app/delay/400", 4);
    let load = Load::start(gate.address(), "/app/", 2);
    load.goes_on(20).await;
    town.names.behave("app.test", &Behaviour::Flap(lists));
    let asked = town.names.queries("app.test", A);
    let (mut scrapes, mut draining) = (0, false);
    eventually_async("it has flapped for long", async || {
        let page = scrape(gate.admin()).await;
        draining |= page.value("tollgate_upstream_endpoints", &[("state", "draining")]) > Some(0.0);
        scrapes += 1;
        draining && scrapes > 20 && town.names.queries("app.test", A) > asked + 15
    })
    .await;
    load.stop().await.assert_only("app");
    slow.stop().await.assert_only("app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_connection_makes_it_ask_again_at_once() {
    let town = Town::new().await;
    let old = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let gate = town.gate_asking("refresh = \"1h\"\nmin_refresh = \"50ms\"", &town.route("app"));
    answers(&gate, 200).await;
    let _new = town.start("app", 2).await;
    town.publish("app.test", &[2]);
    drop(old);
    answers(&gate, 200).await;
    let page = scrape(gate.admin()).await;
    assert_eq!(page.value("tollgate_dns_lookups_total", &[("result", "ok")]), Some(2.0));
}

#[tokio::test]
async fn the_status_advises_against_a_virtual_ip() {
    let docker = NameServer::bind(SocketAddr::from(([127, 0, 0, 11], 0))).await.unwrap();
    let task = |last: u8| IpAddr::from([127, 0, 2, last]);
    docker.set("app", [task(1)], TTL);
    docker.set("tasks.app", [task(2), task(3)], TTL);
    let gate = Gate::start(&format!(
        "[dns]\nservers = [\"{}\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"http://app.:80\"",
        docker.local_addr()
    ));
    eventually_async("advice", async || {
        let advice = dns(&gate).await["advice"].as_str().unwrap_or_default().to_owned();
        advice.contains("virtual IP") && advice.contains("use tasks.app")
    })
    .await;
}
