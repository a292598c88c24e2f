//! The second tier: what one gateway has fetched others serve, what is void at one is void at all, and without Redis each
//! goes on with what it has.

use std::time::{Duration, Instant};

use redis::Value;

use super::{get_with, replying, response, send, status};
use crate::support::redis::Redis;
use crate::support::{Backend, Gate, eventually_async, get};

/// A gateway that shares its cache; `cache` is the value of its only route's.
fn sharing(backend: &Backend, redis: &Redis, cache: &str) -> Gate {
    Gate::before(
        backend,
        &format!("cache = {cache}\n[cache]\nstore = \"redis\"\n{}timeout = \"1s\"\nprefix = \"it\"\n", redis.table()),
    )
}

/// A backend whose answers say their number, are tagged with it, and can be kept.
async fn numbering() -> Backend {
    replying(|seen, number| {
        if seen.head.line.starts_with("POST") {
            return "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
        }
        let control = if seen.head.target() == "/private" { "private" } else { "max-age=600" };
        let user = seen.head.get("x-user").unwrap_or("nobody");
        let fields = format!("cache-control: {control}\r\nvary: x-kind\r\ncache-tag: all\r\n");
        response(&fields, &format!("{number} {user}"))
    })
    .await
}

/// Waits until Redis has a response with this body.
async fn stored(redis: &Redis, body: &str) {
    eventually_async(body, async || {
        let Value::Array(keys) = redis.order(&["KEYS", "it:cache:{*}:*"]) else { return false };
        keys.iter().any(|key| match redis.order(&["GET", text(key)]) {
            Value::BulkString(bytes) => bytes.ends_with(body.as_bytes()),
            _ => false,
        })
    })
    .await;
}

/// Waits until so many gateways hear each other, and have asked for what they had missed by then: what they stored before
/// would be stale.
async fn listening(redis: &Redis, gateways: usize) {
    eventually_async("they listen", async || {
        let Value::BulkString(stats) = redis.order(&["INFO", "commandstats"]) else { return false };
        let stats = String::from_utf8(stats).unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_lrange:calls=")?.split(',').next());
        calls.and_then(|calls| calls.parse().ok()).unwrap_or(0) >= gateways
    })
    .await;
}

fn text(value: &Value) -> &str {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_has_fetched_the_other_serves() {
    let Some(redis) = Redis::start(&[]) else { return };
    let backend = numbering().await;
    let (one, other) = (sharing(&backend, &redis, "true"), sharing(&backend, &redis, "true"));
    listening(&redis, 2).await;
    assert_eq!(get_with(&one, "/", "X-Kind: a\r\n").await.text(), "1 nobody");
    stored(&redis, "1 nobody").await;
    let shared = get_with(&other, "/", "X-Kind: a\r\n").await;
    assert_eq!((shared.text(), status(&shared)), ("1 nobody".into(), "tollgate; hit".into()));
    assert_eq!(get_with(&other, "/", "X-Kind: b\r\n").await.text(), "2 nobody");
    stored(&redis, "2 nobody").await;
    assert_eq!(get_with(&one, "/", "X-Kind: b\r\n").await.text(), "2 nobody");
    for _ in 0..2 {
        get(one.address(), "/private").await;
        get(other.address(), "/private").await;
    }
    assert_eq!(backend.seen().len(), 6);
    redis.order(&["FLUSHALL"]);
    assert_eq!(get_with(&other, "/", "X-Kind: a\r\n").await.text(), "1 nobody", "it is in memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_purged_or_changed_at_one_is_gone_at_all() {
    let Some(redis) = Redis::start(&[]) else { return };
    let backend = numbering().await;
    let (one, other) = (sharing(&backend, &redis, "true"), sharing(&backend, &redis, "true"));
    listening(&redis, 2).await;
    let order = async |body: &str| {
        let length = body.len();
        let head = "POST /api/v1/cache/purge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json";
        crate::support::ask(one.admin(), format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}")).await
    };
    let fill = async || {
        let number = get(one.address(), "/").await.text();
        stored(&redis, &number).await;
        assert_eq!(get(other.address(), "/").await.text(), number);
        number
    };
    let only = async |gate: &Gate| get_with(gate, "/", "Cache-Control: only-if-cached\r\n").await.status();
    let mut before = fill().await;
    for change in [r#"{"tag":"all"}"#, r#"{"url":"/"}"#, r#"{"prefix":"/"}"#, r#"{"all":true}"#, "POST"] {
        if change == "POST" {
            send(&one, "POST", "/", "Content-Length: 0\r\n").await;
        } else {
            assert!(order(change).await.text().ends_with(r#","told":true}"#), "{change}");
        }
        eventually_async("the other has heard of it", async || only(&other).await == 504).await;
        assert_eq!(only(&one).await, 504);
        // What Redis still has of it does not come back.
        let after = fill().await;
        assert_ne!(before, after, "{change}");
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_has_its_memory_and_afterwards_they_share_again() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let backend = numbering().await;
    let (one, other) = (sharing(&backend, &redis, "true"), sharing(&backend, &redis, "true"));
    listening(&redis, 2).await;
    get(one.address(), "/a").await;
    stored(&redis, "1 nobody").await;
    redis.kill();
    assert_eq!(get(one.address(), "/a").await.text(), "1 nobody");
    assert_eq!(get(one.address(), "/b").await.text(), "2 nobody");
    assert_eq!(get(one.address(), "/b").await.text(), "2 nobody");
    assert_eq!(get(other.address(), "/b").await.text(), "3 nobody");
    redis.come_back();
    eventually_async("they share again", async || {
        let target = format!("/{}", fastrand::u64(..));
        let first = get(one.address(), &target).await.text();
        tokio::time::sleep(Duration::from_millis(20)).await;
        get(other.address(), &target).await.text() == first
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_holds_nobody_up() {
    let Some(redis) = Redis::start(&[]) else { return };
    let backend = numbering().await;
    let text = format!("cache = true\n[cache]\nstore = \"redis\"\n{}timeout = \"100ms\"\n", redis.table());
    let gate = Gate::before(&backend, &text);
    get(gate.address(), "/warm").await;
    redis.pause();
    let begun = Instant::now();
    for number in 0..50 {
        assert_eq!(get(gate.address(), &format!("/{number}")).await.status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    redis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_response_is_not_served() {
    let Some(redis) = Redis::start(&[]) else { return };
    let backend = numbering().await;
    let (one, other) = (sharing(&backend, &redis, "true"), sharing(&backend, &redis, "true"));
    listening(&redis, 2).await;
    get(one.address(), "/").await;
    stored(&redis, "1 nobody").await;
    let Value::Array(keys) = redis.order(&["KEYS", "it:cache:{*}:*"]) else { panic!("no keys") };
    for key in &keys {
        redis.order(&["SET", text(key), "TGR1 evil"]);
    }
    assert_eq!(get(other.address(), "/").await.text(), "2 nobody");
}
