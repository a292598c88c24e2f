//! The numbers on the operators' page: in both formats, of what exists, and never more series than were promised.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use tollgate::app;
use tollgate::config::load;
use tollgate::runtime::series;
use tollgate::telemetry::names::{self, Kind};

use crate::support::program::{Missing, program};
use crate::support::scrape::scrape;
use crate::support::{Backend, Client, Gate, OK, ask, eventually_async};

/// Asks for metrics with this `Accept`; content type and page.
async fn page(gate: &Gate, accept: &str) -> (String, String) {
    let answer = ask(gate.admin(), format!("GET /metrics HTTP/1.1\r\nHost: gate\r\nAccept: {accept}\r\n\r\n")).await;
    assert_eq!(answer.status(), 200);
    (answer.head.get("content-type").unwrap().to_owned(), answer.text())
}

/// Series on a page, by family.
fn series_of(page: &str) -> BTreeMap<&'static str, usize> {
    let mut found = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("tollgate_")) {
        let name = line.split(['{', ' ']).next().unwrap();
        let of = |known: &&names::Name| {
            let end = name.strip_prefix(known.id);
            end == Some("") || known.kind == Kind::Histogram && end.is_some_and(|end| end.starts_with('_'))
        };
        let family = names::ALL.iter().find(of).unwrap_or_else(|| panic!("no family has {line}"));
        *found.entry(family.id).or_default() += 1;
    }
    found
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

/// Requests that a stranger makes up: methods, hosts, paths, queries, fields, none of them twice.
fn strange(number: u64) -> String {
    let method = ["GET", "POST", "BREW", "PROPFIND", "get", "OPTIONS", "DELETE"][(number % 7) as usize];
    let method = if number.is_multiple_of(11) { format!("M{number}") } else { method.to_owned() };
    let prefix = ["/app", "/only-get", "/token", "/nowhere", ""][(number % 5) as usize];
    let mut request = format!("{method} {prefix}/{number}?status={}&a{number}=b HTTP/1.1\r\n", 100 + number % 900);
    write!(request, "Host: h{number}.example\r\nUser-Agent: agent-{number}\r\nX-User-{number}: {number}\r\n").unwrap();
    write!(request, "Authorization: Bearer {number}\r\nContent-Length: 0\r\n\r\n").unwrap();
    request
}

/// Sends so many of them, and holds what is counted against what was promised.
async fn stays_within_the_bound(requests: u64) {
    let backend = Backend::replying(|seen| {
        let status =
            seen.head.target().split("status=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or("200");
        let status = if status.starts_with('1') { "200" } else { status };
        format!("HTTP/1.1 {status} Odd\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let address = backend.address();
    let route = |name: &str, more: &str| format!("[[routes]]\nname='{name}'\nprefix='/{name}'\nupstream='u'\n{more}\n");
    let text = format!(
        "[upstreams.u]\naddresses = ['{address}']\nmax_connections = 9\ncircuit = {{ min_requests = 1000000 }}\n\
         [auth.main]\nsecret = '0123456789abcdef0123456789abcdef'\n{}{}{}",
        route("app", ""),
        route("only-get", "methods = ['GET']"),
        route("token", "auth = { use = 'main', mode = 'observe' }")
    );
    let config = load::from_text(&text).unwrap().config;
    let most: BTreeMap<&str, usize> = series::greatest(&config, app::worker_count(&config.server))
        .into_iter()
        .map(|(name, most)| (name.id, most))
        .collect();
    let gate = Gate::start(&text);
    let mut client = Client::connect(gate.address()).await;
    for number in 0..requests {
        client.send(strange(number)).await;
        if client.answer().await.is_none() {
            client = Client::connect(gate.address()).await;
        }
    }
    let page = gate.metrics().await;
    let found = series_of(&page);
    for (family, count) in &found {
        assert!(*count <= most[family], "{family}: {count} series, and at most {} were promised", most[family]);
    }
    let total: usize = found.values().sum();
    assert!(total > 100 && total <= series::total(&config, app::worker_count(&config.server)), "{total}");
    assert!(page.contains("method=\"OTHER\"") && page.contains("route=\"none\""), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_make_no_more_series_than_were_promised() {
    stays_within_the_bound(4_000).await;
}
