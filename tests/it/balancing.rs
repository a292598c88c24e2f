//! Every request is balanced over every address, for one client on one connection too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use http::Version;
use tollgate::base::clock;
use tollgate::lab::hello::BACKEND;

use crate::support::eventually;
use crate::support::load::{Client, Load, ask};
use crate::support::town::{Container, Town};

type Hits = BTreeMap<String, u64>;

/// Asks over one connection, and counts who answered.
async fn over_one_connection(address: SocketAddr, version: Version, path: &str, requests: u64) -> Hits {
    let mut client = Client::new(address, version);
    let mut hits = Hits::new();
    for _ in 0..requests {
        let answer = client.ask(path).await.unwrap();
        assert!(answer.status.is_success(), "{answer:?}");
        *hits.entry(answer.backend).or_default() += 1;
    }
    hits
}

/// Asks over a connection for each request, and counts who answered.
async fn over_a_connection_each(address: SocketAddr, path: &str, requests: u64) -> Hits {
    let mut hits = Hits::new();
    for _ in 0..requests {
        let answer = ask(address, path).await;
        *hits.entry(answer.backend).or_default() += 1;
    }
    hits
}

/// Fails unless each of `addresses` backends was hit as often as the others, give or take one.
fn assert_even(hits: &Hits, addresses: usize, what: &str) {
    let counts: Vec<u64> = hits.values().copied().collect();
    let missing = addresses - counts.len();
    let least = if missing > 0 { 0 } else { counts.iter().copied().min().unwrap() };
    assert!(counts.iter().max().unwrap() - least <= 1, "{what}: {hits:?}");
}

