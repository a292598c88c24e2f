//! What the status page lives on: the state and its changes as server-sent events, who may listen, and what it costs.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::support::load::ask as fetch;
use crate::support::wire::within;
use crate::support::{Backend, Gate, OK, ask, eventually_async, get};

const EVENTS: &str = "/api/v1/events";
/// What runs on by itself.
const RUNNING: &[&str] =
    &["uptime_seconds", "age_seconds", "next_refresh_seconds", "open_for_seconds", "ejected_seconds"];

/// One who listens.
struct Listener {
    lines: Lines<BufReader<OwnedReadHalf>>,
    _write: OwnedWriteHalf,
    /// Bytes of the last event.
    bytes: usize,
}

impl Listener {
    async fn new(admin: SocketAddr) -> Self {
        let (read, mut write) = TcpStream::connect(admin).await.unwrap().into_split();
        // In HTTP/1.0 the body is not chunked.
        write.write_all(format!("GET {EVENTS} HTTP/1.0\r\nhost: {admin}\r\n\r\n").as_bytes()).await.unwrap();
        let mut listener = Self { lines: BufReader::new(read).lines(), _write: write, bytes: 0 };
        while listener.line().await.is_some_and(|line| !line.is_empty()) {}
        listener
    }

    async fn line(&mut self) -> Option<String> {
        within("a line", self.lines.next_line()).await.ok().flatten()
    }

    /// The next event: its name and what it says; none when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = (String::new(), Value::Null);
        self.bytes = 0;
        loop {
            let line = self.line().await?;
            self.bytes += line.len() + 1;
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                _ if line.is_empty() => return Some((name, data)),
                _ => {}
            }
        }
    }
}

/// What somebody knows who has applied every event.
#[derive(Default)]
struct Known {
    status: Value,
    requests: u64,
}

impl Known {
    fn hear(&mut self, (name, mut data): (String, Value)) {
        if name == "snapshot" {
            self.requests = data["history"].as_array().unwrap().iter().map(|frame| requests(&frame["routes"])).sum();
            self.status = data["status"].take();
            return;
        }
        assert_eq!(name, "frame");
        self.requests += requests(&data["routes"]);
        merge(&mut self.status, &data["status"]);
        let upstreams = self.status["upstreams"].as_array_mut().unwrap();
        for whole in data["replaced"].as_array().into_iter().flatten() {
            let old = upstreams.iter_mut().find(|one| one["name"] == whole["name"]).unwrap();
            *old = whole.clone();
        }
        for (name, patch) in data["upstreams"].as_object().into_iter().flatten() {
            let mut patch = patch.clone();
            let addresses = patch.as_object_mut().unwrap().remove("addresses").unwrap_or_default();
            let upstream = upstreams.iter_mut().find(|one| one["name"] == **name).unwrap();
            merge(upstream, &patch);
            for (place, patch) in addresses.as_object().into_iter().flatten() {
                merge(&mut upstream["addresses"][place.parse::<usize>().unwrap()], patch);
            }
        }
    }
}

fn requests(routes: &Value) -> u64 {
    let counts =
        |numbers: &Value| numbers.as_array().unwrap()[2..].chunks(2).map(|pair| pair[1].as_u64().unwrap()).sum::<u64>();
    routes.as_object().unwrap().values().map(counts).sum()
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().into_iter().flatten() {
        match (value, target.get_mut(name)) {
            (Value::Null, _) => drop(target.as_object_mut().unwrap().remove(name)),
            (Value::Object(_), Some(known @ Value::Object(_))) => merge(known, value),
            _ => target[name] = value.clone(),
        }
    }
}

