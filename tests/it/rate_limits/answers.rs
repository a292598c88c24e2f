//! What clients are told, what operators see, and whether it is true.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{gate, passing, status, with};
use crate::support::log::Log;
use crate::support::scrape::scrape;
use crate::support::{Backend, Client, Client2, Gate};

#[tokio::test]
async fn a_request_too_many_is_refused_and_every_answer_says_what_is_left() {
    let (gate, backend) = gate("\"per-client\"", "[rate_limits.per-client]\nrate = \"3/h\"\n").await;
    for left in [2, 1, 0] {
        let answer = with(&gate, "").await;
        assert_eq!((answer.status(), answer.text()), (200, "ok".to_owned()));
        assert_eq!(answer.head.get("ratelimit-policy"), Some("\"per-client\";q=3;w=3600"));
        let state = answer.head.get("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"per-client\";r={left};t=")), "{state}");
        assert_eq!(answer.head.get("retry-after"), None);
    }
    let refused = with(&gate, "").await;
    assert_eq!(refused.refusal(), (429, "rate_limited".to_owned()));
    let wait: u64 = refused.head.get("retry-after").unwrap().parse().unwrap();
    assert!((1195..=1200).contains(&wait), "{wait}");
    assert_eq!(refused.head.get("ratelimit"), Some(&*format!("\"per-client\";r=0;t={wait}")));
    assert_eq!(refused.head.get("ratelimit-policy"), Some("\"per-client\";q=3;w=3600"));
    assert_eq!(backend.seen().len(), 3, "nobody hears of the fourth");
}

#[tokio::test]
async fn who_waits_as_long_as_told_passes() {
    let (gate, _backend) = gate("\"slow\"", "[rate_limits.slow]\nrate = \"50/min\"\nburst = 2\n").await;
    assert_eq!(passing(&gate, 2, "").await, 2);
    for _ in 0..2 {
        let refused = with(&gate, "").await;
        let (at, wait) = (Instant::now(), refused.head.get("retry-after").unwrap().parse::<u64>().unwrap());
        assert!((1..=2).contains(&wait), "{wait}");
        tokio::time::sleep_until((at + Duration::from_secs(wait)).into()).await;
        assert_eq!(with(&gate, "").await.status(), 200);
    }
}

#[tokio::test]
async fn an_upstreams_own_word_about_its_limits_stays() {
    let backend =
        Backend::answering("HTTP/1.1 200 OK\r\nRateLimit: \"own\";r=5;t=1\r\nContent-Length: 2\r\n\r\nok").await;
    let gate = Gate::before(&backend, "rate_limit = \"a\"\n[rate_limits.a]\nrate = \"3/h\"\n");
    let answer = with(&gate, "").await;
    let states = answer.head.all("ratelimit");
    assert_eq!((states.len(), states[0]), (2, "\"own\";r=5;t=1"));
}

#[tokio::test]
async fn clients_of_http2_are_told_the_same() {
    let (gate, _backend) = gate("\"a\"", "[rate_limits.a]\nrate = \"1/h\"\n").await;
    let mut client = Client2::connect(gate.address()).await;
    let ask = || http::Request::get("http://gate/").body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
    assert_eq!(client.send(ask()).await.unwrap().status(), 200);
    let refused = client.send(ask()).await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"3600".parse().unwrap()));
}

#[tokio::test]
async fn a_refusal_of_something_else_tells_of_the_limits_that_were_passed() {
    let (gate, _backend) =
        gate("\"a\"\nmax_body = \"1B\"", "[rate_limits.a]\nrate = \"3/h\"\nheaders = \"legacy\"\n").await;
    let mut client = Client::connect(gate.address()).await;
    let refused = client.ask("POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(refused.refusal(), (413, "body_too_large".to_owned()));
    assert_eq!(refused.head.get("x-ratelimit-remaining"), Some("2"));
    assert_eq!(refused.head.get("x-ratelimit-limit"), Some("3"));
    assert_eq!(refused.head.get("ratelimit"), None);
}

#[tokio::test]
async fn operators_see_what_was_decided() {
    let log = Log::new();
    let tables = format!(
        "[rate_limits.few]\nrate = \"2/h\"\n[rate_limits.many]\nrate = \"1000/h\"\nmax_keys = 7\n{}",
        log.table()
    );
    let (gate, _backend) = gate("[\"many\", \"few\"]", &tables).await;
    assert_eq!(passing(&gate, 5, "").await, 2);
    let lines = log.lines(5).await;
    assert_eq!((&lines[0]["limit"], lines[0].get("code")), (&json!("few"), None), "the tighter one");
    assert_eq!((&lines[4]["limit"], &lines[4]["code"]), (&json!("few"), &json!("rate_limited")));
    assert_eq!(lines[4]["cause"], "limit few: used up");
    let limits = &status(&gate).await["limits"];
    assert_eq!(
        limits[0],
        json!({"name": "few", "store": "local", "mode": "enforce", "keys": 1, "max_keys": 100_000,
               "decisions": {"allowed": 2, "refused": 3}, "store_errors": 0, "evictions": 0, "overflows": 0})
    );
    assert_eq!((&limits[1]["name"], &limits[1]["decisions"]), (&json!("many"), &json!({"allowed": 2, "refused": 0})));
    let page = scrape(gate.admin()).await;
    let decisions = |limit, decision| {
        let labels = [("limit", limit), ("decision", decision), ("mode", "enforce")];
        page.value("tollgate_rate_limit_decisions_total", &labels)
    };
    assert_eq!((decisions("few", "allowed"), decisions("few", "refused")), (Some(2.0), Some(3.0)));
    assert_eq!((decisions("many", "allowed"), decisions("many", "refused")), (Some(2.0), Some(0.0)));
    assert_eq!(page.value("tollgate_rate_limit_keys", &[("limit", "few")]), Some(1.0));
    assert_eq!(page.value("tollgate_rate_limit_store_errors_total", &[("limit", "few")]), Some(0.0));
    let refusals = [("route", "app"), ("code", "rate_limited"), ("mode", "enforce")];
    assert_eq!(page.value("tollgate_refusals_total", &refusals), Some(3.0));
}

#[tokio::test]
async fn a_limit_that_only_looks_refuses_nobody_and_counts_whom_it_would() {
    let log = Log::new();
    let tables = format!("[rate_limits.watched]\nrate = \"2/h\"\nmode = \"observe\"\n{}", log.table());
    let (gate, backend) = gate("\"watched\"", &tables).await;
    assert_eq!(passing(&gate, 5, "").await, 5);
    assert_eq!(backend.seen().len(), 5);
    assert_eq!(with(&gate, "").await.head.get("ratelimit"), None, "nobody is told");
    let lines = log.lines(6).await;
    let observed = lines.iter().filter(|line| line["cause"] == "limit watched: used up (observed)").count();
    assert_eq!(observed, 4);
    gate.counted("tollgate_rate_limit_decisions_total{limit=\"watched\",decision=\"refused\",mode=\"observe\"} 4")
        .await;
    gate.counted("tollgate_rate_limit_decisions_total{limit=\"watched\",decision=\"allowed\",mode=\"observe\"} 2")
        .await;
    gate.counted("tollgate_refusals_total{route=\"app\",code=\"rate_limited\",mode=\"observe\"} 4").await;
}
