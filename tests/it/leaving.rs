//! An address that leaves: nothing new goes there, what is idle closes, what is busy ends with its response.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tollgate::base::tasks::{self, Task};

use crate::support::load::{Client, ask};
use crate::support::town::Town;
use crate::support::{Gate, eventually};

/// A backend that sees its connections: what was asked over each, and whether it is closed.
struct Watched {
    connections: Arc<Mutex<Vec<Connection>>>,
    /// Requests whose path has `held` in it are answered when this is true.
    released: watch::Sender<bool>,
    _serving: Task,
}

#[derive(Clone, Debug, Default)]
struct Connection {
    paths: Vec<String>,
    closed: bool,
}

impl Watched {
    async fn start(town: &Town, last: u8) -> Self {
        Self::serve(town.listen(last).await)
    }

    fn serve(listener: TcpListener) -> Self {
        let connections = Arc::<Mutex<Vec<Connection>>>::default();
        let (released, seen) = (watch::Sender::new(false), connections.clone());
        let hold = released.clone();
        let serving = tasks::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut all = seen.lock().unwrap();
                    all.push(Connection::default());
                    all.len() - 1
                };
                let (seen, hold) = (seen.clone(), hold.subscribe());
                open.push(tasks::spawn(async move {
                    let _ = answer(stream, &seen, number, hold).await;
                    seen.lock().unwrap()[number].closed = true;
                }));
            }
        });
        Self { connections, released, _serving: serving }
    }

    fn connections(&self) -> Vec<Connection> {
        self.connections.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        self.connections().into_iter().flat_map(|one| one.paths).collect()
    }
}

/// Answers one request after the other; `/endless` gets an answer that never ends.
async fn answer(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Connection>>,
    number: usize,
    mut hold: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut head)).into_owned();
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap()[number].paths.push(path.clone());
        if path.contains("endless") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\nbegin")
                .await?;
            continue;
        }
        if path.contains("held") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfi").await?;
            let _ = hold.wait_for(|released| *released).await;
            stream.write_all(b"nis").await?;
            continue;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

/// Timeouts that cannot be why anything closes within a test.
fn patient(town: &Town, name: &str, drain: &str) -> String {
    let port = town.port;
    format!(
        "[upstreams.{name}]\ndns = \"{name}.test.:{port}\"\nkeep_alive = \"1h\"\ndrain_timeout = \"{drain}\"\n\
         connect_timeout = \"15s\"\n[[routes]]\nprefix = \"/{name}\"\nupstream = \"{name}\"\n"
    )
}

async fn state(gate: &Gate) -> serde_json::Value {
    serde_json::from_str(&ask(gate.admin(), "/api/v1/status").await.body).unwrap()
}

#[tokio::test]
async fn idle_connections_close_at_once_and_no_new_request_comes() {
    let town = Town::new().await;
    let (old, new) = (Watched::start(&town, 1).await, Watched::start(&town, 2).await);
    town.publish("app.test", &[1]);
    let gate = town.gate(&patient(&town, "app", "1h"));
    assert_eq!(ask(gate.address(), "/app/first").await.body, "ok");
    assert!(!old.connections()[0].closed);
    town.publish("app.test", &[2]);
    eventually("the idle connection is closed", || old.connections()[0].closed).await;
    for _ in 0..5 {
        assert_eq!(ask(gate.address(), "/app/later").await.body, "ok");
    }
    assert_eq!((old.paths().len(), new.paths().len()), (1, 5));
}

