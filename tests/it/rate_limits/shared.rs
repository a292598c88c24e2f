//! One limit over several gateways, counted in a real Redis.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::Value;

use super::{passing, status, with};
use crate::support::redis::Redis;
use crate::support::{Backend, Gate, OK, eventually_async};

/// The keys of a limit, and a Redis that is waited for longer than any machine is busy.
pub(super) fn tables(server: &Redis, limit: &str) -> String {
    format!(
        "rate_limit = \"shared\"\n[rate_limits.shared]\nstore = \"redis\"\n{limit}\n{}timeout = \"2s\"\n",
        server.table()
    )
}

/// Gateways with this configuration that have seen each other.
pub(super) async fn gateways(count: usize, backend: &Backend, tables: &str) -> Vec<Gate> {
    let gates: Vec<Gate> = (0..count).map(|_| Gate::before(backend, tables)).collect();
    for gate in &gates {
        eventually_async("they see each other", async || {
            let redis = status(gate).await["redis"].clone();
            redis["up"] == true && redis["replicas"] == count
        })
        .await;
    }
    gates
}

/// How many of so many requests to each of them pass, sent at the same time over two connections each.
pub(super) async fn storm(gates: &[Gate], each: usize) -> usize {
    let clients = gates.iter().flat_map(|gate| [gate, gate]);
    join_all(clients.map(|gate| passing(gate, each / 2, ""))).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_let_as_many_through_as_one() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(3, &backend, &tables(&server, "rate = \"300/min\"")).await;
    let begun = Instant::now();
    let passed = storm(&gates, 200).await;
    // One more every 0.2 s that this takes.
    let refilled = usize::try_from(begun.elapsed().as_millis() / 200).unwrap();
    assert!((299..=301 + refilled).contains(&passed), "{passed} in {:?}", begun.elapsed());
    assert_eq!(backend.seen().len(), passed);
    let mut decided = (0, 0);
    for gate in &gates {
        let limit = &status(gate).await["limits"][0];
        assert_eq!((&limit["store"], &limit["store_errors"]), (&"redis".into(), &0.into()), "{limit}");
        let count = |what: &str| limit["decisions"][what].as_u64().unwrap();
        decided = (decided.0 + count("allowed"), decided.1 + count("refused"));
    }
    assert_eq!(decided, (passed as u64, 600 - passed as u64));
    let Value::Int(left) = server.order(&["PTTL", "tollgate:shared:{ip:127.0.0.1}"]) else { panic!("no time") };
    assert!((50_000..=60_001).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_the_same_as_by_one() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let gates = gateways(2, &backend, &tables(&server, "rate = \"50/min\"\nburst = 2")).await;
    for (gate, left) in gates.iter().zip([1, 0]) {
        let answer = with(gate, "").await;
        assert_eq!(answer.head.get("ratelimit-policy"), Some("\"shared\";q=2;w=3"));
        let state = answer.head.get("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"shared\";r={left};t=")), "{state}");
    }
    let refused = with(&gates[0], "").await;
    assert_eq!(refused.refusal(), (429, "rate_limited".to_owned()));
    let wait: u64 = refused.head.get("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(with(&gates[1], "").await.status(), 200, "waiting that long is enough, at any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_limits_of_a_request_are_one_round_trip_and_taken_together() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let limits = format!(
        "rate_limit = [\"wide\", \"narrow\", \"here\"]\n[rate_limits.wide]\nrate = \"10/h\"\nstore = \"redis\"\n\
         [rate_limits.narrow]\nkey = \"header:x-who\"\nrate = \"3/h\"\nstore = \"redis\"\n\
         [rate_limits.here]\nkey = \"header:x-here\"\nrate = \"5/h\"\n{}timeout = \"2s\"\n",
        server.table()
    );
    let gates = gateways(2, &backend, &limits).await;
    let calls = || match server.order(&["INFO", "commandstats"]) {
        Value::BulkString(text) => {
            let text = String::from_utf8(text).unwrap();
            let count = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
                line.split(',').next()?.parse::<usize>().ok()
            };
            count("get").unwrap_or(0)
        }
        other => panic!("{other:?}"),
    };
    let before = calls();
    assert_eq!(with(&gates[0], "X-Who: a\r\n").await.status(), 200);
    assert_eq!(calls() - before, 2, "both buckets");
    // What narrow refuses, and what this gateway alone refuses, costs nothing of wide.
    assert_eq!(passing(&gates[0], 20, "X-Who: a\r\nX-Here: 1\r\n").await, 2);
    assert_eq!(passing(&gates[1], 20, "X-Who: a\r\nX-Here: 2\r\n").await, 0);
    assert_eq!(passing(&gates[1], 20, "X-Who: b\r\nX-Here: 3\r\n").await, 3);
    assert_eq!(passing(&gates[0], 20, "X-Who: c\r\nX-Here: 1\r\n").await, 3);
    assert_eq!(passing(&gates[0], 20, "X-Who: d\r\nX-Here: 1\r\n").await, 0, "nothing is left here");
    assert_eq!(passing(&gates[1], 20, "X-Who: e\r\nX-Here: 4\r\n").await, 1, "ten in all");
    let Value::Array(keys) = server.order(&["KEYS", "*"]) else { panic!("no keys") };
    for key in &keys {
        let Value::BulkString(name) = key else { panic!("{key:?}") };
        let name = String::from_utf8(name.clone()).unwrap();
        assert!(matches!(server.order(&["PTTL", &name]), Value::Int(left) if left > 0), "{name} expires");
        assert!(!name.contains("x-who") && name.starts_with("tollgate:"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_outlives_the_gateway_and_a_changed_rate_keeps_what_was_used_up() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = Backend::answering(OK).await;
    let quota = |rate: &str| tables(&server, &format!("key = \"header:x-api-key\"\nrate = \"{rate}\""));
    let first = Gate::before(&backend, &quota("20/day"));
    assert_eq!(passing(&first, 15, "X-Api-Key: secret\r\n").await, 15);
    first.shutdown();
    let second = Gate::before(&backend, &quota("20/day"));
    assert_eq!(passing(&second, 15, "X-Api-Key: secret\r\n").await, 5);
    second.shutdown();
    let third = Gate::before(&backend, &quota("40/day"));
    assert_eq!(passing(&third, 30, "X-Api-Key: secret\r\n").await, 20);
    let Value::Array(keys) = server.order(&["KEYS", "tollgate:shared:*"]) else { panic!("no keys") };
    assert_eq!(keys.len(), 1);
    assert!(!format!("{keys:?}").contains("secret"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_behind_auth_gives_back_in_redis_too() {
    let Some(server) = Redis::start(&[]) else { return };
    let signer = crate::support::tokens::Signer::es256("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, crate::support::tokens::jwks(&[&signer])).unwrap();
    let backend = Backend::answering(OK).await;
    let tables = format!(
        "auth = \"main\"\nrate_limit = [\"ip\", \"user\"]\n[rate_limits.ip]\nrate = \"5/h\"\nstore = \"redis\"\n\
         [rate_limits.user]\nkey = \"subject\"\nrate = \"1/h\"\nstore = \"redis\"\n[auth.main]\njwks_file = {file:?}\n\
         {}timeout = \"2s\"\n",
        server.table()
    );
    let gate = Gate::before(&backend, &tables);
    let bearer = |user: &str| format!("Authorization: Bearer {}\r\n", signer.good(user));
    let mut passed = 0;
    for _ in 0..20 {
        passed += usize::from(with(&gate, &bearer("alice")).await.status() == 200);
        // What is given back is so a moment later.
        eventually_async("it is given back", async || {
            let Value::BulkString(kept) = server.order(&["GET", "tollgate:ip:{ip:127.0.0.1}"]) else { return false };
            let text = String::from_utf8(kept).unwrap();
            let full: f64 = text.split(' ').next().unwrap().parse().unwrap();
            let now = crate::support::tokens::now() as f64 - 1_735_689_600.0;
            full / 1e6 - now < 1.1 * 720.0
        })
        .await;
    }
    assert_eq!(passed, 1);
    for user in 0..10 {
        passed += usize::from(with(&gate, &bearer(&user.to_string())).await.status() == 200);
    }
    assert_eq!(passed, 5);
}