/// The state without times, and without what is nothing.
fn at_rest(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let counts = members.iter().filter(|(name, value)| !value.is_null() && !RUNNING.contains(&name.as_str()));
            counts.map(|(name, value)| (name.clone(), at_rest(value))).collect()
        }
        Value::Array(list) => list.iter().map(at_rest).collect(),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_applies_the_changes_knows_the_state() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let mut listener = Listener::new(gate.admin()).await;
    let mut known = Known::default();
    let first = listener.next().await.unwrap();
    assert_eq!(first.0, "snapshot");
    known.hear(first);
    for number in 0..7 {
        get(gate.address(), &format!("/{number}")).await;
    }
    get(gate.address(), "/a%").await;
    let address = backend.address();
    let drain =
        format!("POST /api/v1/upstreams/app/addresses/{address}/drain HTTP/1.1\r\nHost: {}\r\n\r\n", gate.admin());
    assert_eq!(ask(gate.admin(), drain).await.status(), 200);
    while known.requests < 8 || known.status["upstreams"][0]["addresses"][0]["state"] != "draining" {
        known.hear(listener.next().await.unwrap());
    }
    assert_eq!(known.requests, 8);
    eventually_async("the same state", async || {
        known.hear(listener.next().await.unwrap());
        let now: Value = serde_json::from_str(&fetch(gate.admin(), "/api/v1/status").await.body).unwrap();
        at_rest(&known.status) == at_rest(&now)
    })
    .await;
    // Whoever comes later knows the same, and what was before.
    let mut late = Known::default();
    late.hear(Listener::new(gate.admin()).await.next().await.unwrap());
    assert_eq!((at_rest(&late.status), late.requests), (at_rest(&known.status), 8));
    // Other routes and upstreams come whole.
    gate.reload("[[routes]]\nprefix = \"/new\"\nupstream = \"http://127.0.0.1:9\"\n").await;
    let name = async |listener: &mut Listener| listener.next().await.unwrap().0;
    eventually_async("the whole state", async || name(&mut listener).await == "snapshot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_listen_and_one_more_when_one_has_gone() {
    let gate = Gate::start("");
    let mut listeners = Vec::new();
    for _ in 0..32 {
        let mut listener = Listener::new(gate.admin()).await;
        assert_eq!(listener.next().await.unwrap().0, "snapshot");
        listeners.push(listener);
    }
    let request = format!("GET {EVENTS} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gate.admin());
    assert_eq!(ask(gate.admin(), &request).await.refusal(), (503, "too_many_listeners".into()));
    listeners.pop();
    eventually_async("there is room", async || {
        Listener::new(gate.admin()).await.next().await.is_some_and(|(name, _)| name == "snapshot")
    })
    .await;
    // All of them hear the end.
    gate.shutdown();
    for mut listener in listeners {
        while listener.next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_heard() {
    let gate = Gate::start("[admin]\ntoken = \"open sesame\"\n");
    let admin = gate.admin();
    let asked = async |path: &str, host: &str, fields: &str| {
        ask(admin, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).await.refusal()
    };
    for path in ["/status", "/metrics", "/api/v1/status", "/api/v1/config", EVENTS, "/nowhere"] {
        // A name that somebody has made to lead here (DNS rebinding).
        assert_eq!(asked(path, "evil.example:9901", "").await, (421, "unknown_host".into()), "{path}");
    }
    let own = admin.to_string();
    for fields in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(asked(EVENTS, &own, fields).await, (403, "web_page".into()), "{fields}");
    }
    for name in ["localhost", "127.0.0.1", "[::1]:9901", "gateway"] {
        let answer = ask(admin, format!("GET /livez HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
        assert_eq!(answer.status(), 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_that_runs_is_shown_without_its_secrets() {
    let text = "[admin]\ntoken = \"marked-token\"\n[auth.main]\nsecret = \"marked-secret-marked-secret-marked\"\n\
                [[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"http://127.0.0.1:9\"\nauth = \"main\"\n";
    let gate = Gate::start(text);
    let shown: Value = serde_json::from_str(&fetch(gate.admin(), "/api/v1/config").await.body).unwrap();
    assert_eq!((&shown["admin"]["token"], &shown["auth"]["main"]["secret"]), (&json!("***"), &json!("***")));
    assert_eq!(shown["routes"][0]["name"], "app");
    let accepting =
        format!("GET /api/v1/config HTTP/1.1\r\nHost: {}\r\nAccept: text/html, application/toml\r\n\r\n", gate.admin());
    let toml = ask(gate.admin(), accepting).await;
    assert_eq!(toml.head.get("content-type"), Some("application/toml"));
    assert!(toml.text().contains("name = \"app\""), "{}", toml.text());
    let all = [EVENTS, "/api/v1/status", "/metrics"];
    let mut pages =
        vec![shown.to_string(), toml.text(), Listener::new(gate.admin()).await.next().await.unwrap().1.to_string()];
    for page in &all[1..] {
        pages.push(fetch(gate.admin(), page).await.body);
    }
    assert!(pages.iter().all(|page| !page.contains("marked-")), "{pages:?}");
    gate.reload("[[routes]]\nname = \"other\"\nprefix = \"/\"\nupstream = \"http://127.0.0.1:9\"\n").await;
    let shown: Value = serde_json::from_str(&fetch(gate.admin(), "/api/v1/config").await.body).unwrap();
    assert_eq!(shown["routes"][0]["name"], "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_gateway_says_only_what_has_changed() {
    let mut text = String::new();
    for number in 0..100 {
        let addresses: Vec<String> = (1..=50).map(|last| format!("\"127.1.{number}.{last}:9\"")).collect();
        let addresses = addresses.join(", ");
        text += &format!("[upstreams.u{number}]\naddresses = [{addresses}]\n");
        text += &format!("[[routes]]\nprefix = \"/r{number}\"\nupstream = \"u{number}\"\n");
    }
    let gate = Gate::start(&text);
    let mut listener = Listener::new(gate.admin()).await;
    let (_, whole) = listener.next().await.unwrap();
    assert_eq!(whole["status"]["upstreams"].as_array().unwrap().len(), 100);
    listener.next().await.unwrap();
    get(gate.address(), "/r7").await;
    let (mut bytes, mut told) = (0, false);
    for _ in 0..3 {
        let (name, frame) = listener.next().await.unwrap();
        assert_eq!(name, "frame");
        bytes += listener.bytes;
        let names: Vec<&String> =
            frame["upstreams"].as_object().into_iter().flat_map(|changed| changed.keys()).collect();
        assert!(names.iter().all(|name| **name == "u7"), "{frame}");
        told |= frame["routes"]["r7"].is_array();
    }
    assert!(told && bytes < 2000, "{bytes} bytes");
}