async fn containers(town: &Town, count: u8) -> Vec<Container> {
    join_all((1..=count).map(|last| town.start("app", last))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_client_reaches_every_address_equally_however_it_connects() {
    let town = Town::new().await;
    let _containers = containers(&town, 8).await;
    let mut routes = String::new();
    for size in 1..=8 {
        town.publish(&format!("n{size}.test"), &(1..=size).collect::<Vec<_>>());
        routes += &town.route(&format!("n{size}"));
    }
    for workers in [1, 2] {
        let gate = town.gate(&format!("{routes}\n[server]\nworkers = {workers}"));
        for size in 1..=8u8 {
            let path = format!("/n{size}/");
            for requests in [1, 2, 7, 16, 29] {
                let what = |how: &str| format!("{requests} requests over {size} addresses, {workers} workers, {how}");
                let hits = over_one_connection(gate.address(), Version::HTTP_11, &path, requests).await;
                assert_even(&hits, size.into(), &what("http/1.1"));
                let hits = over_one_connection(gate.address(), Version::HTTP_2, &path, requests).await;
                assert_even(&hits, size.into(), &what("h2"));
                let hits = over_a_connection_each(gate.address(), &path, requests).await;
                assert_even(&hits, size.into(), &what("a connection each"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_two_workers_share_one_turn() {
    let town = Town::new().await;
    let _containers = containers(&town, 3).await;
    town.publish("app.test", &[1, 2, 3]);
    let gate = town.gate(&format!("{}\n[server]\nworkers = 2", town.route("app")));
    let clients = (0..6).map(|_| over_one_connection(gate.address(), Version::HTTP_11, "/app/", 41));
    let mut all = Hits::new();
    for hits in join_all(clients).await {
        for (name, count) in hits {
            *all.entry(name).or_default() += count;
        }
    }
    assert_eq!(all.values().copied().collect::<Vec<_>>(), [82, 82, 82], "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_shares() {
    let town = Town::new().await;
    let _containers = containers(&town, 3).await;
    let [a, b, c] = [1, 2, 3].map(|last| town.socket(last));
    let gate = town.gate(&format!(
        "[upstreams.app]\naddresses = [{{ address = \"{a}\", weight = 5 }}, \"{b}\", \"{c}\"]\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"app\""
    ));
    let hits = over_one_connection(gate.address(), Version::HTTP_11, "/", 70).await;
    assert_eq!(hits.values().copied().collect::<Vec<_>>(), [50, 10, 10], "{hits:?}");
}

/// Answers like any other, but late.
fn slow(name: &'static str) -> Router {
    Router::new().fallback(move || async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        [(BACKEND, name)]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_backend_is_avoided_by_those_who_look_and_not_by_round_robin() {
    let town = Town::new().await;
    let _quick = containers(&town, 2).await;
    let _slow = town.start_with(slow("slow"), 3).await;
    town.publish("app.test", &[1, 2, 3]);
    let upstream = |balance: &str| {
        let port = town.port;
        format!(
            "[upstreams.app]\ndns = \"app.test.:{port}\"\nbalance = \"{balance}\"\n\
             [[routes]]\nprefix = \"/\"\nupstream = \"app\""
        )
    };
    let share = async |balance: &str| {
        let gate = town.gate(&upstream(balance));
        let load = Load::start(gate.address(), "/", 6);
        load.goes_on(300).await;
        let seen = load.stop().await;
        assert_eq!(seen.bad, 0, "{seen:?}");
        assert_eq!(seen.backends.len(), 3, "{seen:?}");
        seen.backends["slow"] as f64 / seen.good as f64
    };
    let even = share("round_robin").await;
    assert!((0.3..0.37).contains(&even), "round robin gave it {even}");
    for method in ["least_request", "peak_ewma"] {
        let share = share(method).await;
        assert!(share < 0.1, "{method} gave it {share}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peak_ewma_avoids_a_slow_or_failing_backend_for_a_lone_client_too() {
    let town = Town::new().await;
    let _quick = containers(&town, 2).await;
    let _slow = town.start_with(slow("slow"), 3).await;
    let _failing = town.start_with(failing(), 4).await;
    let port = town.port;
    for (name, last) in [("slow", 3), ("failing", 4)] {
        town.publish("app.test", &[1, 2, last]);
        let gate = town.gate(&format!(
            "[upstreams.app]\ndns = \"app.test.:{port}\"\nbalance = \"peak_ewma\"\n\
             retry.attempts = 0\neject.max_share = 0\n\
             [[routes]]\nprefix = \"/\"\nupstream = \"app\""
        ));
        let mut client = Client::new(gate.address(), Version::HTTP_11);
        let mut hits = Hits::new();
        for _ in 0..200 {
            *hits.entry(client.ask("/").await.unwrap().backend).or_default() += 1;
        }
        // It is asked to find out, and perhaps when a quick one was slow once on a busy machine.
        assert!(hits.len() == 3 && hits[name] < 20, "{hits:?}");
    }
}

/// Fails, and faster than anybody works.
fn failing() -> Router {
    Router::new().fallback(async || (http::StatusCode::SERVICE_UNAVAILABLE, [(BACKEND, "failing")]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_gets_its_share_little_by_little() {
    const WHOLE: Duration = Duration::from_secs(4);
    let town = Town::new().await;
    let _containers = containers(&town, 3).await;
    town.publish("app.test", &[1, 2]);
    let port = town.port;
    let gate = town.gate(&format!(
        "[upstreams.app]\ndns = \"app.test.:{port}\"\nslow_start = \"4s\"\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"app\""
    ));
    let hits = over_one_connection(gate.address(), Version::HTTP_11, "/", 40).await;
    assert!(hits.len() == 2 && hits.values().all(|&count| count > 8), "those that begin together share: {hits:?}");
    let began = clock::now();
    eventually("the two are warm", || began.elapsed() > WHOLE).await;
    let came = clock::now();
    town.publish("app.test", &[1, 2, 3]);
    town.noticed(&["app.test"]).await;
    let hits = over_one_connection(gate.address(), Version::HTTP_11, "/", 60).await;
    let warmth = came.elapsed().div_duration_f64(WHOLE).min(1.0);
    let new = format!("app@{}", town.address(3));
    let (got, most) = (hits.get(&new).copied().unwrap_or(0) as f64, 60.0 * warmth / (2.0 + warmth));
    assert!(got <= most + 8.0, "{got} of 60 at a warmth of {warmth}");
    eventually("the third is warm", || came.elapsed() > WHOLE * 2).await;
    let hits = over_one_connection(gate.address(), Version::HTTP_11, "/", 60).await;
    assert_eq!(hits.values().copied().collect::<Vec<_>>(), [20, 20, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_reaches_every_address() {
    let town = Town::new().await;
    let _containers = containers(&town, 3).await;
    town.publish("app.test", &[1, 2, 3]);
    let port = town.port;
    let gate = town.gate(&format!(
        "[upstreams.app]\ndns = \"app.test.:{port}\"\nbalance = \"random\"\n[[routes]]\nprefix = \"/\"\nupstream = \"app\""
    ));
    let hits = over_one_connection(gate.address(), Version::HTTP_11, "/", 150).await;
    assert!(hits.len() == 3 && hits.values().all(|&count| count > 15), "{hits:?}");
}
