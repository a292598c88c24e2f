//! Every text of the state as an attacker would like it to be: whatever a configuration, a name server or an issuer may
//! say, the page shows it and does nothing else with it.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{page, text};
use crate::support::load::{Answer, ask};
use crate::support::{Browser, Gate};

const MARKUP: &str = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\"'`${1}";

/// The same state with this text in the place of each of its own that nothing depends on.
fn spoiled(value: Value) -> Value {
    const FIXED: &[&str] = &["state", "result", "changes", "at", "mode"];
    match value {
        Value::String(_) => MARKUP.into(),
        Value::Array(list) => list.into_iter().map(spoiled).collect(),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| match FIXED.contains(&name.as_str()) && value.is_string() {
                true => (name, value),
                false => (name, spoiled(value)),
            };
            members.into_iter().map(member).collect()
        }
        other => other,
    }
}

fn state() -> Value {
    let name = |advice: Value| {
        json!({"name": "n", "addresses": ["a"], "state": "fresh", "age_seconds": 1, "ttl_seconds": 1, "server": "s",
               "next_refresh_seconds": 1, "last_error": "e", "lookups_ok": 1, "lookups_failed": 1, "advice": advice})
    };
    let address = json!({"address": "a", "state": "ejected", "why": "w", "ejected_seconds": 3, "weight": 2, "priority": 1,
                         "in_flight": 1, "requests": 1, "failures": 1, "connections": 1, "idle": 1});
    let names = json!({"added": ["r"], "removed": ["r"], "changed": ["r"]});
    spoiled(json!({
        "version": "v", "uptime_seconds": 1, "draining": false, "changes": "free",
        "listeners": [{"address": "a", "connections": 1}], "routes": ["r"],
        "reloads": [
            {"result": "failed", "problems": [{"message": "m", "key": "k", "place": "p", "help": "h"}], "trigger": "t", "at": "x"},
            {"result": "ok", "routes": names, "upstreams": names, "auth": names, "settings": ["s"], "needs_restart": ["s"],
             "trigger": "t", "at": "2026-01-01T00:00:00Z"},
        ],
        "keys": [{"name": "k", "keys": 1, "ids": ["i"], "age_seconds": 1, "next_refresh_seconds": 1, "last_error": "e"}],
        "limits": [{"name": "l", "store": "s", "mode": "observe", "keys": 1, "max_keys": 2, "decisions": {"allowed": 1, "refused": 1}}],
        "redis": {"up": false, "replicas": 2, "last_error": "e"},
        "cache": {"bytes": 1, "entries": 1, "memory": 2, "fetching": 1, "results": {"hit": 1}},
        "upstreams": [{"name": "u", "addresses": [address], "recent": {"requests": 1, "retries": 0},
                       "circuit": {"state": "open", "open_for_seconds": 5}, "dns": name("v".into()),
                       "srv": {"name": "n", "records": [{"target": "t"}], "state": "stale", "age_seconds": 1, "ttl_seconds": 1,
                               "server": "s", "next_refresh_seconds": 1, "last_error": "e", "lookups_ok": 1,
                               "lookups_failed": 1, "targets": [name(Value::Null)]}}],
    }))
}

fn events() -> String {
    let seconds = json!({MARKUP: [1, 1, 3, 9]});
    let whole = json!({"time": 2000, "period_seconds": 1, "bounds_seconds": [0.1, 0.2, 0.3, 0.4], "status": state(),
                       "history": [{"time": 1000, "routes": seconds}]});
    let frame =
        json!({"time": 3000, "routes": seconds, "status": {"version": MARKUP, "__proto__": {"polluted": true}}});
    format!("event: snapshot\ndata: {whole}\n\nevent: frame\ndata: {frame}\n\n")
}

/// The page as the real gateway has it.
async fn real(State(admin): State<SocketAddr>, request: Request<Body>) -> Response {
    let Answer { status, headers, body, .. } = ask(admin, request.uri().path()).await;
    (status, headers, body).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_would_like_to_be_markup_are_text() {
    let Some(browser) = Browser::start().await else { return };
    let gate = Gate::start("");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = || async {
        // The stream stays open.
        let open = futures_util::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>();
        let first = futures_util::stream::iter([Ok(bytes::Bytes::from(events()))]);
        let body = Body::from_stream(futures_util::StreamExt::chain(first, open));
        ([("content-type", "text/event-stream")], body)
    };
    let router = Router::new().route("/api/v1/events", get(stream)).fallback(any(real)).with_state(gate.admin());
    let _serving = tollgate::base::tasks::spawn(tollgate::lab::serve::serve(listener, router, std::future::pending()));
    browser.open(&page(address)).await;
    let shown = |selector: &str| format!("({}).includes(`<img src=x onerror=`)", text(selector));
    for selector in [
        "#version",
        ".routes tbody th",
        ".upstream h3",
        ".facts code",
        ".facts .problem",
        ".advice",
        ".addresses th code",
        ".addresses .why",
        "#keys tbody",
        "#limits tbody",
        "#limits > p",
        ".reloads .problem",
        ".reloads .added",
        ".reloads .advice",
        "#listeners",
    ] {
        browser.shows(&shown(selector)).await;
    }
    for width in [360, 1280] {
        browser.resize(width).await;
        super::assert_sound(&browser).await;
    }
    let count = "return [document.scripts.length, document.images.length, window.hacked ?? 0, String({}.polluted)]";
    assert_eq!(browser.run(count).await, json!([1, 1, 0, "undefined"]));
    // The browser itself would refuse.
    let insert = "try { document.body.innerHTML = `<b>x</b>`; return `taken` } catch (error) { return error.name }";
    assert_eq!(browser.run(insert).await, "TypeError");
    let inline = "const one = document.createElement(`script`); try { one.textContent = `window.hacked = 3`; \
                  document.body.append(one) } catch {} return window.hacked ?? 0";
    assert_eq!(browser.run(inline).await, 0);
}
