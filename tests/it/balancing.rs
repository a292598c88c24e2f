//! Every request is balanced over every address, for one client on one connection too.

use std::net::Ipv4Addr;

use tollgate::lab::dns::NameServer;
use tollgate::lab::probe::{self, Options, Report};
use tollgate::lab::replicas::{ReplicaOptions, Replicas};

use crate::support::Gate;

async fn ask(gate: &Gate, requests: u64, connections: usize) -> Report {
    let options = Options {
        target: format!("http://{}/", gate.address()).parse().unwrap(),
        requests,
        connections,
        headers: http::HeaderMap::new(),
        timeout: std::time::Duration::from_secs(10),
    };
    probe::run(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_client_reaches_every_replica_equally() {
    let names = std::sync::Arc::new(NameServer::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap());
    let publishing = names.clone();
    let options = ReplicaOptions {
        name: "app".into(),
        port: 0,
        linger: std::time::Duration::from_millis(100),
        drain: std::time::Duration::from_secs(5),
    };
    let replicas = Replicas::start(options, 3, move |addresses| {
        publishing.set("app.test", addresses.to_vec(), 600);
    })
    .await
    .unwrap();
    let gate = Gate::start(&format!(
        "[dns]\nservers = [\"{}\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"http://app.test.:{}\"",
        names.local_addr(),
        replicas.port(),
    ));
    for (requests, connections) in [(30, 1), (31, 1), (60, 4)] {
        let report = ask(&gate, requests, connections).await;
        assert_eq!(report.failed(), 0, "{report}");
        let hits: Vec<u64> = report.backends().values().copied().collect();
        assert_eq!(hits.len(), 3, "{report}");
        assert!(hits.iter().max().unwrap() - hits.iter().min().unwrap() <= 1, "{report}");
    }
    gate.shutdown();
}
