//! One budget of time over all tries, which each of them is told.

use std::time::{Duration, Instant};

use crate::support::{Backend, Gate, OK, ask, get};

/// A backend that reads requests and never answers.
async fn mute() -> Backend {
    Backend::start(async |mut peer| {
        peer.request().await;
        peer.ended().await;
    })
    .await
}

/// A gateway with three silent addresses.
async fn silent(route: &str, retry: &str) -> ([Backend; 3], Gate) {
    let backends = [mute().await, mute().await, mute().await];
    let addresses = backends.each_ref().map(|backend| format!("{:?}", backend.address().to_string())).join(", ");
    let gate = Gate::start(&format!(
        "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n{route}\n\
         [upstreams.app]\naddresses = [{addresses}]\n[upstreams.app.retry]\n{retry}\n"
    ));
    (backends, gate)
}

/// The values of a field in the tries, largest first: in the order of the tries, if they shrink.
fn told(backends: &[Backend; 3], field: &str) -> Vec<String> {
    let seen = backends.iter().flat_map(Backend::seen);
    let mut values: Vec<String> = seen.map(|seen| seen.head.get(field).unwrap_or_default().to_owned()).collect();
    values.sort_by_key(|value| std::cmp::Reverse(number(value)));
    values
}

fn number(value: &str) -> u64 {
    value.trim_end_matches('u').parse().unwrap()
}

#[tokio::test]
async fn a_try_that_takes_too_long_is_made_elsewhere() {
    let (mute, quick) = (mute().await, Backend::answering(OK).await);
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{}\", \"{}\"]\n\
         [upstreams.app.retry]\nper_try_timeout = \"150ms\"\n",
        mute.address(),
        quick.address()
    ));
    for _ in 0..2 {
        assert_eq!(get(gate.address(), "/").await.text(), "ok");
    }
    gate.counted("tollgate_upstream_retries_total{upstream=\"app\",reason=\"timeout\"} 1").await;
    let post = "POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\n\r\nx";
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(ask(gate.address(), post).await.status());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 504], "an order that may have been acted on is not made twice");
    assert_eq!((mute.seen().len(), quick.seen().len()), (2, 3));
}

#[tokio::test]
async fn each_try_is_told_how_much_is_left() {
    let (backends, gate) = silent("timeout = \"20s\"", "per_try_timeout = \"150ms\"").await;
    assert_eq!(get(gate.address(), "/").await.refusal(), (504, "upstream_timeout".into()));
    let told = told(&backends, "x-request-timeout");
    let told: Vec<u64> = told.iter().map(|value| number(value)).collect();
    assert_eq!(told.len(), 3);
    assert!(told[0] <= 20_000 && told[0] > 10_000, "{told:?}");
    assert!(told[1] <= 20_000 - 149 && told[2] <= 20_000 - 299, "{told:?}");
}

#[tokio::test]
async fn a_grpc_call_is_told_in_its_own_way() {
    let (backends, gate) = silent("timeout = \"20s\"", "per_try_timeout = \"150ms\"").await;
    let call = |timeout| {
        format!(
            "POST /s/m HTTP/1.1\r\nHost: gate\r\nContent-Type: application/grpc\r\nTE: trailers\r\n{timeout}\
             Idempotency-Key: 1\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0"
        )
    };
    assert_eq!(ask(gate.address(), call("grpc-timeout: 10S\r\n")).await.status(), 504);
    let values = told(&backends, "grpc-timeout");
    let values: Vec<u64> = values.iter().map(|value| number(value)).collect();
    assert_eq!(values.len(), 3);
    assert!(values[0] <= 10_000_000 && values[0] > 1_000_000, "microseconds: {values:?}");
    assert!(values[1] <= 10_000_000 - 150_000 && values[2] <= 10_000_000 - 300_000, "{values:?}");

    let (backends, gate) = silent("timeout = \"2s\"", "per_try_timeout = \"150ms\"").await;
    assert_eq!(ask(gate.address(), call("grpc-timeout: 1H\r\n")).await.status(), 504);
    assert!(told(&backends, "grpc-timeout").iter().all(|value| number(value) <= 2_000_000), "no more than is left");
    let (backends, gate) = silent("", "per_try_timeout = \"150ms\"").await;
    assert_eq!(ask(gate.address(), call("")).await.status(), 504);
    assert!(backends.iter().all(|backend| !backend.only().head.has("grpc-timeout")), "a call without a limit has none");
}

#[tokio::test]
async fn all_tries_together_have_one_budget_of_time() {
    let (backends, gate) = silent("timeout = \"400ms\"", "per_try_timeout = \"300ms\"").await;
    let began = Instant::now();
    assert_eq!(get(gate.address(), "/").await.refusal(), (504, "deadline_exceeded".into()));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(backends.iter().map(|backend| backend.seen().len()).sum::<usize>() <= 2);
}

#[tokio::test]
async fn a_trusted_proxy_may_say_that_its_client_waits_for_less() {
    let trusted = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    for (field, value) in [("X-Request-Timeout", "200"), ("grpc-timeout", "200m")] {
        let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{field}: {value}\r\n\r\n");
        let (mute, quick) = (mute().await, Backend::answering(OK).await);
        let gate = Gate::before(&mute, trusted);
        assert_eq!(ask(gate.address(), &request).await.refusal(), (504, "deadline_exceeded".into()), "{field}");
        gate.counted("tollgate_upstream_requests_total{upstream=\"app\",outcome=\"timeout\"} 0").await;
        assert!(number(mute.only().head.get("x-request-timeout").unwrap()) <= 200);

        let gate = Gate::before(&quick, "");
        assert_eq!(ask(gate.address(), &request).await.text(), "ok");
        assert!(number(quick.only().head.get("x-request-timeout").unwrap()) > 10_000, "a stranger is not believed");
    }
}

#[tokio::test]
async fn without_a_budget_nothing_is_said() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "timeout = \"0s\"\n");
    assert_eq!(get(gate.address(), "/").await.status(), 200);
    assert!(!backend.only().head.has("x-request-timeout"));
}
