//! What operators see: health, metrics, status, on a listener of their own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::telemetry::names;

use crate::support::load::{Client, ask};
use crate::support::scrape::scrape;
use crate::support::town::Town;
use crate::support::{Gate, eventually_async};

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_there_and_others_are_not() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let gate = town.gate(&town.route("app"));
    assert_eq!(ask(gate.address(), "/app/").await.status, 200);
    for (path, status, kind) in [
        ("/livez", 200, "text/plain; charset=utf-8"),
        ("/readyz", 200, "application/json"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/api/v1/status", 200, "application/json"),
        ("/api/v1/config", 200, "application/json"),
        ("/api/v1/nothing", 404, "text/plain; charset=utf-8"),
    ] {
        let answer = ask(gate.admin(), path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (status, &kind.parse().unwrap()),
            "{path}"
        );
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
    }
    let status: serde_json::Value = serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap();
    assert_eq!(status["draining"], false);
    assert_eq!(status["routes"], serde_json::json!(["app"]));
    assert_eq!(status["listeners"][0]["address"], gate.address().to_string());
    let upstream = &status["upstreams"][0];
    assert_eq!(upstream["name"], format!("app.test.:{}", town.port));
    let address = &upstream["addresses"][0];
    assert_eq!(address["address"], town.socket(1).to_string());
    assert_eq!((&address["state"], &address["requests"]), (&"healthy".into(), &1.into()));
    assert_eq!((&address["in_flight"], &address["weight"]), (&0.into(), &1.into()));
    let dns = &upstream["dns"];
    assert_eq!((&dns["state"], &dns["ttl_seconds"]), (&"fresh".into(), &600.into()));
    assert_eq!(dns["server"], town.names.local_addr().to_string());
    assert!(dns["age_seconds"].as_f64().unwrap() < 60.0, "{dns}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_family_is_one_that_is_documented_and_says_what_it_is() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let limited = "[[routes]]\nprefix = \"/limited\"\nupstream = \"limited\"\nrate_limit = \"each\"\ncache = true\n[upstreams.limited]\n\
                   addresses = [\"127.0.0.1:9\"]\nmax_connections = 1\ncircuit = {}\n";
    let auth = "auth = { use = 'main', optional = true }\n[auth.main]\nsecret = '0123456789abcdef0123456789abcdef'\n\
                [rate_limits.each]\nrate = '1000/s'\n";
    let gate = town.gate(&format!("{}{auth}{limited}", town.route("app")));
    for path in ["/app/", "/nowhere"] {
        ask(gate.address(), path).await;
    }
    let page = scrape(gate.admin()).await;
    for (name, family) in &page.families {
        if name.starts_with("process_") {
            continue;
        }
        let known = names::ALL.iter().find(|known| known.id == name);
        let known = known.unwrap_or_else(|| panic!("{name} is documented nowhere"));
        assert_eq!(family.help.as_deref(), Some(known.help), "{name}");
        let kind = format!("{:?}", known.kind).to_lowercase();
        assert_eq!(family.kind.as_deref(), Some(&*kind), "{name}");
    }
    for known in names::ALL {
        // Without a log there is nothing to lose of it, and nothing is shared here.
        let off = [names::ACCESS_LOG_DROPPED, names::LOG_DROPPED];
        let absent = off.contains(known) || known.id.contains("_redis_");
        assert_eq!(page.families.contains_key(known.id), !absent, "{}", known.id);
    }
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(page.families.contains_key(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_move_as_requests_come_and_go() {
    let town = Town::new().await;
    let _containers = (town.start("app", 1).await, town.start("app", 2).await);
    town.publish("app.test", &[1, 2]);
    let gate = town.gate(&town.route("app"));
    let admin = gate.admin();
    let route = [("route", "app")];
    let mut client = Client::new(gate.address(), http::Version::HTTP_11);
    for path in ["/app/", "/app/", "/app/status/404", "/app/status/500", "/nowhere"] {
        client.ask(path).await.unwrap();
    }
    let page = scrape(admin).await;
    let requests = |route: &str, status: &str| {
        let labels = [("route", route), ("method", "GET"), ("status", status)];
        page.value("tollgate_requests_total", &labels)
    };
    assert_eq!(requests("app", "200"), Some(2.0));
    assert_eq!(requests("app", "404"), Some(1.0));
    assert_eq!(requests("app", "500"), Some(1.0));
    assert_eq!(requests("none", "404"), Some(1.0));
    assert_eq!(page.value("tollgate_refusals_total", &[("code", "no_route"), ("route", "none")]), Some(1.0));
    assert_eq!(page.value("tollgate_request_duration_seconds_count", &route), Some(4.0));
    assert_eq!(page.value("tollgate_requests_in_flight", &route), Some(0.0));
    for (outcome, count) in [("2xx", 2.0), ("4xx", 1.0), ("5xx", 1.0), ("connect", 0.0)] {
        assert_eq!(page.value("tollgate_upstream_requests_total", &[("outcome", outcome)]), Some(count), "{outcome}");
    }
    assert_eq!(page.value("tollgate_upstream_endpoints", &[("state", "healthy")]), Some(2.0));
    assert_eq!(page.value("tollgate_upstream_connections", &[("state", "idle")]), Some(2.0));
    assert_eq!(page.value("tollgate_endpoint_requests_total", &[]), Some(4.0));
    assert!(page.value("tollgate_dns_lookups_total", &[("result", "ok")]) >= Some(1.0));
    let listener = gate.address().to_string();
    assert_eq!(page.value("tollgate_connections", &[("listener", &listener)]), Some(1.0));
    assert_eq!(page.value("tollgate_build_info", &[]), Some(1.0));
    while_a_request_is_under_way(&gate, &mut client).await;
    drop(client);
    eventually_async("the connection is gone", async || {
        scrape(admin).await.value("tollgate_connections", &[("listener", &listener)]) == Some(0.0)
    })
    .await;
    town.publish("app.test", &[2]);
    let left = town.socket(1).to_string();
    eventually_async("the address that left has no series", async || {
        let addresses = scrape(admin).await.labels("tollgate_endpoint_requests_total", "address");
        addresses.len() == 1 && !addresses.contains(&left)
    })
    .await;
}

async fn while_a_request_is_under_way(gate: &Gate, client: &mut Client) {
    let in_flight = async |count: f64| {
        eventually_async(&format!("{count} in flight"), async || {
            let page = scrape(gate.admin()).await;
            page.value("tollgate_requests_in_flight", &[("route", "app")]) == Some(count)
                && page.value("tollgate_upstream_connections", &[("state", "busy")]) == Some(count)
        })
        .await;
    };
    let (answer, ()) = tokio::join!(client.ask("/app/delay/500"), in_flight(1.0));
    assert_eq!(answer.unwrap().status, 200);
    in_flight(0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_what_they_were() {
    let town = Town::new().await;
    let refusing = town.socket(1);
    let gate = Gate::start(&format!(
        "[server]\nmax_connections = 1\n[upstreams.gone]\naddresses = [\"{refusing}\"]\n\
         [[routes]]\nname = \"gone\"\nprefix = \"/\"\nupstream = \"gone\""
    ));
    let mut only = Client::new(gate.address(), http::Version::HTTP_11);
    assert_eq!(only.ask("/").await.unwrap().status, 502);
    // It is told without having asked.
    let mut turned_away = TcpStream::connect(gate.address()).await.unwrap();
    let mut told = String::new();
    turned_away.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\"code\":\"overloaded\""), "{told}");
    let page = scrape(gate.admin()).await;
    let value = |name: &str, labels: &[(&str, &str)]| page.value(name, labels);
    assert_eq!(value("tollgate_upstream_requests_total", &[("outcome", "connect")]), Some(1.0));
    assert_eq!(value("tollgate_refusals_total", &[("route", "gone"), ("code", "upstream_connect")]), Some(1.0));
    assert_eq!(value("tollgate_connections_refused_total", &[("reason", "overloaded")]), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_sends_no_request_is_cut() {
    let gate = Gate::start("[[routes]]\nprefix = \"/\"\nupstream = \"http://127.0.0.1:9\"");
    let silent = async {
        let mut stream = TcpStream::connect(gate.admin()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    };
    let slow = async {
        let mut stream = TcpStream::connect(gate.admin()).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nx-slow: ").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    };
    let patience = std::time::Duration::from_secs(25);
    let cut = tokio::time::timeout(patience, async { tokio::join!(silent, slow) }).await;
    assert!(cut.is_ok(), "they are still connected");
}
