//! A Redis that is gone, stands still, forgets, takes nothing or lets nobody in: limits go on, nobody waits, and it is asked
//! again as soon as it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::shared::{gateways, storm, tables};
use super::{passing, status, with};
use crate::support::redis::Redis;
use crate::support::{Backend, Client, Gate, OK, eventually_async};

async fn is_up(gate: &Gate, up: bool) {
    eventually_async(&format!("redis is up: {up}"), async || status(gate).await["redis"]["up"] == up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_half_way_and_back_with_nothing_it_changes_little() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(3, &backend, &tables(&server, "rate = \"300/min\"").replace("2s", "200ms")).await;
    let begun = Instant::now();
    let before = storm(&gates, 50).await;
    assert_eq!(before, 150, "half of it");
    server.kill();
    let without = storm(&gates, 120).await;
    for gate in &gates {
        is_up(gate, false).await;
        assert!(status(gate).await["limits"][0]["store_errors"].as_u64().unwrap() > 0);
    }
    server.come_back();
    for gate in &gates {
        is_up(gate, true).await;
    }
    let after = storm(&gates, 120).await;
    let limit = 300.0 + begun.elapsed().as_secs_f64() * 5.0;
    let admitted = (before + without + after) as f64;
    assert!((0.8 * limit..=1.2 * limit).contains(&admitted), "{before} + {without} + {after} of {limit}");
    assert!(without > 100, "each allows its share: {without}");
    eventually_async("it is counted there again", async || {
        let _ = with(&gates[0], "").await;
        server.order(&["EXISTS", "tollgate:shared:{ip:127.0.0.1}"]) == redis::Value::Int(1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_an_outage_about_as_much_passes_as_without_one() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(3, &backend, &tables(&server, "rate = \"60/s\"\nburst = 30").replace("2s", "200ms")).await;
    let (stop, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let clients: Vec<_> = gates
        .iter()
        .map(|gate| {
            let (stop, passed, address) = (stop.clone(), passed.clone(), gate.address());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    if client.get("/").await.status() == 200 {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(8)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.come_back();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let limit = 30.0 + begun.elapsed().as_secs_f64() * 60.0;
    let passed = passed.load(Ordering::Relaxed) as f64;
    assert!((0.8 * limit..=1.2 * limit).contains(&passed), "{passed} of {limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_is_waited_for_once() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(1, &backend, &tables(&server, "rate = \"1000/h\"").replace("2s", "100ms")).await;
    let gate = &gates[0];
    assert_eq!(with(gate, "").await.status(), 200);
    server.pause();
    let begun = Instant::now();
    assert_eq!(with(gate, "").await.status(), 200, "it goes on here");
    assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(client.get("/").await.status(), 200);
        assert!(begun.elapsed() < Duration::from_millis(90), "nobody else waits: {:?}", begun.elapsed());
    }
    assert_eq!(status(gate).await["limits"][0]["store_errors"], 21);
    assert!(status(gate).await["redis"]["last_error"].is_string());
    gate.counted("tollgate_redis_up 0").await;
    server.resume();
    is_up(gate, true).await;
    let errors = status(gate).await["limits"][0]["store_errors"].clone();
    assert_eq!(passing(gate, 20, "").await, 20);
    assert_eq!(status(gate).await["limits"][0]["store_errors"], errors, "it is asked again");
    let state = with(gate, "").await.head.get("ratelimit").unwrap().to_owned();
    assert!(state.contains(";r=957;"), "what was counted here was told there: {state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_to_hold_without_it_holds() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gate = |on_store_error: &str| {
        let limit = format!("rate = \"5/h\"\non_store_error = \"{on_store_error}\"");
        Gate::before(&backend, &tables(&server, &limit).replace("2s", "200ms"))
    };
    let (local, allow, deny) = (gate("local"), gate("allow"), gate("deny"));
    for gate in [&local, &allow, &deny] {
        eventually_async("three are there", async || status(gate).await["redis"]["replicas"] == 3).await;
    }
    server.kill();
    for gate in [&local, &allow, &deny] {
        is_up(gate, false).await;
    }
    assert_eq!(passing(&local, 10, "").await, 1, "a third of five, rounded down");
    assert_eq!(passing(&allow, 50, "").await, 50);
    for _ in 0..3 {
        let refused = with(&deny, "").await;
        assert_eq!(refused.refusal(), (503, "limits_unavailable".to_owned()));
        assert_eq!(refused.head.get("retry-after"), Some("1"));
    }
    deny.counted("tollgate_refusals_total{route=\"app\",code=\"limits_unavailable\",mode=\"enforce\"} 3").await;
    server.come_back();
    is_up(&deny, true).await;
    assert_eq!(with(&deny, "").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_emptied_by_order_hands_out_fresh_buckets() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(1, &backend, &tables(&server, "rate = \"3/h\"")).await;
    assert_eq!(passing(&gates[0], 5, "").await, 3);
    server.order(&["FLUSHALL"]);
    server.order(&["SCRIPT", "FLUSH"]);
    assert_eq!(passing(&gates[0], 5, "").await, 3);
    server.order(&["DEL", "tollgate:shared:{ip:127.0.0.1}"]);
    assert_eq!(passing(&gates[0], 5, "").await, 3);
    assert_eq!(status(&gates[0]).await["limits"][0]["store_errors"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_is_as_good_as_none() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(1, &backend, &tables(&server, "rate = \"100/h\"")).await;
    assert_eq!(passing(&gates[0], 10, "").await, 10);
    server.order(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(passing(&gates[0], 200, "").await, 90, "it goes on here with what is left");
    is_up(&gates[0], false).await;
    let error = status(&gates[0]).await["redis"]["last_error"].to_string();
    assert!(error.contains("read only"), "{error}");
    server.order(&["REPLICAOF", "NO", "ONE"]);
    is_up(&gates[0], true).await;
    assert_eq!(passing(&gates[0], 20, "").await, 0, "and there it is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_lets_nobody_around_a_limit() {
    let Some(server) = Redis::start(&["--requirepass", "hunter2"]) else { return };
    let backend = Backend::answering(OK).await;
    let gate = |password: &str| {
        let more = format!("password = \"{password}\"\n");
        Gate::before(&backend, &(tables(&server, "rate = \"4/h\"").replace("2s", "200ms") + &more))
    };
    let wrong = gate("hunter3");
    assert_eq!(passing(&wrong, 10, "").await, 4, "alone");
    is_up(&wrong, false).await;
    let page = status(&wrong).await.to_string();
    assert!(page.contains("WRONGPASS") || page.to_lowercase().contains("authentication"), "{page}");
    assert!(!page.contains("hunter"), "{page}");
    let right = gate("hunter2");
    assert_eq!(passing(&right, 10, "").await, 4);
    is_up(&right, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_script_is_sent_again() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(1, &backend, &tables(&server, "rate = \"1000/h\"")).await;
    assert_eq!(passing(&gates[0], 5, "").await, 5);
    for _ in 0..2 {
        server.kill();
        server.come_back();
        assert_eq!(passing(&gates[0], 5, "").await, 5);
        is_up(&gates[0], true).await;
        assert_eq!(passing(&gates[0], 5, "").await, 5);
    }
    // What it has forgotten it is told by the one that remembers.
    let state = with(&gates[0], "").await.head.get("ratelimit").unwrap().to_owned();
    let left: u32 = state.split("r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!((970..=976).contains(&left), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_connection_or_takes_another_redis() {
    let (Some(one), Some(two)) = (Redis::start(&[]), Redis::start(&[])) else { return };
    let backend = Backend::answering(OK).await;
    let text = |server: &Redis, more: &str| {
        let address = backend.address();
        format!(
            "[[routes]]\nprefix = \"/\"\nupstream = \"http://{address}\"\n{more}{}",
            tables(server, "rate = \"6/h\"")
        )
    };
    let gate = Gate::start(&text(&one, ""));
    assert_eq!(passing(&gate, 2, "").await, 2);
    let clients = || {
        let redis::Value::Int(count) = one.order(&["EVAL", "return #redis.call('KEYS', '*')", "0"]) else {
            panic!("?")
        };
        count
    };
    assert!(clients() >= 1);
    gate.reload(&text(&one, "timeout = \"9s\"\n")).await;
    assert_eq!(passing(&gate, 2, "").await, 2);
    gate.reload(&text(&two, "")).await;
    assert_eq!(passing(&gate, 9, "").await, 2, "what was used up is told to the other one");
    assert_eq!(two.order(&["EXISTS", "tollgate:shared:{ip:127.0.0.1}"]), redis::Value::Int(1));
}
