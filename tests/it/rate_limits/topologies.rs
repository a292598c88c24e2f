//! Redis in more than one piece: a Cluster of three, and sentinels that name another server.

use std::process::{Child, Command, Stdio};

use redis::Value;

use super::shared::{gateways, tables};
use super::{passing, status, with};
use crate::support::redis::{Redis, free_port, is_here};
use crate::support::{Backend, Gate, OK, eventually, eventually_async};

/// Three servers that share the slots, each with further arguments of its own.
pub(super) async fn cluster(further: impl Fn(usize) -> Vec<String>) -> Option<Vec<Redis>> {
    let mut nodes = Vec::new();
    for at in 0..3 {
        let (bus, further) = (free_port().to_string(), further(at));
        let mut arguments = vec!["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"];
        arguments.extend(further.iter().map(String::as_str));
        nodes.push(Redis::start(&arguments)?);
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
    let Some(nodes) = cluster(|_| Vec::new()).await else { return };
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
    let Some(mut nodes) = cluster(|_| Vec::new()).await else { return };
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
pub(super) struct Sentinel {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    /// One that watches over the server at this port, with further lines in its file.
    pub(super) fn start(watched: u16, further: &str) -> Option<Self> {
        if !is_here("redis-sentinel") {
            return None;
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass watcher\n{further}sentinel monitor main 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n",
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
    let Some(master) = Redis::start(&[]) else { return };
    let port = master.port().to_string();
    let Some(replica) = Redis::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let Some(sentinel) = Sentinel::start(master.port(), "") else { return };
    let ports = [master.port(), replica.port()];
    let url = format!("redis-sentinel://127.0.0.1:{}/0?master=main", sentinel.port);
    failover([master, replica], ports, &sentinel, &format!("url = \"{url}\"\n")).await;
}

/// A server is lost, and the sentinel puts the other in charge. They are known by these ports; `redis` are the lines that
/// configure a gateway to ask the sentinel.
pub(super) async fn failover([mut master, replica]: [Redis; 2], ports: [u16; 2], sentinel: &Sentinel, redis: &str) {
    eventually("the sentinel knows both", || sentinel.master() == Some((ports[0], true))).await;
    let backend = Backend::answering(OK).await;
    let text = tables(&master, "rate = \"1000/h\"").replace("2s", "300ms");
    let url = format!("url = \"{}\"\n", master.url());
    let text = text.replace(&url, redis) + "sentinel_password = \"watcher\"\n";
    let gates = gateways(1, &backend, &text).await;
    assert_eq!(passing(&gates[0], 10, "").await, 10);
    eventually("the replica follows", || replica.order(&["DBSIZE"]) != Value::Int(0)).await;
    master.kill();
    assert_eq!(passing(&gates[0], 10, "").await, 10, "it goes on here");
    eventually("another one is in charge", || sentinel.master().is_some_and(|(port, _)| port == ports[1])).await;
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