#[tokio::test]
async fn a_busy_connection_ends_with_its_response() {
    let town = Town::new().await;
    let (old, new) = (Watched::start(&town, 1).await, Watched::start(&town, 2).await);
    town.publish("app.test", &[1]);
    let gate = town.gate(&patient(&town, "app", "1h"));
    let mut client = Client::new(gate.address(), http::Version::HTTP_11);
    let asked = async { client.ask("/app/held").await.unwrap().body };
    let meanwhile = async {
        eventually("the request is there", || !old.paths().is_empty()).await;
        town.publish("app.test", &[2]);
        crate::support::eventually_async("the new address answers", async || {
            ask(gate.address(), "/app/").await;
            !new.paths().is_empty()
        })
        .await;
        let state = state(&gate).await;
        let addresses = &state["upstreams"][0]["addresses"];
        assert_eq!((&addresses[1]["state"], &addresses[1]["in_flight"]), (&"draining".into(), &1.into()), "{state}");
        let before = old.paths().len();
        for _ in 0..3 {
            assert_eq!(ask(gate.address(), "/app/later").await.body, "ok");
        }
        assert_eq!(old.paths().len(), before, "the address that left got a new request");
        assert!(!old.connections()[0].closed);
        old.released.send_replace(true);
    };
    let (body, ()) = tokio::join!(asked, meanwhile);
    assert_eq!(body, "finis");
    eventually("its connections are closed", || old.connections().iter().all(|one| one.closed)).await;
    crate::support::eventually_async("nothing is left of it", async || {
        state(&gate).await["upstreams"][0]["addresses"].as_array().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_still_busy_after_the_drain_timeout_is_cut() {
    let town = Town::new().await;
    let (old, _new) = (Watched::start(&town, 1).await, Watched::start(&town, 2).await);
    town.publish("app.test", &[1]);
    let gate = town.gate(&patient(&town, "app", "300ms"));
    let mut client = Client::new(gate.address(), http::Version::HTTP_11);
    let meanwhile = async {
        eventually("the request is there", || !old.paths().is_empty()).await;
        town.publish("app.test", &[2]);
    };
    let (cut, ()) = tokio::join!(client.ask("/app/endless"), meanwhile);
    assert!(cut.unwrap_err().starts_with("reading: "));
    eventually("its connection is closed", || old.connections()[0].closed).await;
}

#[tokio::test]
async fn an_address_that_moves_to_another_upstream_is_met_anew() {
    let town = Town::new().await;
    let (shared, other) = (Watched::start(&town, 1).await, Watched::start(&town, 2).await);
    town.publish("a.test", &[1]);
    town.publish("b.test", &[2]);
    let gate = town.gate(&(patient(&town, "a", "1h") + &patient(&town, "b", "1h")));
    for path in ["/a/", "/b/"] {
        assert_eq!(ask(gate.address(), path).await.body, "ok");
    }
    // First both have it, then only the other one.
    town.publish("b.test", &[1]);
    for (path, count) in [("/b/", 2), ("/a/", 3)] {
        crate::support::eventually_async("the shared address is asked", async || {
            ask(gate.address(), path).await;
            shared.paths().len() >= count && shared.paths().iter().any(|asked| asked == path)
        })
        .await;
    }
    town.publish("a.test", &[2]);
    eventually("the first upstream's connections are closed", || {
        let of_a = |one: &Connection| one.paths.iter().any(|path| path == "/a/");
        shared.connections().iter().filter(|one| of_a(one)).all(|one| one.closed)
    })
    .await;
    for _ in 0..3 {
        ask(gate.address(), "/b/").await;
    }
    for connection in shared.connections().iter().chain(&other.connections()) {
        let first = &connection.paths[0];
        assert!(connection.paths.iter().all(|path| path == first), "{connection:?}");
    }
}

/// A listener whose queue is full: the next client waits for its connection, and tries again after a second.
async fn crowded(town: &Town, last: u8) -> (TcpListener, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&town.socket(last).into()).unwrap();
    socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    let quick = Duration::from_millis(200);
    while let Ok(Ok(stream)) = tokio::time::timeout(quick, TcpStream::connect(town.socket(last))).await {
        waiting.push(stream);
    }
    (TcpListener::from_std(socket.into()).unwrap(), waiting)
}

#[tokio::test]
async fn a_connection_that_is_made_only_after_its_address_has_left_carries_nothing() {
    let town = Town::new().await;
    let (crowd, waiting) = crowded(&town, 1).await;
    let new = Watched::start(&town, 2).await;
    town.publish("app.test", &[1]);
    let gate = town.gate(&patient(&town, "app", "1h"));
    let mut client = Client::new(gate.address(), http::Version::HTTP_11);
    let meanwhile = async {
        crate::support::eventually_async("the request is on its way", async || {
            state(&gate).await["upstreams"][0]["addresses"][0]["in_flight"] == 1
        })
        .await;
        town.publish("app.test", &[2]);
        crate::support::eventually_async("the address has left", async || {
            state(&gate).await["upstreams"][0]["addresses"][0]["address"] == town.socket(2).to_string()
        })
        .await;
        drop(waiting);
        Watched::serve(crowd)
    };
    let (answer, stranger) = tokio::join!(client.ask("/app/"), meanwhile);
    assert_eq!(answer.unwrap().body, "ok");
    assert_eq!((stranger.paths().len(), new.paths().len()), (0, 1));
}
