//! The cache in traces: how long it takes to answer, and that it ends where the upstream is asked.

use super::request;
use crate::support::collector::{Collector, Received};
use crate::support::{Backend, Gate, ask, eventually_async, get};

/// What may be kept for an hour.
const KEPT: &str = "HTTP/1.1 200 OK\r\ncache-control: max-age=3600\r\ncontent-length: 2\r\n\r\nok";

/// The names of the spans of a request, each with whether it is part of the first; and the one of the cache.
fn told(spans: &[Received]) -> (Vec<(&str, bool)>, &Received) {
    let parts = spans.iter().map(|one| (one.span.name.as_str(), one.parent() == spans[0].id()));
    (parts.collect(), spans.iter().find(|one| one.span.name == "cache").unwrap())
}

#[tokio::test]
async fn the_cache_is_a_span_and_what_it_has_fetched_another() {
    let (backend, collector) = (Backend::answering(KEPT).await, Collector::start().await);
    let gate = Gate::before(&backend, &collector.table("sample = 1"));
    assert_eq!(ask(gate.address(), request("/x", "")).await.status(), 200);
    assert_eq!(collector.received(2).await.len(), 2, "no route has a cache: there is no span of it");
    drop(gate);

    let collector = Collector::start().await;
    let table = collector.table("sample = 1");
    let gate = Gate::before(&backend, &format!("cache = true\n{table}"));
    let before = backend.seen().len();
    assert_eq!(ask(gate.address(), request("/x", "")).await.status(), 200);
    let spans = collector.received(3).await;
    let (names, cache) = told(&spans);
    assert_eq!(names, [("GET app", false), ("cache", true), ("GET", true)]);
    let (server, sent) = (&spans[0].span, &spans[2].span);
    assert_eq!((cache.span.kind, cache.get("error.type"), &cache.span.status), (1, "", &None));
    let times = (server.start_time_unix_nano, cache.span.start_time_unix_nano, sent.start_time_unix_nano);
    assert!(times.0 <= times.1 && times.1 <= times.2, "{spans:#?}");
    assert!(
        cache.span.end_time_unix_nano <= sent.start_time_unix_nano,
        "it ends where the upstream is asked: {spans:#?}"
    );

    eventually_async("it is stored", async || {
        let status: serde_json::Value =
            serde_json::from_str(&get(gate.admin(), "/api/v1/status").await.text()).unwrap();
        status["cache"]["entries"] == 1
    })
    .await;
    assert_eq!(ask(gate.address(), request("/x", "")).await.status(), 200);
    assert_eq!(backend.seen().len(), before + 1);
    let spans = collector.received(5).await;
    let (names, cache) = told(&spans[3..]);
    assert_eq!(names, [("GET app", false), ("cache", true)], "nobody was asked");
    assert!(cache.span.end_time_unix_nano <= spans[3].span.end_time_unix_nano, "{spans:#?}");
}

#[tokio::test]
async fn a_cache_that_refuses_says_why() {
    let (backend, collector) = (Backend::answering(KEPT).await, Collector::start().await);
    let gate = Gate::before(&backend, &format!("cache = true\n{}", collector.table("sample = 1")));
    let only = ask(gate.address(), request("/x", "Cache-Control: only-if-cached\r\n")).await;
    assert_eq!(only.refusal(), (504, "not_cached".into()));
    let spans = collector.received(2).await;
    let (names, cache) = told(&spans);
    assert_eq!((names, cache.get("error.type")), (vec![("GET app", false), ("cache", true)], "not_cached"));
}
