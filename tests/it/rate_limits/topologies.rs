//! Redis in all its forms: a Cluster of three, sentinels that name another server, TLS with certificates on both sides.

use std::process::{Child, Command, Stdio};

use redis::Value;

use super::shared::{gateways, storm, tables};
use super::{passing, status, with};
use crate::support::redis::{Redis, free_port, is_here};
use crate::support::{Backend, Gate, OK, eventually, eventually_async};

/// Three servers that share the slots.
async fn cluster() -> Option<Vec<Redis>> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let bus = free_port().to_string();
        nodes.push(Redis::start(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            "2000",
        ])?);
    }
    for (at, (node, slots)) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]).enumerate() {
        node.order(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        node.order(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
    }
    let Value::BulkString(own) = nodes[0].order(&["CONFIG", "GET", "cluster-port"]).into_array(1) else {
        panic!("no port")
    };
    let (port, bus) = (nodes[0].port().to_string(), String::from_utf8(own).unwrap());
    for node in &nodes[1..] {
        node.order(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    let knows_all = |node: &Redis| {
        let Value::BulkString(text) = node.order(&["CLUSTER", "INFO"]) else { return false };
        let text = String::from_utf8(text).unwrap();
        text.contains("cluster_state:ok") && text.contains("cluster_known_nodes:3")
    };
    eventually("the cluster is one", || nodes.iter().all(knows_all)).await;
    Some(nodes)
}

/// An element of an answer that is a list.
trait Element {
    fn into_array(self, at: usize) -> Value;
}

impl Element for Value {
    fn into_array(self, at: usize) -> Value {
        match self {
            Value::Array(mut list) => list.swap_remove(at),
            Value::Map(mut pairs) => pairs.swap_remove(0).1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_counts_as_one() {
    let Some(nodes) = cluster().await else { return };
    let backend = Backend::answering(OK).await;
    let url = format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", nodes[0].port(), nodes[1].port());
    let text = format!(
        "rate_limit = [\"who\", \"all\"]\n[rate_limits.who]\nkey = \"header:x-who\"\nrate = \"5/h\"\nstore = \"redis\"\n\
         [rate_limits.all]\nkey = \"global\"\nrate = \"60/h\"\nstore = \"redis\"\n\
         [redis]\nurl = \"{url}\"\ntimeout = \"2s\"\n"
    );
    let gates = gateways(2, &backend, &text).await;
    let mut passed = 0;
    for who in 0..10 {
        let fields = format!("X-Who: {who}\r\n");
        let (one, two) = tokio::join!(passing(&gates[0], 6, &fields), passing(&gates[1], 6, &fields));
        assert_eq!(one + two, 5, "{who}");
        passed += one + two;
    }
    // What the bucket of each has refused was given back to that of all, on another server.
    for who in 10..20 {
        passed += passing(&gates[who % 2], 5, &format!("X-Who: {who}\r\n")).await;
    }
    assert!((58..=60).contains(&passed), "{passed}");
    // Spoken to as if it were alone, a server of it has some keys and not others: that is said, and lets nobody through.
    let mut misled = 0;
    for node in &nodes {
        let gate = Gate::before(&backend, &tables(node, "rate = \"3/h\"").replace("shared", "alone"));
        assert!(passing(&gate, 9, "").await <= 3);
        misled += usize::from(status(&gate).await["redis"]["last_error"].to_string().contains("Moved"));
    }
    assert!(misled >= 2, "{misled}");
    let held = nodes.iter().filter(|node| node.order(&["DBSIZE"]) != Value::Int(0)).count();
    assert_eq!(held, 3, "keys are spread over all of them");
    for gate in &gates {
        assert_eq!(status(gate).await["limits"][0]["store_errors"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_has_lost_a_server_goes_on_here() {
    let Some(mut nodes) = cluster().await else { return };
    let backend = Backend::answering(OK).await;
    let url = format!("redis-cluster://127.0.0.1:{}", nodes[0].port());
    let text = format!(
        "rate_limit = \"who\"\n[rate_limits.who]\nkey = \"header:x-who\"\nrate = \"2/h\"\nstore = \"redis\"\n\
         [redis]\nurl = \"{url}\"\ntimeout = \"200ms\"\n"
    );
    let gate = Gate::before(&backend, &text);
    for who in 0..20 {
        assert_eq!(with(&gate, &format!("X-Who: {who}\r\n")).await.status(), 200, "{who}");
    }
    nodes[2].kill();
    for who in 0..20 {
        assert_eq!(passing(&gate, 3, &format!("X-Who: {who}\r\n")).await, 1, "{who}: wherever it is counted");
    }
    assert!(status(&gate).await["limits"][0]["store_errors"].as_u64().unwrap() > 0);
}

/// A sentinel that watches over a server.
struct Sentinel {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    fn start(watched: &Redis) -> Option<Self> {
        if !is_here("redis-sentinel") {
            return None;
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass watcher\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n",
            watched.port()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-sentinel");
        let child = command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Some(Self { child: child.unwrap(), port, _folder: folder })
    }

    /// The port of the server that it says is in charge, and whether it knows of another one.
    fn master(&self) -> Option<(u16, bool)> {
        let url = format!("redis://:watcher@127.0.0.1:{}/", self.port);
        let mut connection = redis::Client::open(url).ok()?.get_connection().ok()?;
        let ask = |words: &[&str]| {
            let mut command = redis::cmd("SENTINEL");
            command.arg(words);
            command
        };
        let address: Vec<String> = ask(&["GET-MASTER-ADDR-BY-NAME", "main"]).query(&mut connection).ok()?;
        let others: Vec<Value> = ask(&["REPLICAS", "main"]).query(&mut connection).ok()?;
        Some((address.get(1)?.parse().ok()?, !others.is_empty()))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_say_who_is_in_charge_and_after_a_failover_who_else() {
    let Some(mut master) = Redis::start(&[]) else { return };
    let port = master.port().to_string();
    let Some(replica) = Redis::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let Some(sentinel) = Sentinel::start(&master) else { return };
    eventually("the sentinel knows both", || sentinel.master() == Some((master.port(), true))).await;
    let backend = Backend::answering(OK).await;
    let text = tables(&master, "rate = \"1000/h\"").replace("2s", "300ms");
    let url = format!("redis-sentinel://127.0.0.1:{}/0?master=main", sentinel.port);
    let text = text.replace(&master.url(), &url) + "sentinel_password = \"watcher\"\n";
    let gates = gateways(1, &backend, &text).await;
    assert_eq!(passing(&gates[0], 10, "").await, 10);
    eventually("the replica follows", || replica.order(&["DBSIZE"]) != Value::Int(0)).await;
    master.kill();
    assert_eq!(passing(&gates[0], 10, "").await, 10, "it goes on here");
    eventually("another one is in charge", || sentinel.master().is_some_and(|(port, _)| port == replica.port())).await;
    eventually_async("it is asked", async || status(&gates[0]).await["redis"]["up"] == true).await;
    let key = "tollgate:shared:{ip:127.0.0.1}";
    eventually_async("it counts", async || {
        let before = replica.order(&["GET", key]);
        assert_eq!(with(&gates[0], "").await.status(), 200);
        replica.order(&["GET", key]) != before
    })
    .await;
    let state = with(&gates[0], "").await.head.get("ratelimit").unwrap().to_owned();
    let left: u32 = state.split("r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!(left <= 980, "twenty were used up before: {state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_show_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let own = |names: &[&str]| {
        let key = rcgen::KeyPair::generate().unwrap();
        (rcgen::CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap(), key)
    };
    let (mut ca, ca_key) = own(&[]);
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(path("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for name in ["server", "gateway"] {
        let (mut params, key) = own(&["127.0.0.1", "localhost"]);
        // Of the same name as its issuer it would pass for one that has signed itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        std::fs::write(path(&format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let tls = free_port().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
    let arguments = ["--tls-port", &tls, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let Some(server) = Redis::start(&arguments) else { return };
    let backend = Backend::answering(OK).await;
    let url = format!("rediss://127.0.0.1:{tls}/2");
    let text = tables(&server, "rate = \"100/h\"").replace(&server.url(), &url);
    let with_files = |files: &str| Gate::before(&backend, &format!("{text}{files}"));
    let (cert, key) = (path("gateway.pem"), path("gateway.key"));
    let gate = with_files(&format!("ca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n"));
    let nothing = Value::BulkString(b"# Keyspace\r\n".to_vec());
    eventually_async("it gives a sign of life", async || {
        status(&gate).await["redis"]["up"] == true && server.order(&["INFO", "keyspace"]) != nothing
    })
    .await;
    assert_eq!(storm(&[gate], 40).await, 40);
    let Value::BulkString(info) = server.order(&["INFO", "keyspace"]) else { panic!("no info") };
    let info = String::from_utf8(info).unwrap();
    assert!(info.contains("db2:keys=2"), "counted there, in that database: {info}");
    // Without a certificate of its own it is not let in, and without that authority it does not go in.
    for files in [format!("ca = {ca:?}\n"), format!("cert = {cert:?}\nkey = {key:?}\n")] {
        let gate = with_files(&files);
        eventually_async("it is not up", async || status(&gate).await["redis"]["up"] == false).await;
        assert_eq!(with(&gate, "").await.status(), 200, "it goes on here");
    }
}
