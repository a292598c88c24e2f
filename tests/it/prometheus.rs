//! A real Prometheus that scrapes a real gateway with all kinds of traffic, asked everything that dashboards and rules
//! ask; and what promtool says of the rules.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::process::Process;
use crate::support::program::{Missing, program};
use crate::support::town::Town;
use crate::support::{Client, eventually_async, get};

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

#[test]
fn promtool_finds_the_rules_sound_and_their_tests_pass() {
    let Some(promtool) = program("promtool", &Missing::PROMETHEUS) else { return };
    let run = |arguments: &[&str]| -> Output {
        Command::new(&promtool).args(arguments).current_dir(grafana().join("prometheus")).output().unwrap()
    };
    for arguments in [
        ["check", "rules", "rules/recording.yml", "rules/alerts.yml"].as_slice(),
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "tests/alerts.yml"],
    ] {
        let said = run(arguments);
        assert!(said.status.success(), "{arguments:?}: {said:?}");
    }
}

/// A running Prometheus; it ends with the value.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` five times a second, and evaluates the rules.
    fn start(program: &Path, target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = grafana().join("prometheus/rules");
        let text = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\n\
             rule_files: ['{}/*.yml']\n\
             scrape_configs: [{{ job_name: tollgate, static_configs: [{{ targets: ['{target}'] }}] }}]\n",
            rules.display()
        );
        std::fs::write(folder.path().join("prometheus.yml"), text).unwrap();
        // Nothing else in this test takes ports, so one that was free a moment ago still is.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, folder }
    }

    /// The answer of a page of its API.
    async fn api(&self, page: &str, parameters: &[(&str, &str)]) -> Value {
        let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
        let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let answer = get(self.address, &format!("/api/v1/{page}?{}", query.join("&"))).await;
        serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// How many series an expression has now.
    async fn count(&self, expression: &str) -> usize {
        let answer = self.api("query", &[("query", expression)]).await;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().len()
    }

    async fn is_ready(&self) {
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        eventually_async(&format!("Prometheus is there: {}", log()), async || {
            tokio::net::TcpStream::connect(self.address).await.is_ok()
                && get(self.address, "/-/ready").await.status() == 200
        })
        .await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway that uses all that there is: a name, lists, one that fails, limits, tokens, logs.
fn configuration(town: &Town, port: u16) -> String {
    let server = town.names.local_addr();
    let gone = town.socket(9);
    format!(
        "[server]\nlisten = ['127.0.0.1:0']\n[admin]\nlisten = '127.0.0.1:0'\n[log]\naccess = 'stderr'\nlevel = 'info'\n\
         [tracing]\notlp = 'http://{gone}'\nsample = 1\n[dns]\nservers = ['{server}']\nfamily = 'v4'\n\
         [upstreams.shop]\ndns = 'shop.test.:{port}'\nmax_connections = 50\n\
         [upstreams.list]\naddresses = ['{}', '{gone}']\neject = {{ for = '100ms' }}\n\
         [upstreams.gone]\naddresses = ['{gone}']\ncircuit = {{ min_requests = 1 }}\n\
         [auth.main]\nsecret = '0123456789abcdef0123456789abcdef'\n\
         [rate_limits.each]\nrate = '100000/s'\n\
         [[routes]]\nname = 'shop'\nprefix = '/shop'\nstrip_prefix = true\nupstream = 'shop'\n\
         [[routes]]\nname = 'list'\nprefix = '/list'\nstrip_prefix = true\nupstream = 'list'\nrate_limit = 'each'\ncache = true\n\
         [[routes]]\nname = 'gone'\nprefix = '/gone'\nupstream = 'gone'\n\
         [[routes]]\nname = 'private'\nprefix = '/private'\nupstream = 'shop'\nauth = {{ use = 'main', mode = 'observe' }}\n",
        town.socket(1),
    )
}

/// How often everything is asked until all has data: after a scrape or two it has.
const ROUNDS: usize = 50;

/// Every kind of request once or more.
async fn traffic(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    for round in 0..8 {
        for path in ["/shop/", "/list/", "/gone/", "/private/", "/nowhere", "/shop/status/500", "/shop/status/302"] {
            client.get(path).await;
        }
        let odd = format!("BREW /shop/{round} HTTP/1.1\r\nHost: gate\r\n\r\n");
        client.ask(odd).await;
    }
}

/// The expressions of the dashboards, with the variables set to everything, and where they are.
fn expressions() -> Vec<(String, String)> {
    fn collect(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                let title = map.get("title").or(map.get("name")).and_then(Value::as_str);
                let place = title.map_or(place.to_owned(), |title| format!("{place} / {title}"));
                if let Some(Value::String(expression)) = map.get("expr") {
                    found.push((place.clone(), expression.clone()));
                }
                map.values().for_each(|value| collect(value, &place, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, place, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(grafana().join("dashboards")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        collect(&serde_json::from_str(&text).unwrap(), "", &mut found);
    }
    assert!(found.len() > 60, "{}", found.len());
    for (_, expression) in &mut found {
        for name in ["job", "instance", "route", "upstream"] {
            *expression = expression.replace(&format!("${name}"), ".*");
        }
        *expression = expression.replace("$__rate_interval", "2s");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboards_has_data() {
    let Some(program) = program("prometheus", &Missing::PROMETHEUS) else { return };
    let town = Town::new().await;
    let _containers = (town.start("shop", 1).await, town.start("shop", 2).await);
    town.publish("shop.test", &[1, 2]);
    let (gate, address, admin) = Process::serve(&configuration(&town, town.port)).await;
    let prometheus = Prometheus::start(&program, admin);
    prometheus.is_ready().await;
    eventually_async("the gateway is scraped", async || prometheus.count("up == 1").await == 1).await;
    let mut reload = Client::connect(admin).await;
    let reload_now = "POST /api/v1/reload HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(reload.ask(reload_now).await.status(), 200);
    gate.spoil();
    assert_eq!(reload.ask(reload_now).await.status(), 422);
    let all = expressions();
    // Nothing is shared in this configuration: those queries have to be sound, and may have nothing to show.
    let may_be_empty = |expression: &str| expression.contains("_redis_");
    let mut missing = vec![String::new()];
    for _ in 0..ROUNDS {
        traffic(address).await;
        missing.clear();
        for (place, expression) in &all {
            if prometheus.count(expression).await == 0 && !may_be_empty(expression) {
                missing.push(format!("{place}: {expression}"));
            }
        }
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "no data for {missing:#?}");
    for rule in ["job:tollgate:requests:rate5m", "job:tollgate:errors:ratio_rate5m", "ALERTS"] {
        eventually_async(rule, async || prometheus.count(rule).await > 0).await;
    }
    // The traces of requests, in the buckets that they fell into.
    let of_durations = [("query", "tollgate_request_duration_seconds_bucket"), ("start", "0"), ("end", "9999999999")];
    let exemplars = prometheus.api("query_exemplars", &of_durations).await;
    let first = &exemplars["data"][0]["exemplars"][0]["labels"]["trace_id"];
    assert_eq!(first.as_str().map(str::len), Some(32), "{exemplars}");
    let targets = prometheus.api("targets", &[]).await;
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], "", "{targets}");
}
