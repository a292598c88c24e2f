//! What gateways share through Redis, at its own seam: asked in time or not at all, back by itself, over what it takes to
//! reach it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollgate::config::load;
use tollgate::layers::redis::policy::{Heartbeat, RedisPolicy};
use tollgate::layers::redis::{CONTROL, Heard, Redis, RedisError, Script, Tools, Value, cmd};
use tollgate::telemetry::recorder::Recorder;

use crate::support::redis::Redis as Server;
use crate::support::{eventually, eventually_async};

/// What a gateway with this configuration has; two workers, and this test's runtime for the background.
fn connect(table: &str) -> Arc<Redis> {
    connect_with(table, |_| ())
}

/// The same with what no key of the configuration says.
fn connect_with(table: &str, change: impl FnOnce(&mut RedisPolicy)) -> Arc<Redis> {
    let config = load::from_text(table).unwrap_or_else(|report| panic!("{report}")).config;
    let tools =
        Tools { control: tokio::runtime::Handle::current(), workers: 2, recorder: Arc::new(Recorder::default()) };
    let mut policy = (*config.redis.unwrap()).clone();
    change(&mut policy);
    Redis::start(&Arc::new(policy), &tools)
}

/// The same for a test that is patient.
fn patient(server: &Server) -> Arc<Redis> {
    connect(&format!("{}timeout = \"1s\"\n", server.table()))
}

