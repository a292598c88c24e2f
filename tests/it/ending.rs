//! A gateway that ends leaves nothing behind: no thread, no socket, no question to a name server.

use std::net::SocketAddr;

use hickory_proto::rr::RecordType::A;
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::load::{Client, ask};
use crate::support::town::Town;
use crate::support::{Gate, eventually, eventually_async};

/// More workers than any other test has: the last one's thread is this test's.
const WORKERS: usize = 41;

fn last_worker_runs() -> bool {
    let name = format!("worker-{}", WORKERS - 1);
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .any(|comm| comm.trim() == name)
}

/// Opens one of each: a connection never used, an idle one, a request and an event stream that never end.
async fn everything(address: SocketAddr) -> (Vec<TcpStream>, Client) {
    let mut streams = vec![TcpStream::connect(address).await.unwrap()];
    for path in ["/app/delay/60000", "/app/stream/600"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut idle = Client::new(address, Version::HTTP_2);
    assert_eq!(idle.ask("/app/").await.unwrap().status, 200);
    (streams, idle)
}

async fn ends_everything(end: impl FnOnce(Gate), grace: &str) {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let gate = town.gate(&format!("{}[server]\nworkers = {WORKERS}\nshutdown_grace = \"{grace}\"", town.route("app")));
    let (address, admin) = (gate.address(), gate.admin());
    let (streams, mut idle) = everything(address).await;
    eventually_async("all is under way", async || {
        let status = ask(admin, "/api/v1/status").await.body;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["upstreams"][0]["addresses"][0]["in_flight"] == 2
    })
    .await;
    eventually("the last worker has a name", last_worker_runs).await;
    end(gate);
    for mut stream in streams {
        // Whatever is left to read, there is an end to it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert!(idle.ask("/app/").await.is_err());
    eventually_async("no port is open", async || {
        TcpStream::connect(address).await.is_err() && TcpStream::connect(admin).await.is_err()
    })
    .await;
    eventually("no worker is left", || !last_worker_runs()).await;
    // The task that asks is woken ten times a second: it has ended if the server hears nothing for that long.
    let asked = town.names.queries("app.test", A);
    let silence = tokio::time::timeout(
        std::time::Duration::from_millis(500),
        eventually("a question", || town.names.queries("app.test", A) > asked),
    );
    assert!(silence.await.is_err(), "somebody still asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_gateway_that_is_dropped_or_shut_down() {
    ends_everything(drop, "30s").await;
    ends_everything(Gate::shutdown, "200ms").await;
}
