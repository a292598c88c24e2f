//! Traces: continued or begun, told to the upstream, and sent to a collector that nobody waits for.

mod cache;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;

use crate::support::collector::{Collector, Received, TAKEN};
use crate::support::log::Log;
use crate::support::process::Process;
use crate::support::program::{Missing, program_in};
use crate::support::scrape::scrape;
use crate::support::{Backend, Client, Gate, OK, ask, eventually_async, get};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
const TRUST: &str = "[server]\ntrusted_proxies = ['127.0.0.0/8']\n";

/// A GET with more lines.
fn request(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.test:80\r\n{lines}\r\n")
}

/// Trace, span and flags of a `traceparent`.
fn parts(field: &str) -> (String, String, String) {
    let parts: Vec<&str> = field.split('-').collect();
    assert_eq!((parts[0], parts.len(), field.len()), ("00", 4, 55), "{field}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

/// How many spans ended like this.
async fn counted(gate: &Gate, result: &str) -> f64 {
    scrape(gate.admin()).await.value("tollgate_trace_spans_total", &[("result", result)]).unwrap()
}

/// What is known of a request.
fn of_the_request(server: &Received) {
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/a;s=***/b"),
        ("url.query", "token=***"),
        ("server.address", "shop.test"),
        ("server.port", "80"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "tests/1"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "2"),
        ("http.route", "/*"),
        ("tollgate.route", "app"),
        ("tollgate.upstream", "app"),
        ("tollgate.tries", "1"),
        ("tollgate.end", "ok"),
    ] {
        assert_eq!(server.get(name), value, "{name}: {server:#?}");
    }
}

/// What is known of a try.
fn of_the_try(sent: &Received, backend: &Backend) {
    let address = backend.address();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("network.peer.port", &address.port().to_string()),
        ("url.full", &format!("http://{address}/a;s=***/b?token=***")),
        ("tollgate.upstream", "app"),
        ("http.request.resend_count", ""),
        ("error.type", ""),
    ] {
        assert_eq!(sent.get(name), value, "{name}: {sent:#?}");
    }
}

