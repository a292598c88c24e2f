//! Rolling updates, one after the other: every container of a service is replaced by one on another address, which may
//! since have been another service's, while answers of DNS live for ten minutes.

use tollgate::base::clock;

use crate::support::load::Load;
use crate::support::town::{Container, Town};

/// Addresses in the town; those of containers that are gone are given away again.
const ADDRESSES: u8 = 40;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a soak"]
async fn rolling_updates() {
    let town = Town::new().await;
    let until = clock::now() + super::duration();
    let mut next = 0_u8;
    let mut free = move || {
        next = next % ADDRESSES + 1;
        next
    };
    let mut services: Vec<(&str, Vec<(u8, Container)>)> = vec![("app", Vec::new()), ("shop", Vec::new())];
    for (name, running) in &mut services {
        for _ in 0..3 {
            let last = free();
            running.push((last, town.start(name, last).await));
        }
        publish(&town, name, running);
    }
    let gate = town.gate(&format!("{}{}", town.route("app"), town.route("shop")));
    let loads: Vec<Load> = ["/app/", "/shop/"].iter().map(|path| Load::start(gate.address(), path, 3)).collect();
    let mut updates = 0;
    while clock::now() < until {
        for (name, running) in &mut services {
            for _ in 0..3 {
                let last = free();
                running.push((last, town.start(name, last).await));
                let (_, old) = running.remove(0);
                publish(&town, name, running);
                town.noticed(&[&format!("{name}.test")]).await;
                old.stop().await;
            }
        }
        updates += 1;
        for load in &loads {
            load.goes_on(20).await;
        }
    }
    for (load, service) in loads.into_iter().zip(["app", "shop"]) {
        let seen = load.stop().await;
        println!("{service}: {} answers over {updates} updates, the slowest in {:?}", seen.good, seen.slowest);
        seen.assert_only(service);
    }
}

fn publish(town: &Town, name: &str, running: &[(u8, Container)]) {
    let lasts: Vec<u8> = running.iter().map(|(last, _)| *last).collect();
    town.publish(&format!("{name}.test"), &lasts);
}