async fn set(redis: &Redis, worker: usize, value: &str) -> Result<Value, RedisError> {
    redis.ask(worker, cmd("SET").arg(redis.key("x")).arg(value)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_others_share_what_is_there() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = patient(&server);
    set(&redis, 0, "one").await.unwrap();
    for worker in [1, CONTROL] {
        let got = redis.ask(worker, cmd("GET").arg("tollgate:x")).await.unwrap();
        assert_eq!(got, Value::BulkString(b"one".to_vec()));
    }
    // What is wrong with one command is no outage.
    assert!(matches!(redis.ask(0, cmd("INCR").arg("tollgate:x")).await, Err(RedisError::Failed(_))));
    assert!(redis.is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_sent_whole_to_a_server_that_does_not_know_it() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = patient(&server);
    let script = Script::new("return {KEYS[1], ARGV[1]}");
    for _ in 0..3 {
        let answer = redis.run(0, &script, &["k".to_owned()], &["a".to_owned()]).await.unwrap();
        let word = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        assert_eq!(answer, Value::Array(vec![word("k"), word("a")]));
        server.order(&["SCRIPT", "FLUSH"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_is_waited_for_once_and_asked_again_when_it_goes_on() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = connect(&format!("{}timeout = \"100ms\"\n", server.table()));
    eventually_async("it answers", async || set(&redis, 0, "before").await.is_ok()).await;
    server.pause();
    let begun = Instant::now();
    assert!(set(&redis, 0, "lost").await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    for _ in 0..1000 {
        assert!(matches!(set(&redis, 1, "lost").await, Err(RedisError::Resting)));
    }
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    server.resume();
    eventually("it is asked again", || redis.is_up()).await;
    eventually_async("and answers", async || set(&redis, 0, "after").await.is_ok()).await;
    assert_eq!(redis.status().last_error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_is_asked_again() {
    let Some(mut server) = Server::start(&[]) else { return };
    let redis = connect(&server.table());
    eventually_async("it answers", async || set(&redis, 0, "before").await.is_ok()).await;
    server.kill();
    eventually("it is missed", || !redis.is_up()).await;
    assert!(redis.status().last_error.is_some());
    server.come_back();
    eventually_async("it answers again", async || set(&redis, 0, "after").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_is_as_good_as_none_until_it_does() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = patient(&server);
    set(&redis, 0, "before").await.unwrap();
    // The replica of nobody takes nothing.
    server.order(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(matches!(set(&redis, 0, "lost").await, Err(RedisError::Failed(_))));
    assert!(!redis.is_up());
    server.order(&["REPLICAOF", "NO", "ONE"]);
    eventually_async("it takes something again", async || set(&redis, 0, "after").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_passwords_and_databases_count() {
    let users = "--user default off --user gate on >hunter2 ~tollgate:* &* +@all";
    let Some(server) = Server::start(&users.split(' ').collect::<Vec<_>>()) else { return };
    let port = server.port();
    let with = |user: &str, password: &str| {
        connect(&format!("[redis]\nurl = \"redis://{user}127.0.0.1:{port}/3\"\ntimeout = \"1s\"\n{password}"))
    };
    let redis = with("gate@", "password = \"hunter2\"");
    set(&redis, 0, "one").await.unwrap();
    set(&with("gate:hunter2@", ""), 0, "two").await.unwrap();
    let elsewhere = with("gate@", "password = \"hunter2\"").ask(0, cmd("SET").arg("other").arg("x")).await;
    assert!(elsewhere.is_err(), "{elsewhere:?}");
    let dbsize = redis.ask(0, cmd("INFO").arg("keyspace")).await.unwrap();
    assert!(matches!(&dbsize, Value::BulkString(text) if String::from_utf8_lossy(text).contains("db3:")), "{dbsize:?}");
    for (user, password) in [("gate@", "password = \"wrong\""), ("", "password = \"hunter2\""), ("", "")] {
        let refused = with(user, password);
        assert!(set(&refused, 0, "x").await.is_err());
        eventually("it says why", || {
            let error = refused.status().last_error.unwrap_or_default();
            !refused.is_up() && !error.is_empty() && !error.contains("hunter2") && !error.contains("wrong\"")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_takes_long_is_not_waited_for_and_is_no_outage() {
    let Some(server) = Server::start(&[]) else { return };
    server.pause();
    let redis = connect(&format!("{}timeout = \"100ms\"\n", server.table()));
    let begun = Instant::now();
    assert!(matches!(set(&redis, 0, "early").await, Err(RedisError::Connecting)));
    for _ in 0..100 {
        assert!(matches!(set(&redis, 0, "early").await, Err(RedisError::Connecting)));
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(redis.is_up());
    server.resume();
    eventually_async("it answers", async || set(&redis, 0, "now").await.is_ok()).await;
    assert!(redis.is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_count_each_other() {
    let Some(server) = Server::start(&[]) else { return };
    let lively = Heartbeat {
        period: Duration::from_millis(50),
        hurry: Duration::from_millis(50),
        life: Duration::from_millis(500),
    };
    let table = format!("{}timeout = \"1s\"\n", server.table());
    let [one, two, three] = [(); 3].map(|()| connect_with(&table, |policy| policy.heartbeat = lively));
    let stranger = connect(&format!("{}prefix = \"other\"\n", server.table()));
    eventually("three see each other", || [&one, &two, &three].iter().all(|redis| redis.replicas() == 3)).await;
    assert_eq!(stranger.replicas(), 1);
    let Value::Int(left) = server.order(&["PTTL", "tollgate:{gateways}"]) else { panic!("no time") };
    assert!((1..=1000).contains(&left), "{left}");
    drop(three);
    eventually("the third is forgotten", || one.replicas() == 2 && two.replicas() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_heard_and_a_gap_is_told_of() {
    let Some(mut server) = Server::start(&[]) else { return };
    let redis = patient(&server);
    let heard = Arc::<Mutex<Vec<Heard>>>::default();
    let into = heard.clone();
    let task = redis.subscribe("news".to_owned(), move |what| into.lock().unwrap().push(what));
    let count = || heard.lock().unwrap().len();
    eventually("it listens", || count() == 1).await;
    redis.ask(CONTROL, cmd("PUBLISH").arg("news").arg("one")).await.unwrap();
    eventually("it hears", || count() == 2).await;
    server.kill();
    server.come_back();
    eventually("it listens again", || count() == 3).await;
    server.order(&["PUBLISH", "news", "two"]);
    eventually("and hears", || count() == 4).await;
    let all = std::mem::take(&mut *heard.lock().unwrap());
    let message = |text: &str| Heard::Message(text.as_bytes().to_vec());
    assert_eq!(all, [Heard::Gap, message("one"), Heard::Gap, message("two")]);
    drop(task);
    eventually("nobody listens", || server.order(&["PUBLISH", "news", "x"]) == Value::Int(0)).await;
}
