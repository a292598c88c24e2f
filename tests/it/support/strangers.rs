//! Strangers who send what nobody expects, each time something else: methods, hosts, paths, queries, fields, tokens. What
//! is counted of them is held against what the configuration promises.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollgate::app;
use tollgate::base::tasks::{self, Task};
use tollgate::config::load;
use tollgate::runtime::series;
use tollgate::telemetry::names::{self, Kind};

use super::{Client, Gate};

/// What came of them.
#[derive(Debug)]
pub(crate) struct Strangers {
    /// Series on the page.
    pub(crate) series: usize,
    /// The most that there may be.
    pub(crate) promised: usize,
    /// Bytes of the process after a tenth of the requests, and at the end.
    pub(crate) memory: (u64, u64),
}

/// Series on a page, by family.
pub(crate) fn series_of(page: &str) -> BTreeMap<&'static str, usize> {
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

impl Strangers {
    /// So many requests over so many connections. Fails where a family has more series than it may.
    pub(crate) async fn let_in(requests: u64, connections: u64) -> Self {
        let (address, _backend) = echo_of_status().await;
        let text = configuration(address);
        let config = load::from_text(&text).unwrap().config;
        let workers = app::worker_count(&config.server);
        let most: BTreeMap<&str, usize> =
            series::greatest(&config, workers).into_iter().map(|(name, most)| (name.id, most)).collect();
        let gate = Gate::start(&text);
        let send = async |from: u64, to: u64| {
            let lane = |lane| send_all(gate.address(), (from + lane..to).step_by(connections as usize));
            join_all((0..connections).map(lane)).await;
        };
        send(0, requests / 10).await;
        let early = resident();
        send(requests / 10, requests).await;
        let memory = (early, resident());
        let page = gate.metrics().await;
        let found = series_of(&page);
        for (family, count) in &found {
            assert!(*count <= most[family], "{family}: {count} series, and at most {} were promised", most[family]);
        }
        assert!(page.contains("method=\"OTHER\"") && page.contains("route=\"none\""), "{page}");
        Self { series: found.values().sum(), promised: series::total(&config, workers), memory }
    }
}

fn configuration(address: SocketAddr) -> String {
    let route = |name: &str, more: &str| format!("[[routes]]\nname='{name}'\nprefix='/{name}'\nupstream='u'\n{more}\n");
    format!(
        "[upstreams.u]\naddresses = ['{address}']\nmax_connections = 90\ncircuit = {{ min_requests = 1000000 }}\n\
         eject = {{ max_share = 0 }}\n[auth.main]\nsecret = '0123456789abcdef0123456789abcdef'\n{}{}{}",
        route("app", ""),
        route("only-get", "methods = ['GET']"),
        route("token", "auth = { use = 'main', mode = 'observe' }")
    )
}

async fn send_all(gateway: SocketAddr, numbers: impl Iterator<Item = u64>) {
    let mut client = Client::connect(gateway).await;
    for number in numbers {
        client.send(strange(number)).await;
        if client.answer().await.is_none() {
            client = Client::connect(gateway).await;
        }
    }
}

fn strange(number: u64) -> String {
    let method = ["GET", "POST", "BREW", "PROPFIND", "get", "OPTIONS", "DELETE"][(number % 7) as usize];
    let method = if number.is_multiple_of(11) { format!("M{number}") } else { method.to_owned() };
    let prefix = ["/app", "/only-get", "/token", "/nowhere", ""][(number % 5) as usize];
    let mut request = format!("{method} {prefix}/{number}?status={}&a{number}=b HTTP/1.1\r\n", 200 + number % 800);
    write!(request, "Host: h{number}.example\r\nUser-Agent: agent-{number}\r\nX-User-{number}: {number}\r\n").unwrap();
    write!(request, "Authorization: Bearer {number}\r\nContent-Length: 0\r\n\r\n").unwrap();
    request
}

/// A backend that answers with the status that it is asked for, and remembers nothing.
async fn echo_of_status() -> (SocketAddr, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tasks::spawn(async move {
        let connections = tasks::Group::default();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut buffer = vec![0; 8192];
                while let Ok(length) = stream.read(&mut buffer).await {
                    let head = String::from_utf8_lossy(&buffer[..length]);
                    let Some(status) = head.split("status=").nth(1).and_then(|rest| rest.get(..3)) else { return };
                    let answer = format!("HTTP/1.1 {status} Odd\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, serving)
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4096
}
