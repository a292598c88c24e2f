//! Another configuration while it serves: nothing that is under way is touched, what has been learned lives on, and a
//! configuration that cannot be taken changes nothing.

use std::time::Duration;

use http::Version;
use tokio::sync::oneshot;

use crate::support::crowd::Size;
use crate::support::load::{Client as Caller, ask};
use crate::support::storm::Storm;
use crate::support::town::Town;
use crate::support::{Backend, Client, Gate, OK, eventually, eventually_async, get};

mod files;
mod keys;

/// A gateway's own account of itself.
async fn status(gate: &Gate) -> serde_json::Value {
    serde_json::from_str(&get(gate.admin(), "/api/v1/status").await.text()).unwrap()
}

/// The configuration of one route over a fixed list.
fn fixed(addresses: &[std::net::SocketAddr], more: &str) -> String {
    let list: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    let list = list.join(", ");
    format!(
        "[upstreams.app]\naddresses = [{list}]\n{more}\n[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_a_second_close_nothing_and_fail_nothing() {
    let crowd = Size { websockets: 50, streams: 20, uploads: 10 };
    let storm = Storm { crowd, requests: 200, reloads: 100, duration: Duration::from_secs(4) };
    let weathered = storm.run().await;
    assert!(weathered.reloads >= 50 && weathered.requests >= 100 && weathered.heard >= 80, "{weathered:?}");
    assert!(weathered.p99 < Duration::from_secs(2), "{weathered:?}");
    let (early, late) = weathered.memory;
    assert!(late < early + (24 << 20), "{weathered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_keeps_its_state_and_its_connections() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::start(&fixed(&[backend.address()], ""));
    let mut client = Client::connect(gate.address()).await;
    for round in 1..=5_u64 {
        assert_eq!(client.get("/").await.status(), 200);
        let verdict = gate.reload(&fixed(&[backend.address()], &format!("max_idle = {}", 10 + round))).await;
        assert!(verdict.is_ok(), "{verdict:?}");
        assert_eq!(status(&gate).await["upstreams"][0]["addresses"][0]["requests"], round);
    }
    assert_eq!(backend.connections(), 1, "the connection was kept");
    gate.counted("tollgate_requests_total{route=\"app\",method=\"GET\",status=\"200\"} 5").await;
    gate.counted("tollgate_config_reloads_total{result=\"ok\"} 5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_stay_are_kept_and_those_that_left_are_drained() {
    let (stays, leaves, comes) =
        (Backend::answering(OK).await, Backend::answering(OK).await, Backend::answering(OK).await);
    let gate = Gate::start(&fixed(&[stays.address(), leaves.address()], ""));
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    assert_eq!((stays.seen().len(), leaves.seen().len()), (2, 2));
    gate.reload(&fixed(&[stays.address(), comes.address()], "")).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!((stays.seen().len(), leaves.seen().len(), comes.seen().len()), (4, 2, 2));
    assert_eq!(stays.connections(), 1, "the connection was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_end_on_the_configuration_that_they_began_with() {
    let (go, mut gone) = (tokio::sync::watch::Sender::new(false), Vec::new());
    let wait = go.subscribe();
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while let Some(seen) = peer.request().await {
                if seen.head.target() == "/slow" {
                    let _ = wait.wait_for(|go| *go).await;
                }
                peer.send(OK).await;
            }
        }
    })
    .await;
    let gate = Gate::start(&fixed(&[backend.address()], ""));
    let address = gate.address();
    let mut old = Client::connect(address).await;
    assert_eq!(old.get("/").await.status(), 200);
    for _ in 0..3 {
        gone.push(tokio::spawn(async move { get(address, "/slow").await.status() }));
    }
    eventually("they are under way", || backend.seen().len() == 4).await;
    // The route, the upstream and the patience are gone, and the address with them.
    let verdict = gate.reload("[[routes]]\nname = \"new\"\nprefix = \"/new\"\nupstream = \"http://127.0.0.1:9\"").await;
    assert!(verdict.is_ok(), "{verdict:?}");
    assert_eq!(old.get("/").await.status(), 404, "a connection from before, a request from after");
    go.send_replace(true);
    for asked in gone {
        assert_eq!(asked.await.unwrap(), 200);
    }
    let names = status(&gate).await;
    assert_eq!((&names["routes"], names["upstreams"].as_array().unwrap().len()), (&serde_json::json!(["new"]), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_shortened_does_not_cut_what_began_under_a_longer_one() {
    let (go, wait) = oneshot::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    let backend = Backend::start(move |mut peer| {
        let wait = wait.lock().unwrap().take();
        async move {
            peer.request().await;
            match wait {
                Some(wait) => drop(wait.await),
                None => std::future::pending().await,
            }
            peer.send(OK).await;
        }
    })
    .await;
    let gate = Gate::start(&fixed(&[backend.address()], "response_timeout = \"60s\""));
    let address = gate.address();
    let first = tokio::spawn(async move { get(address, "/").await.status() });
    eventually("it is under way", || backend.seen().len() == 1).await;
    gate.reload(&fixed(&[backend.address()], "response_timeout = \"50ms\"")).await;
    assert_eq!(get(address, "/").await.status(), 504, "the new limit");
    assert!(!first.is_finished());
    go.send(()).unwrap();
    assert_eq!(first.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_is_waited_for_and_addresses_that_both_have_are_kept() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await, town.start("app", 3).await);
    town.publish("one.test", &[1, 2]);
    let text = |name: &str| {
        let (server, port) = (town.names.local_addr(), town.port);
        format!(
            "[dns]\nservers = [\"{server}\"]\nfamily = \"v4\"\nrefresh = \"100ms\"\nmin_refresh = \"20ms\"\n\
             timeout = \"500ms\"\n[upstreams.app]\ndns = \"{name}.test.:{port}\"\n[[routes]]\nprefix = \"/\"\nupstream = \"app\""
        )
    };
    let gate = Gate::start(&text("one"));
    let mut client = Caller::new(gate.address(), Version::HTTP_11);
    for _ in 0..4 {
        assert_eq!(client.ask("/").await.unwrap().status, 200);
    }
    town.names.behave("two.test", &tollgate::lab::dns::Behaviour::Silence);
    town.publish("two.test", &[2, 3]);
    assert!(gate.reload(&text("two")).await.is_ok());
    let address = gate.address();
    let waiting = tokio::spawn(async move { ask(address, "/").await });
    eventually_async("the new name is asked for", async || {
        town.names.queries("two.test", hickory_proto::rr::RecordType::A) > 0
    })
    .await;
    assert!(!waiting.is_finished(), "the addresses of the old name are no answer to the new one");
    assert_eq!(get(gate.admin(), "/readyz").await.status(), 200, "a name that a reload brings is not waited for");
    town.names.behave("two.test", &tollgate::lab::dns::Behaviour::Normal);
    assert_eq!(waiting.await.unwrap().status, 200);
    let seen = status(&gate).await;
    let of = |last: u8| {
        let addresses = seen["upstreams"][0]["addresses"].as_array().unwrap();
        let socket = town.socket(last).to_string();
        let found = addresses.iter().find(|one| one["address"] == socket && one["state"] != "draining");
        found.map(|one| one["requests"].as_u64().unwrap())
    };
    assert!(of(1).is_none(), "{seen}");
    assert!(of(2).is_some_and(|requests| requests >= 2), "it was counted under the old name: {seen}");
    assert!(of(3).is_some_and(|requests| requests <= 1), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let backend = Backend::answering(OK).await;
    let base = fixed(&[backend.address()], "");
    let gate = Gate::start(&format!("[server]\nworkers = 1\n{base}"));
    let other = "[server]\nworkers = 2\nmax_connections = 1\nlisten = [\"127.0.0.2:0\"]\n[log]\nformat = \"text\"\nlevel = \"warn\"\n";
    let verdict = gate.reload(&format!("{other}{base}")).await;
    let told = serde_json::to_value(&*verdict).unwrap();
    assert_eq!(told["result"], "ok", "{told}");
    assert_eq!(told["needs_restart"], serde_json::json!(["log.format", "server.listen", "server.workers"]), "{told}");
    assert_eq!(told["settings"], serde_json::json!(["log.level", "server.max_connections"]), "{told}");
    let mut first = Client::connect(gate.address()).await;
    assert_eq!(first.get("/").await.status(), 200);
    assert_eq!(get(gate.address(), "/").await.status(), 503, "there is room for one");
    gate.reload(&format!("[server]\nworkers = 1\nmax_connections = 2\n{base}")).await;
    assert_eq!(get(gate.address(), "/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_connections_count_from_the_next_connection_on() {
    let backend = Backend::replying(|seen| {
        let from = seen.head.all("x-forwarded-for").join(", ");
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{from}", from.len())
    })
    .await;
    let base = fixed(&[backend.address()], "");
    let gate = Gate::start(&base);
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.7\r\n\r\n";
    let mut before = Client::connect(gate.address()).await;
    assert_eq!(before.ask(request).await.text(), "127.0.0.1");
    gate.reload(&format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{base}")).await;
    let mut after = Client::connect(gate.address()).await;
    assert_eq!(after.ask(request).await.text(), "192.0.2.7, 127.0.0.1");
    assert_eq!(before.ask(request).await.text(), "127.0.0.1", "it goes on as it began");
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_follow_the_new_settings_and_what_is_known_stays_known() {
    let (town, other) = (Town::new().await, Town::new().await);
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let text = |server: std::net::SocketAddr| {
        format!(
            "[dns]\nservers = [\"{server}\"]\nfamily = \"v4\"\nrefresh = \"100ms\"\nmin_refresh = \"20ms\"\ntimeout = \"100ms\"\n{}",
            town.route("app")
        )
    };
    let gate = Gate::start(&text(town.names.local_addr()));
    assert_eq!(ask(gate.address(), "/app/").await.status, 200);
    other.names.behave("app.test", &tollgate::lab::dns::Behaviour::ServFail);
    let verdict = gate.reload(&text(other.names.local_addr())).await;
    assert_eq!(serde_json::to_value(&*verdict).unwrap()["settings"], serde_json::json!(["dns.servers"]));
    eventually_async("the other server is asked", async || {
        status(&gate).await["upstreams"][0]["dns"]["state"] == "stale"
    })
    .await;
    assert_eq!(ask(gate.address(), "/app/").await.status, 200, "the last good answer still serves");
    gate.reload(&text(town.names.local_addr())).await;
    eventually_async("it is well again", async || status(&gate).await["upstreams"][0]["dns"]["state"] == "fresh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_service_stays_out() {
    let (one, other) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let list = [one.address(), other.address()];
    let gate = Gate::start(&fixed(&list, "[upstreams.app.eject]\nfailures = 3"));
    let path = format!("/api/v1/upstreams/app/addresses/{}/drain", one.address());
    let drained = crate::support::ask(gate.admin(), format!("POST {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
    assert_eq!(drained.status(), 200, "{drained:?}");
    let before = status(&gate).await["upstreams"][0]["addresses"][0].clone();
    assert!(gate.reload(&fixed(&list, "max_idle = 5\n[upstreams.app.eject]\nfailures = 4")).await.is_ok());
    assert_eq!(status(&gate).await["upstreams"][0]["addresses"][0]["state"], before["state"]);
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!((one.seen().len(), other.seen().len()), (0, 4));
}
