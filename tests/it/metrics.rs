//! The numbers on the operators' page: in both formats, of what exists, and never more series than were promised.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::program::{Missing, program};
use crate::support::scrape::scrape;
use crate::support::strangers::{Strangers, series_of};
use crate::support::{Backend, Client, Gate, OK, ask, eventually_async};

/// Asks for metrics with this `Accept`; content type and page.
async fn page(gate: &Gate, accept: &str) -> (String, String) {
    let answer = ask(gate.admin(), format!("GET /metrics HTTP/1.1\r\nHost: gate\r\nAccept: {accept}\r\n\r\n")).await;
    assert_eq!(answer.status(), 200);
    (answer.head.get("content-type").unwrap().to_owned(), answer.text())
}

#[tokio::test]
async fn a_scraper_chooses_the_format() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let (kind, text) = page(&gate, "*/*").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    // What Prometheus 2.42 says.
    let (kind, open) = page(
        &gate,
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
         text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    )
    .await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    for line in [
        "# TYPE tollgate_requests counter",
        "# UNIT tollgate_request_duration_seconds seconds",
        "# TYPE process_cpu_seconds counter",
    ] {
        assert!(open.lines().any(|known| known == line), "{line} is missing in\n{open}");
    }
    assert!(open.ends_with("\n# EOF\n") && !open.contains("\n\n"), "{open}");
    assert_eq!(series_of(&text), series_of(&open));
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_page() {
    let Some(promtool) = program("promtool", &Missing::PROMETHEUS) else { return };
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    ask(gate.address(), "GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let mut checking = Command::new(promtool);
    checking.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = checking.spawn().unwrap();
    checking.stdin.take().unwrap().write_all(page(&gate, "text/plain").await.1.as_bytes()).unwrap();
    let said = checking.wait_with_output().unwrap();
    // It knows no unit of its own that would be a word in the middle of a name.
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
}

#[tokio::test]
async fn what_is_not_configured_any_more_has_no_series() {
    let (one, two) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let text = |name: &str, backend: &Backend| {
        format!(
            "[auth.of-{name}]\nsecret = '0123456789abcdef0123456789abcdef'\n[upstreams.{name}]\naddresses = ['{}']\n\
             circuit = {{}}\n[[routes]]\nname = '{name}'\nprefix = '/'\nupstream = '{name}'\n\
             auth = {{ use = 'of-{name}', optional = true }}\n",
            backend.address()
        )
    };
    let gate = Gate::start(&text("first", &one));
    let mut client = Client::connect(gate.address()).await;
    assert_eq!(client.get("/").await.status(), 200);
    let page = gate.metrics().await;
    assert!(page.contains("\"first\"") && page.contains("\"of-first\""), "{page}");
    assert!(gate.reload(&text("second", &two)).await.is_ok());
    assert_eq!(client.get("/").await.status(), 200);
    eventually_async("the old names are gone", async || {
        let page = gate.metrics().await;
        page.contains("\"second\"") && !page.contains("first\"")
    })
    .await;
    // What every configuration has goes on.
    gate.counted("tollgate_requests_in_flight{route=\"none\"} 0").await;
}

#[tokio::test]
async fn a_route_that_is_gone_is_counted_until_its_last_request_is_over() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            peer.request().await;
            let _ = wait.wait_for(|go| *go).await;
            peer.send(OK).await;
        }
    })
    .await;
    let gate = Gate::before(&backend, "");
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 1").await;
    let other = "[[routes]]\nname = 'other'\nprefix = '/other'\nupstream = 'http://127.0.0.1:9'";
    assert!(gate.reload(other).await.is_ok());
    gate.counted("tollgate_requests_in_flight{route=\"app\"} 1").await;
    go.send_replace(true);
    assert_eq!(client.answer().await.unwrap().status(), 200);
    eventually_async("the route is gone", async || !gate.metrics().await.contains("\"app\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_say_how_busy_they_are() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "[server]\nworkers = 2");
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(gate.address()).await;
        for _ in 0..20 {
            client.get("/").await;
        }
        clients.push(client);
    }
    let page = scrape(gate.admin()).await;
    for worker in ["0", "1"] {
        let labels = [("worker", worker)];
        assert_eq!(page.value("tollgate_worker_connections", &labels), Some(2.0));
        assert!(page.value("tollgate_worker_tasks", &labels) >= Some(2.0));
        assert!(page.value("tollgate_worker_busy_seconds_total", &labels) > Some(0.0));
    }
    assert!(page.value("tollgate_worker_tasks", &[("worker", "control")]) >= Some(1.0));
    assert_eq!(page.labels("tollgate_worker_tasks", "worker").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_make_no_more_series_than_were_promised() {
    let strangers = Strangers::let_in(4_000, 2).await;
    let (early, late) = strangers.memory;
    assert!(late < early + (64 << 20), "{strangers:?}");
    assert!(strangers.series > 100 && strangers.series <= strangers.promised, "{strangers:?}");
}
