//! `tollgate run` as a process: how it is told to stop, what it finishes before it does, and how it says that it cannot
//! even begin.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Version;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate::base::clock;
use tollgate::base::tasks::{self, Task};

use crate::support::load::{Client, ask};
use crate::support::process::Process;
use crate::support::town::Town;
use crate::support::{Client2, eventually, eventually_async};

/// How long an answer is awaited that is not to come; far less than a grace.
const SOON: Duration = Duration::from_secs(5);

fn config(town: &Town, server: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n{server}\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
         [dns]\nservers = [\"{}\"]\n[[routes]]\nprefix = \"/tunnel\"\nupstream = \"http://{}\"\n{}",
        town.names.local_addr(),
        town.socket(2),
        town.route("app")
    )
}

/// Agrees to switch protocols, and says back what it hears.
fn echo(listener: TcpListener) -> Task {
    tasks::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            open.push(tasks::spawn(async move {
                read_head(&mut stream).await;
                let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                stream.write_all(agreed).await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }));
        }
    })
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A tunnel through the gateway.
async fn tunnel(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = b"GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

async fn says_back(tunnel: &mut TcpStream, text: &[u8]) {
    tunnel.write_all(text).await.unwrap();
    let mut heard = vec![0; text.len()];
    tunnel.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text);
}

/// Asks until the gateway says that this was the last answer.
async fn until_goodbye(address: SocketAddr) {
    let mut client = Client::new(address, Version::HTTP_11);
    loop {
        let answer = client.ask("/app/").await.expect("a request was lost");
        assert_eq!(answer.status, 200, "{answer:?}");
        if answer.headers.get("connection").is_some_and(|value| value == "close") {
            return;
        }
    }
}

/// Whether a connection gives no answer any more. What is asked for at the moment of its end may get none at all, nor an
/// error: between the threads of a test hyper can lose it.
async fn takes_no_more<T, E>(asked: impl Future<Output = Result<T, E>>) -> bool {
    !matches!(tokio::time::timeout(SOON, asked).await, Ok(Ok(_)))
}

/// One request of more than two seconds; over HTTP/2 the connection must end with it.
async fn long_request(address: SocketAddr, version: Version, path: &str, end: &str) {
    let mut client = Client::new(address, version);
    let answer = client.ask(path).await.expect("a request in flight was lost");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.ends_with(end), "{answer:?}");
    if version == Version::HTTP_2 {
        assert!(takes_no_more(client.ask("/app/")).await, "the connection takes requests though it was told to go");
    } else if path.contains("delay") {
        // The head of an event stream has left long before.
        assert_eq!(answer.headers["connection"], "close", "{answer:?}");
    }
}

async fn in_flight(admin: SocketAddr) -> u64 {
    let status: serde_json::Value = serde_json::from_str(&ask(admin, "/api/v1/status").await.body).unwrap();
    let upstreams = status["upstreams"].as_array().unwrap().iter();
    let addresses = upstreams.flat_map(|upstream| upstream["addresses"].as_array().unwrap());
    addresses.map(|address| address["in_flight"].as_u64().unwrap()).sum()
}

