//! DNS that is down for long or from the start, that knows a name late, or answers nonsense: the gateway's side of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::rr::RecordType::{A, AAAA};
use http::Version;
use tollgate::base::clock;
use tollgate::lab::dns::{Behaviour, NameServer};

use crate::support::load::{Client, Load, ask};
use crate::support::town::{TTL, Town};
use crate::support::{Gate, eventually, eventually_async};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_refreshes_without_dns_lose_nothing_whatever_it_says() {
    const REFRESH: Duration = Duration::from_millis(50);
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    town.publish("app.test", &[1, 2]);
    let gate = town.gate_asking("refresh = \"50ms\"\nmin_refresh = \"20ms\"\ntimeout = \"100ms\"", &town.route("app"));
    let load = Load::start(gate.address(), "/app/", 2);
    load.goes_on(20).await;
    let behaviours = [
        Behaviour::Silence,
        Behaviour::ServFail,
        Behaviour::Truncate,
        Behaviour::NxDomain,
        Behaviour::Empty,
        Behaviour::WrongName("other.test".to_owned()),
        Behaviour::Garbage,
    ];
    for behaviour in behaviours {
        town.names.behave("app.test", &behaviour);
        let (began, asked) = (clock::now(), town.names.queries("app.test", A));
        let lasts = || began.elapsed() > REFRESH * 20 && town.names.queries("app.test", A) > asked + 5;
        eventually(&format!("{behaviour:?} lasts"), lasts).await;
        load.goes_on(10).await;
        town.names.behave("app.test", &Behaviour::Normal);
        town.noticed(&["app.test"]).await;
    }
    let seen = load.stop().await;
    seen.assert_only("app");
    assert_eq!(seen.backends.len(), 2, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_begins_within_five_seconds_of_the_return_of_dns() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    town.names.set_silent(true);
    let gate = town.gate_asking("timeout = \"300ms\"", &town.route("app"));
    let asked = || town.names.queries("app.test", A);
    eventually("several lookups fail", || asked() >= 5).await;
    let ready = ask(gate.admin(), "/readyz").await;
    assert!(ready.status == 503 && ready.body.contains("app.test"), "{ready:?}");
    town.names.set_silent(false);
    let back = clock::now();
    let answer = Client::new(gate.address(), Version::HTTP_11).ask("/app/").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(ask(gate.admin(), "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_known_at_the_start_gets_the_benefit_of_the_doubt() {
    for unknown in [Behaviour::NxDomain, Behaviour::Empty] {
        let town = Town::new().await;
        let _container = town.start("app", 1).await;
        town.publish("app.test", &[1]);
        town.names.behave("app.test", &unknown);
        // Asked for at long intervals only; requests that wait for it make it more.
        let gate = town.gate_asking("refresh = \"1h\"\nmin_refresh = \"200ms\"", &town.route("app"));
        let asked = || town.names.queries("app.test", A);
        eventually("it is asked for", || asked() > 0).await;
        assert_eq!(ask(gate.admin(), "/readyz").await.status, 503, "not ready while in doubt");
        let mut client = Client::new(gate.address(), Version::HTTP_11);
        let appears = async {
            eventually("it is asked for again", || asked() > 2).await;
            town.names.behave("app.test", &Behaviour::Normal);
        };
        let (answer, ()) = tokio::join!(client.ask("/app/"), appears);
        assert_eq!(answer.unwrap().status, 200, "{unknown:?}");
        assert_eq!(ask(gate.admin(), "/readyz").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_stays_unknown_is_refused_after_a_few_seconds_and_then_at_once() {
    let town = Town::new().await;
    let gate = town.gate(&town.route("nobody"));
    let began = clock::now();
    let answer = ask(gate.address(), "/nobody/").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let waited = began.elapsed();
    assert!(waited > Duration::from_secs(4) && waited < Duration::from_secs(15), "{waited:?}");
    assert_eq!(ask(gate.admin(), "/readyz").await.status, 200, "one name must not take the gateway away");
    let began = clock::now();
    assert_eq!(ask(gate.address(), "/nobody/").await.status, 503);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_first_server_does_not_slow_every_lookup() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let silent = NameServer::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    silent.set("app.test", [town.address(9)], TTL);
    silent.set_silent(true);
    let servers = format!("[dns]\nservers = [\"{}\", \"{}\"]\n", silent.local_addr(), town.names.local_addr());
    let timing = "family = \"v4\"\nrefresh = \"50ms\"\nmin_refresh = \"20ms\"\ntimeout = \"400ms\"\n";
    let gate = Gate::start(&format!("{servers}{timing}{}", town.route("app")));
    assert_eq!(ask(gate.address(), "/app/").await.status, 200);
    let good = || town.names.queries("app.test", A);
    eventually("the second server is asked without the first", || good() > silent.queries("app.test", A) + 10).await;
    // Where it speaks again it has the first word again, after its time of grace.
    silent.set("app.test", [town.address(1)], TTL);
    silent.set_silent(false);
    let before = silent.queries("app.test", A);
    eventually("the first server is asked again", || silent.queries("app.test", A) > before + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_of_nothing_costs_two_queries_a_second_and_one_of_68_years_pins_nothing() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    let server = town.names.local_addr();
    let defaults = format!("[dns]\nservers = [\"{server}\"]\n{}", town.route("app"));
    town.names.set("app.test", [town.address(1)], 0);
    let gate = Gate::start(&defaults);
    let asked = || town.names.queries("app.test", A) + town.names.queries("app.test", AAAA);
    eventually("the first answers", || asked() >= 2).await;
    let (began, before) = (clock::now(), asked());
    eventually("three more rounds", || asked() >= before + 6).await;
    assert!(began.elapsed() > Duration::from_millis(2500), "six queries in {:?}", began.elapsed());
    town.names.set("app.test", [town.address(1)], 1 << 31);
    town.noticed(&["app.test"]).await;
    town.names.set("app.test", [town.address(2)], 1 << 31);
    let moved = format!("app@{}", town.address(2));
    eventually_async("the other address", async || ask(gate.address(), "/app/").await.backend == moved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_nobody_can_have_and_doubles_are_dropped_and_a_thousand_are_capped() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    let odd = ["0.0.0.0", "255.255.255.255", "224.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
    town.names.set("app.test", [odd.to_vec(), vec![town.address(1); 3]].concat(), TTL);
    let gate = town.gate(&town.route("app"));
    let mut client = Client::new(gate.address(), Version::HTTP_11);
    for _ in 0..10 {
        assert_eq!(client.ask("/app/").await.unwrap().status, 200);
    }
    let addresses = async || {
        let status: serde_json::Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
        let list = status["upstreams"][0]["addresses"].as_array().unwrap().clone();
        list.iter().filter(|one| one["state"] != "draining").count()
    };
    assert_eq!(addresses().await, 1);
    let many: Vec<IpAddr> = (0..1000u32).map(|n| IpAddr::from((0x7f47_0000 + n).to_be_bytes())).collect();
    town.names.set("app.test", many, TTL);
    eventually_async("256 of a thousand", async || addresses().await == 256).await;
    town.publish("app.test", &[1]);
    eventually_async("one again", async || addresses().await == 1).await;
    assert_eq!(client.ask("/app/").await.unwrap().status, 200);
}
