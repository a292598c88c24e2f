//! Redis over TLS, with certificates on both sides: one server, a Cluster, and sentinels.

use redis::Value;
use tempfile::TempDir;

use super::shared::{gateways, storm, tables};
use super::topologies::{Sentinel, cluster, failover};
use super::{passing, status, with};
use crate::support::authority::Authority;
use crate::support::redis::{Redis, free_port};
use crate::support::{Backend, Gate, OK, eventually_async};

/// Files with the certificates of servers and of gateways, and of who vouches for them.
struct Papers(TempDir);

impl Papers {
    fn new() -> Self {
        let (papers, authority) = (Self(tempfile::tempdir().unwrap()), Authority::new());
        authority.write(&papers.0.path().join("ca.pem"));
        for name in ["server", "gateway"] {
            let (certificate, key) = authority.vouch(name, &["127.0.0.1", "localhost"]);
            std::fs::write(papers.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(papers.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        papers
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// What makes a server speak TLS at this port, and with its peers.
    fn settings(&self, port: u16) -> [(&'static str, String); 6] {
        [
            ("tls-port", port.to_string()),
            ("tls-ca-cert-file", self.path("ca.pem")),
            ("tls-cert-file", self.path("server.pem")),
            ("tls-key-file", self.path("server.key")),
            ("tls-replication", "yes".to_owned()),
            ("tls-cluster", "yes".to_owned()),
        ]
    }

    /// The same as arguments.
    fn arguments(&self, port: u16) -> Vec<String> {
        self.settings(port).into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    }

    /// A server that speaks TLS at this port.
    fn server(&self, port: u16, further: &[&str]) -> Option<Redis> {
        let own = self.arguments(port);
        let arguments: Vec<&str> = own.iter().map(String::as_str).chain(further.iter().copied()).collect();
        Redis::start(&arguments)
    }

    /// Whom a gateway trusts.
    fn trust(&self) -> String {
        format!("ca = {:?}\n", self.path("ca.pem"))
    }

    /// What a gateway shows of itself.
    fn identity(&self) -> String {
        format!("cert = {:?}\nkey = {:?}\n", self.path("gateway.pem"), self.path("gateway.key"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_show_certificates() {
    let (papers, port) = (Papers::new(), free_port());
    let Some(server) = papers.server(port, &[]) else { return };
    let backend = Backend::answering(OK).await;
    let text = tables(&server, "rate = \"100/h\"").replace(&server.url(), &format!("rediss://127.0.0.1:{port}/2"));
    let gate = Gate::before(&backend, &(text.clone() + &papers.trust() + &papers.identity()));
    let nothing = Value::BulkString(b"# Keyspace\r\n".to_vec());
    eventually_async("it gives a sign of life", async || {
        status(&gate).await["redis"]["up"] == true && server.order(&["INFO", "keyspace"]) != nothing
    })
    .await;
    assert_eq!(storm(&[gate], 40).await, 40);
    let Value::BulkString(info) = server.order(&["INFO", "keyspace"]) else { panic!("no info") };
    let info = String::from_utf8(info).unwrap();
    assert!(info.contains("db2:keys=2"), "counted there, in that database: {info}");
    goes_nowhere_with_half_the_papers(&papers, &backend, &text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_speaks_tls_at_all_of_its_servers() {
    let (papers, ports) = (Papers::new(), [free_port(), free_port(), free_port()]);
    let Some(nodes) = cluster(|at| papers.arguments(ports[at])).await else { return };
    let backend = Backend::answering(OK).await;
    let text = format!(
        "rate_limit = \"who\"\n[rate_limits.who]\nkey = \"header:x-who\"\nrate = \"5/h\"\nstore = \"redis\"\n\
         [redis]\nurl = \"rediss-cluster://127.0.0.1:{}\"\ntimeout = \"2s\"\n",
        ports[0]
    );
    let gates = gateways(2, &backend, &(text.clone() + &papers.trust() + &papers.identity())).await;
    for who in 0..10 {
        let fields = format!("X-Who: {who}\r\n");
        let (one, two) = tokio::join!(passing(&gates[0], 6, &fields), passing(&gates[1], 6, &fields));
        assert_eq!(one + two, 5, "{who}");
    }
    assert!(nodes.iter().all(|node| node.order(&["DBSIZE"]) != Value::Int(0)), "keys are spread over all of them");
    for gate in &gates {
        assert_eq!(status(gate).await["limits"][0]["store_errors"], 0);
    }
    goes_nowhere_with_half_the_papers(&papers, &backend, &text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_those_whom_they_name_speak_tls() {
    let (papers, ports, watch) = (Papers::new(), [free_port(), free_port()], free_port());
    let Some(master) = papers.server(ports[0], &[]) else { return };
    let port = ports[0].to_string();
    let Some(replica) = papers.server(ports[1], &["--replicaof", "127.0.0.1", &port]) else { return };
    let lines: String = papers.settings(watch).iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    let Some(sentinel) = Sentinel::start(ports[0], &lines) else { return };
    let url = format!("url = \"rediss-sentinel://127.0.0.1:{watch}/0?master=main\"\n");
    let redis = url + &papers.trust() + &papers.identity();
    failover([master, replica], ports, &sentinel, &redis).await;
}

/// Without a certificate of its own a gateway is not let in, and without that authority it does not go in.
async fn goes_nowhere_with_half_the_papers(papers: &Papers, backend: &Backend, text: &str) {
    for half in [papers.trust(), papers.identity()] {
        let gate = Gate::before(backend, &format!("{text}{half}"));
        eventually_async("it is not up", async || status(&gate).await["redis"]["up"] == false).await;
        assert_eq!(with(&gate, "").await.status(), 200, "it goes on here");
    }
}