async fn stops_without_loss(signal: &str) {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    let _echo = echo(town.listen(2).await);
    town.publish("app.test", &[1]);
    let limits = "workers = 2\nshutdown_delay = \"1500ms\"\nshutdown_grace = \"30s\"";
    let (mut process, address, admin) = Process::serve(&config(&town, limits)).await;
    let mut open_tunnel = tunnel(address).await;
    let waits = "waited 4000 ms\n";
    let long = join_all((0..4).map(|_| long_request(address, Version::HTTP_11, "/app/delay/4000", waits)));
    let streams = join_all((0..3).map(|_| long_request(address, Version::HTTP_2, "/app/delay/4000", waits)));
    let events = long_request(address, Version::HTTP_11, "/app/stream/40", "data: 40\n\n");
    let load = join_all((0..4).map(|_| until_goodbye(address)));
    let orders = async {
        eventually_async("all is under way", async || in_flight(admin).await >= 9).await;
        assert_eq!(ask(admin, "/readyz").await.status, 200);
        process.signal(signal);
        eventually_async("it is not ready", async || ask(admin, "/readyz").await.status == 503).await;
        assert!(ask(admin, "/readyz").await.body.contains("shutting down"));
        assert_eq!(ask(address, "/app/").await.status, 200, "requests still pass");
        eventually_async("it accepts no more", async || TcpStream::connect(address).await.is_err()).await;
        says_back(&mut open_tunnel, b"still here").await;
    };
    tokio::join!(long, streams, events, load, orders);
    says_back(&mut open_tunnel, b"and still").await;
    assert!(process.runs(), "a tunnel is open");
    drop(open_tunnel);
    assert_eq!(process.ends().await, Some(0), "{}", process.printed());
    process.says("stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing() {
    stops_without_loss("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_under_load_loses_nothing() {
    stops_without_loss("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_requests_in_flight_are_finished_beside_tunnels_and_streams_that_are_not() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    let _echo = echo(town.listen(2).await);
    town.publish("app.test", &[1]);
    let (mut process, address, admin) = Process::serve(&config(&town, "workers = 2\nshutdown_grace = \"6s\"")).await;
    let mut tunnels = join_all((0..3).map(|_| tunnel(address))).await;
    let mut endless = Client::new(address, Version::HTTP_2);
    let waits = "waited 2500 ms\n";
    let requests = join_all((0..20).map(|_| long_request(address, Version::HTTP_11, "/app/delay/2500", waits)));
    let streams = async {
        // All of them on one connection.
        let mut client = Client2::connect(address).await;
        let asked = (0..10).map(|_| {
            let mut client = client.clone();
            async move { client.get("/app/delay/2500").await }
        });
        let answers = join_all(asked).await;
        assert!(answers.iter().all(|(status, body)| *status == 200 && body.ends_with(waits)), "{answers:?}");
        let more = http::Request::get("http://gate/app/").body(Full::<Bytes>::default()).unwrap();
        assert!(takes_no_more(client.send(more)).await, "the connection takes requests though it was told to go");
    };
    let orders = async {
        eventually_async("all is under way", async || in_flight(admin).await == 3 + 1 + 30).await;
        let told = clock::now();
        process.signal("TERM");
        eventually_async("it accepts no more", async || TcpStream::connect(address).await.is_err()).await;
        for tunnel in &mut tunnels {
            says_back(tunnel, b"still here").await;
        }
        told
    };
    // An event stream that goes on for longer than the grace.
    let (_, (), cut, told) = tokio::join!(requests, streams, endless.ask("/app/stream/600"), orders);
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(process.ends().await, Some(0), "{}", process.printed());
    assert!(told.elapsed() < Duration::from_secs(15), "{:?} for a grace of six seconds", told.elapsed());
    for mut tunnel in tunnels {
        assert_eq!(tunnel.read(&mut [0; 8]).await.unwrap_or(0), 0, "cut at the end of the grace");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_the_grace_is_cut_and_it_still_ends_well() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    let _echo = echo(town.listen(2).await);
    town.publish("app.test", &[1]);
    let (mut process, address, admin) = Process::serve(&config(&town, "shutdown_grace = \"500ms\"")).await;
    let mut open_tunnel = tunnel(address).await;
    says_back(&mut open_tunnel, b"here").await;
    let mut clients = [Version::HTTP_11, Version::HTTP_2].map(|version| Client::new(address, version));
    let asked = join_all(clients.iter_mut().map(|client| client.ask("/app/delay/60000")));
    let began = clock::now();
    let orders = async {
        eventually_async("all is under way", async || in_flight(admin).await == 3).await;
        process.signal("TERM");
        assert_eq!(process.ends().await, Some(0), "{}", process.printed());
    };
    let (answers, ()) = tokio::join!(asked, orders);
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert_eq!(open_tunnel.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_waits_for_nobody() {
    let town = Town::new().await;
    let _echo = echo(town.listen(2).await);
    let (mut process, address, _) = Process::serve(&config(&town, "shutdown_grace = \"60s\"")).await;
    let mut open_tunnel = tunnel(address).await;
    process.signal("TERM");
    process.says("shutting down").await;
    says_back(&mut open_tunnel, b"still here").await;
    process.signal("INT");
    assert_eq!(process.ends().await, Some(0), "{}", process.printed());
    process.says("told to stop once more").await;
    assert_eq!(open_tunnel.read(&mut [0; 8]).await.unwrap_or(0), 0, "cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_only_just_connected_may_still_ask() {
    let town = Town::new().await;
    let _container = town.start("app", 1).await;
    town.publish("app.test", &[1]);
    let limits = "workers = 1\nshutdown_grace = \"20s\"";
    let (mut process, address, admin) = Process::serve(&config(&town, limits)).await;
    // Keeps it from ending before the late client has asked.
    let mut slow = Client::new(address, Version::HTTP_11);
    let mut told = Client::new(address, Version::HTTP_2);
    let orders = async {
        eventually_async("a request is under way", async || in_flight(admin).await == 1).await;
        assert!(told.ask("/app/").await.is_ok());
        let mut late = TcpStream::connect(address).await.unwrap();
        process.signal("TERM");
        eventually_async("others are told to go", async || takes_no_more(told.ask("/app/")).await).await;
        late.write_all(b"GET /app/ HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    };
    let (answer, ()) = tokio::join!(slow.ask("/app/delay/3000"), orders);
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(process.ends().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_why_it_did_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let path = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let route = "[[routes]]\nprefix = \"/\"\nupstream = \"http://127.0.0.1:9\"\n";
    let elsewhere = "[log]\naccess = \"off\"\n";
    for (text, code, message) in [
        (
            format!("[server]\nlisten = [\"{address}\"]\n[admin]\nlisten = \"off\"\n{route}"),
            3,
            format!("error: cannot listen on {address}: Address already in use"),
        ),
        (
            format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"{address}\"\n{elsewhere}{route}"),
            3,
            format!("error: cannot listen on {address}: Address already in use"),
        ),
        ("[server]\nworkrs = 1\n".to_owned(), 1, "did you mean `workers`".to_owned()),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut process = Process::start(&["run", "--config", path]);
        assert_eq!(process.ends().await, Some(code), "{}", process.printed());
        process.says(&message).await;
    }
    for (arguments, code) in [
        (&["run", "--no-such-flag"][..], 2),
        (&["no-such-command"], 2),
        (&["run", "--config", "/nowhere/gateway.toml"], 3),
    ] {
        let mut process = Process::start(arguments);
        assert_eq!(process.ends().await, Some(code), "{}", process.printed());
        eventually("it says why", || !process.printed().is_empty()).await;
    }
}