#[tokio::test]
async fn a_request_and_its_try_are_spans_of_one_trace() {
    let (backend, collector, log) = (Backend::answering(OK).await, Collector::start().await, Log::new());
    let table = collector.table("sample = 1\nservice_name = 'edge'\nheaders = { x-tenant = 'a' }");
    let gate = Gate::before(&backend, &format!("{}{table}", log.table()));
    let lines = "User-Agent: tests/1\r\n";
    assert_eq!(ask(gate.address(), request("/a;s=1/b?token=hunter2", lines)).await.status(), 200);
    let spans = collector.received(2).await;
    let (server, sent) = (&spans[0], &spans[1]);
    assert_eq!(
        (server.span.name.as_str(), server.span.kind, sent.span.name.as_str(), sent.span.kind),
        ("GET app", 2, "GET", 3)
    );
    assert_eq!((server.parent().as_str(), sent.parent(), sent.trace()), ("", server.id(), server.trace()));
    of_the_request(server);
    of_the_try(sent, &backend);
    assert!(server.span.status.is_none() && sent.span.status.is_none());
    let times = |one: &Received| (one.span.start_time_unix_nano, one.span.end_time_unix_nano);
    let ((start, end), (began, ended)) = (times(server), times(sent));
    assert!(start <= began && began <= ended && ended <= end, "{spans:#?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert!(now - u128::from(end) < 60_000_000_000, "{spans:#?}");
    for (name, value) in [("service.name", "edge"), ("service.version", env!("CARGO_PKG_VERSION"))] {
        assert_eq!(server.resource[name], value);
    }
    // The upstream, the log, the collector and the metrics speak of the same trace.
    let seen = backend.only();
    let (trace, span, flags) = parts(seen.head.get("traceparent").unwrap());
    assert_eq!((&trace, &span, flags.as_str()), (&server.trace(), &sent.id(), "03"));
    assert_eq!(log.only().await["trace_id"], trace.as_str());
    assert_eq!(collector.requests()[0].head.get("x-tenant"), Some("a"));
    let page =
        ask(gate.admin(), "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n").await;
    for family in
        ["tollgate_request_duration_seconds_bucket{route=\"app\"", "tollgate_upstream_duration_seconds_bucket"]
    {
        let example = format!(" # {{trace_id=\"{trace}\"}} ");
        let lines = page.text();
        assert!(lines.lines().any(|line| line.starts_with(family) && line.contains(&example)), "{lines}");
    }
    assert!(!format!("{spans:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_trusted_peers_trace_goes_on_and_a_strangers_does_not() {
    let (backend, collector) = (Backend::answering(OK).await, Collector::start().await);
    let lines = format!("traceparent: {PARENT}-01\r\ntracestate: vendor=1,other=2\r\n");
    let gate = Gate::before(&backend, &format!("{TRUST}{}", collector.table("sample = 0")));
    ask(gate.address(), request("/", &lines)).await;
    let spans = collector.received(2).await;
    assert_eq!((spans[0].trace(), spans[0].parent()), (PARENT[3..35].to_owned(), PARENT[36..].to_owned()));
    let seen = backend.only();
    assert_eq!(seen.head.get("traceparent").unwrap(), format!("00-{}-{}-01", &PARENT[3..35], spans[1].id()));
    assert_eq!(seen.head.get("tracestate"), Some("vendor=1,other=2"));

    let (backend, collector) = (Backend::answering(OK).await, Collector::start().await);
    let gate = Gate::before(&backend, &collector.table("sample = 1"));
    ask(gate.address(), request("/", &lines)).await;
    let spans = collector.received(2).await;
    assert_ne!(spans[0].trace(), PARENT[3..35]);
    assert_eq!(spans[0].parent(), "");
    let link = &spans[0].span.links[0];
    assert_eq!((link.trace_id[0], link.span_id[7]), (0x4b, 0xb7), "what the stranger said is a link");
    let head = backend.only().head;
    assert_eq!((parts(head.get("traceparent").unwrap()).0, head.get("tracestate")), (spans[0].trace(), None));
}

#[tokio::test]
async fn a_trace_is_told_of_whether_it_is_recorded_or_not() {
    let (backend, collector) = (Backend::answering(OK).await, Collector::start().await);
    let gate = Gate::before(&backend, &format!("{TRUST}{}", collector.table("sample = 0")));
    // Not recorded by who began it; begun here; and a field that is none.
    for lines in
        [format!("traceparent: {PARENT}-00\r\n"), String::new(), "traceparent: 1\r\ntracestate: a=1\r\n".into()]
    {
        ask(gate.address(), request("/", &lines)).await;
    }
    let twice = format!("traceparent: {PARENT}-01\r\ntraceparent: {PARENT}-01\r\n");
    ask(gate.address(), request("/", &twice)).await;
    let seen = backend.seen();
    let fields: Vec<_> = seen.iter().map(|seen| parts(seen.head.get("traceparent").unwrap())).collect();
    assert_eq!((fields[0].0.as_str(), fields[0].2.as_str()), (&PARENT[3..35], "00"));
    assert_ne!(fields[0].1, PARENT[36..], "the gateway is the one who asks");
    assert!(fields[1..].iter().all(|(trace, _, flags)| trace != &PARENT[3..35] && flags == "02"), "{fields:?}");
    assert_eq!(seen[2].head.get("tracestate"), None);
    gate.shutdown();
    assert_eq!(collector.spans().len(), 0);
}

#[tokio::test]
async fn without_a_collector_the_fields_pass_as_they_came() {
    let lines = format!("traceparent: {PARENT}-01\r\ntracestate: vendor=1\r\n");
    for (trust, logged) in [(TRUST, Some(&PARENT[3..35])), ("", None)] {
        let (backend, log) = (Backend::answering(OK).await, Log::new());
        let gate = Gate::before(&backend, &format!("{}{trust}", log.table()));
        ask(gate.address(), request("/", &lines)).await;
        let head = backend.only().head;
        assert_eq!(
            (head.get("traceparent").unwrap(), head.get("tracestate")),
            (&*format!("{PARENT}-01"), Some("vendor=1"))
        );
        assert_eq!(log.only().await.get("trace_id").and_then(|id| id.as_str()), logged);
    }
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    ask(gate.address(), request("/", "")).await;
    assert!(!backend.only().head.has("traceparent"), "the gateway takes no part");
}

#[tokio::test]
async fn each_try_is_a_span_that_says_why_there_is_another() {
    let (bad, good, collector) = (
        Backend::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await,
        Backend::answering(OK).await,
        Collector::start().await,
    );
    let gate = Gate::start(&format!(
        "[[routes]]\nname = 'app'\nprefix = '/app'\nstrip_prefix = true\nupstream = 'app'\n\
         [upstreams.app]\naddresses = ['{}', '{}']\neject = {{ max_share = 0 }}\n{}",
        bad.address(),
        good.address(),
        collector.table("sample = 1")
    ));
    let mut client = Client::connect(gate.address()).await;
    // With a body, so that the fields of the first try would still be there at the second.
    let put = "PUT /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1";
    while bad.seen().is_empty() {
        assert_eq!(client.ask(put).await.status(), 200);
    }
    eventually_async("the spans of two tries", async || {
        collector.spans().iter().any(|span| span.get("http.request.resend_count") == "1")
    })
    .await;
    let spans = collector.spans();
    let second = spans.iter().find(|span| span.get("http.request.resend_count") == "1").unwrap();
    let of_trace: Vec<&Received> = spans.iter().filter(|span| span.trace() == second.trace()).collect();
    let [server, first, second] = of_trace[..] else { panic!("{of_trace:#?}") };
    assert_eq!((server.get("tollgate.tries"), server.get("http.response.status_code")), ("2", "200"));
    assert!(server.span.status.is_none(), "the client has seen nothing of it");
    assert_eq!((first.get("http.response.status_code"), first.get("error.type")), ("503", "503"));
    assert_eq!(first.span.status.as_ref().unwrap().code, 2);
    assert_eq!(second.get("tollgate.retry.reason"), "status");
    assert_eq!(second.get("url.full"), format!("http://{}/x", good.address()));
    assert!(first.span.end_time_unix_nano <= second.span.start_time_unix_nano);
    let told = |backend: &Backend| -> Vec<String> {
        let seen = backend.seen();
        seen.iter().map(|seen| parts(seen.head.get("traceparent").unwrap()).1).collect()
    };
    assert!(told(&bad).contains(&first.id()) && told(&good).contains(&second.id()), "{of_trace:#?}");
}

#[tokio::test]
async fn failures_and_refusals_say_what_they_were() {
    let collector = Collector::start().await;
    let gate = Gate::start(&format!(
        "[[routes]]\nname = 'app'\nprefix = '/'\nupstream = 'http://127.0.0.1:9'\n\
         [[routes]]\nname = 'private'\nprefix = '/private'\nupstream = 'http://127.0.0.1:9'\nauth = 'main'\n\
         [auth.main]\nsecret = '0123456789abcdef0123456789abcdef'\n{}",
        collector.table("sample = 1")
    ));
    assert_eq!(get(gate.address(), "/").await.status(), 502);
    assert_eq!(get(gate.address(), "/private").await.status(), 401);
    assert_eq!(get(gate.address(), "/../x").await.status(), 400);
    ask(gate.address(), "BREW /private HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hunter2\r\n\r\n").await;
    let spans = collector.received(7).await;
    let named = |name: &str| -> Vec<&Received> { spans.iter().filter(|span| span.span.name == name).collect() };
    let unreachable = named("GET app")[0];
    assert_eq!(
        (unreachable.get("error.type"), unreachable.get("tollgate.code")),
        ("upstream_connect", "upstream_connect")
    );
    let status = unreachable.span.status.as_ref().unwrap();
    assert!(status.code == 2 && status.message.contains("refused"), "{status:?}");
    let tried: Vec<_> = spans.iter().filter(|span| span.span.kind == 3).collect();
    assert_eq!((tried.len(), tried[0].get("error.type")), (1, "connect"));
    let auth = named("auth");
    assert_eq!(auth.iter().map(|span| span.get("error.type")).collect::<Vec<_>>(), ["token_missing", "token_invalid"]);
    assert!(auth.iter().all(|span| span.span.kind == 1));
    let refused = named("GET private")[0];
    assert_eq!(
        (refused.get("tollgate.code"), refused.get("error.type"), &refused.span.status),
        ("token_missing", "", &None)
    );
    assert_eq!(refused.id(), auth[0].parent());
    let unmatched: Vec<_> = named("GET").into_iter().filter(|span| span.span.kind == 2).collect();
    assert_eq!((unmatched.len(), unmatched[0].get("tollgate.code")), (1, "bad_request"));
    let odd = named("HTTP private")[0];
    assert_eq!((odd.get("http.request.method"), odd.get("http.request.method_original")), ("_OTHER", "BREW"));
    assert!(!format!("{spans:?}").contains("hunter2"), "{spans:#?}");
}

#[tokio::test]
async fn errors_are_recorded_whatever_the_share() {
    let backend = Backend::replying(|seen| {
        let status = seen.head.target().trim_start_matches('/');
        format!("HTTP/1.1 {status} As told\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let collector = Collector::start().await;
    let gate = Gate::before_upstream(
        &backend,
        &format!("retry = {{ attempts = 0 }}\n{}", collector.table("sample = 0\nerrors = true")),
    );
    for target in ["/200", "/404", "/500", "/302", "/503"] {
        ask(gate.address(), request(target, "")).await;
    }
    let spans = collector.received(4).await;
    let statuses: Vec<&str> = spans.iter().map(|span| span.get("http.response.status_code")).collect();
    assert_eq!(statuses, ["500", "500", "503", "503"]);
    let flags = backend.seen().iter().map(|seen| parts(seen.head.get("traceparent").unwrap()).2).collect::<Vec<_>>();
    assert!(flags.iter().all(|flags| flags == "02"), "{flags:?}");
}

#[tokio::test]
async fn a_collector_that_is_busy_gets_the_spans_again_and_one_that_refuses_does_not() {
    let busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\ncontent-length: 0\r\n\r\n";
    let collector = Collector::answering(move |number| if number < 3 { busy.to_vec() } else { TAKEN.to_vec() }).await;
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, &collector.table("sample = 1"));
    ask(gate.address(), request("/", "")).await;
    eventually_async("they are taken", async || counted(&gate, "exported").await == 2.0).await;
    let requests = collector.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|seen| seen.content.bytes == requests[0].content.bytes && seen.connection == 1));

    let refusing = Collector::answering(|_| b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let gate = Gate::before(&backend, &refusing.table("sample = 1"));
    ask(gate.address(), request("/", "")).await;
    eventually_async("they are lost", async || counted(&gate, "failed").await == 2.0).await;
    assert_eq!(refusing.requests().len(), 1);

    let told = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one is too old".to_owned() };
    let body = ExportTraceServiceResponse { partial_success: Some(told) }.encode_to_vec();
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    let picky = Collector::answering(move |_| answer.clone()).await;
    let gate = Gate::before(&backend, &picky.table("sample = 1"));
    ask(gate.address(), request("/", "")).await;
    eventually_async("one is taken", async || {
        counted(&gate, "exported").await == 1.0 && counted(&gate, "failed").await == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_costs_spans_and_nothing_else() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = Backend::answering(OK).await;
    let table = format!("[tracing]\notlp = 'http://{}'\nsample = 1\n", silent.local_addr().unwrap());
    let gate = Gate::before(&backend, &table);
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..3000 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    // One batch is on its way, as much as fits waits, the rest is gone.
    let dropped = counted(&gate, "dropped").await;
    assert!(dropped > 0.0 && dropped < 6000.0, "{dropped}");
    let began = std::time::Instant::now();
    gate.shutdown();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_waits_is_sent_when_the_gateway_goes_down() {
    let (backend, collector) = (Backend::answering(OK).await, Collector::start().await);
    let gate = Gate::before(&backend, &collector.table("sample = 1"));
    ask(gate.address(), request("/", "")).await;
    let began = std::time::Instant::now();
    tokio::task::spawn_blocking(|| gate.shutdown()).await.unwrap();
    assert_eq!(collector.spans().len(), 2);
    assert!(began.elapsed() < Duration::from_millis(900), "it does not wait for a batch: {:?}", began.elapsed());
}

#[tokio::test]
async fn tracing_is_turned_on_and_off_by_a_reload() {
    let (backend, collector, other) =
        (Backend::answering(OK).await, Collector::start().await, Collector::start().await);
    let address = backend.address();
    let text =
        |tracing: &str| format!("[[routes]]\nname = 'app'\nprefix = '/'\nupstream = 'http://{address}'\n{tracing}");
    let gate = Gate::start(&text(""));
    let mut client = Client::connect(gate.address()).await;
    client.get("/").await;
    assert!(gate.reload(&text(&collector.table("sample = 1"))).await.is_ok());
    client.get("/").await;
    assert!(gate.reload(&text(&other.table("sample = 1"))).await.is_ok());
    client.get("/").await;
    assert!(gate.reload(&text("")).await.is_ok());
    client.get("/").await;
    assert_eq!((collector.received(2).await.len(), other.received(2).await.len()), (2, 2));
    let told: Vec<bool> = backend.seen().iter().map(|seen| seen.head.has("traceparent")).collect();
    assert_eq!(told, [false, true, true, false]);
}

#[tokio::test]
async fn a_collector_of_others_takes_the_spans() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/collector");
    let Some(rotel) = program_in(&folder.join("rotel"), "rotel-agent", &Missing::ROTEL) else { return };
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (http, grpc) = (free(), free());
    let mut command = std::process::Command::new(rotel);
    command.args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()]);
    let collector = Process::of(command);
    eventually_async("it listens", async || tokio::net::TcpStream::connect(http).await.is_ok()).await;
    let backend = Backend::answering(OK).await;
    let gate =
        Gate::before(&backend, &format!("[tracing]\notlp = 'http://{http}'\nsample = 1\nservice_name = 'edge'\n"));
    ask(gate.address(), request("/", "")).await;
    let (trace, span, _) = parts(backend.only().head.get("traceparent").unwrap());
    for text in ["service.name: Str(edge)", "http.response.status_code: Int(200)", &trace, &span, "SPAN_KIND_CLIENT"] {
        collector.says(text).await;
    }
    assert_eq!(counted(&gate, "exported").await, 2.0);
}
