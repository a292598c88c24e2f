//! Containers are replaced under load, the way a platform does it: the new one listens before its address is published,
//! the old one's address leaves DNS first, the container stops after its grace, and only then the address may be
//! somebody else's. Answers live for 600 seconds, and no request is lost.

use crate::support::eventually;
use crate::support::load::{Load, Seen};
use crate::support::town::{Container, Town};

/// Starts two containers of `app`, replaces one after the other so often under load, each by one on another address.
/// `grace` is how the platform waits before it stops what it has unpublished.
async fn replace(town: &Town, route: &str, cycles: u8, grace: impl AsyncFn()) -> Seen {
    let mut running: Vec<(u8, Container)> = Vec::new();
    for last in [1, 2] {
        running.push((last, town.start("app", last).await));
    }
    let publish = |running: &[(u8, Container)]| {
        let lasts: Vec<u8> = running.iter().map(|(last, _)| *last).collect();
        town.publish("app.test", &lasts);
    };
    publish(&running);
    let gate = town.gate(route);
    let load = Load::start(gate.address(), "/app/", 4);
    load.goes_on(50).await;
    for cycle in 0..cycles {
        let last = 3 + cycle;
        running.push((last, town.start("app", last).await));
        let (_, old) = running.remove(0);
        publish(&running);
        grace().await;
        old.stop().await;
    }
    let before = load.seen();
    eventually("every new container is used, or requests fail", || {
        let now = load.seen();
        let stamps = running.iter().map(|(_, container)| format!("app@{}", container.address));
        now.bad > before.bad || stamps.into_iter().all(|stamp| now.backends.contains_key(&stamp))
    })
    .await;
    load.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_replacements_under_load_lose_no_request() {
    let town = Town::new().await;
    let seen = replace(&town, &town.route("app"), 20, async || {
        town.noticed(&["app.test"]).await;
    })
    .await;
    seen.assert_only("app");
    assert_eq!(seen.backends.len(), 22, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_replacements_lose_nothing_when_new_addresses_are_checked_first() {
    let town = Town::new().await;
    let route = format!(
        "[upstreams.app]\ndns = \"app.test.:{}\"\n\
         [upstreams.app.health]\npath = \"/\"\ninterval = \"100ms\"\ntimeout = \"1s\"\nhealthy = 1\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"app\"",
        town.port
    );
    let seen = replace(&town, &route, 20, async || {
        town.noticed(&["app.test"]).await;
    })
    .await;
    seen.assert_only("app");
    assert!(seen.backends.len() > 2, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_replacements_do_lose_requests_when_the_addresses_are_fixed() {
    let town = Town::new().await;
    let fixed = format!(
        "[upstreams.app]\naddresses = [\"{}\", \"{}\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"app\"",
        town.socket(1),
        town.socket(2)
    );
    let seen = replace(&town, &fixed, 2, async || ()).await;
    assert!(seen.bad > 0, "the harness does not see a lost request: {seen:?}");
    assert_eq!(seen.backends.len(), 2, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_swap_addresses_under_load_are_never_taken_for_each_other() {
    let town = Town::new().await;
    let publish = |a: u8, b: u8| {
        town.publish("a.test", &[a]);
        town.publish("b.test", &[b]);
    };
    let noticed = async || town.noticed(&["a.test", "b.test"]).await;
    let (mut a, mut b) = (town.start("a", 1).await, town.start("b", 2).await);
    publish(1, 2);
    let gate = town.gate(&(town.route("a") + &town.route("b")));
    let (asks_a, asks_b) = (Load::start(gate.address(), "/a/", 2), Load::start(gate.address(), "/b/", 2));
    let mut home = (1, 2);
    for _ in 0..10 {
        // Each moves aside, then takes the address that the other has left: two changes of address for both.
        let aside = (town.start("a", 3).await, town.start("b", 4).await);
        publish(3, 4);
        noticed().await;
        a.stop().await;
        b.stop().await;
        home = (home.1, home.0);
        (a, b) = (town.start("a", home.0).await, town.start("b", home.1).await);
        publish(home.0, home.1);
        noticed().await;
        aside.0.stop().await;
        aside.1.stop().await;
    }
    asks_a.goes_on(20).await;
    asks_b.goes_on(20).await;
    let (seen_a, seen_b) = (asks_a.stop().await, asks_b.stop().await);
    seen_a.assert_only("a");
    seen_b.assert_only("b");
    for (seen, service) in [(seen_a, "a"), (seen_b, "b")] {
        for last in [1, 2] {
            let stamp = format!("{service}@{}", town.address(last));
            assert!(seen.backends.contains_key(&stamp), "{stamp} was never asked: {seen:?}");
        }
    }
}
