//! Clients with something long under way: WebSockets that talk, event streams that listen, uploads that trickle. Each
//! fails the test when the other side ends what it has, and counts what it got meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tollgate::base::tasks::{self, Task};

use super::eventually;

/// Time between two things that a client says.
const PACE: Duration = Duration::from_millis(100);
/// The longest silence on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Events of one stream: it ends by itself after a minute, which no trial of ours waits for.
const EVENTS: usize = 600;

/// Agrees to switch protocols, and says back what it hears.
pub(crate) fn echo(listener: TcpListener) -> Task {
    tasks::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            open.push(tasks::spawn(async move {
                if read_head(&mut stream).await.is_err() {
                    return;
                }
                let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                let _ = stream.write_all(agreed).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }));
        }
    })
}

/// Reads to the end of a head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A tunnel through the gateway to what [`echo`] serves.
pub(crate) async fn tunnel(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Says something into a tunnel, and hears it back.
pub(crate) async fn says_back(tunnel: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    tunnel.write_all(text).await?;
    let mut heard = vec![0; text.len()];
    tunnel.read_exact(&mut heard).await?;
    assert_eq!(heard, text);
    Ok(())
}

/// Says how many bytes came, and keeps none of them.
pub(crate) async fn count(mut body: axum::body::Body) -> String {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
    format!("{bytes} bytes\n")
}

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) websockets: usize,
    pub(crate) streams: usize,
    pub(crate) uploads: usize,
}

/// Clients with something long under way.
pub(crate) struct Crowd {
    stop: CancellationToken,
    /// Those that have begun.
    begun: Arc<AtomicUsize>,
    members: Vec<(&'static str, tokio::task::JoinHandle<Result<usize, String>>)>,
    size: usize,
}

impl Crowd {
    /// Begins: tunnels at `/tunnel`, and at `/app` what `lab::hello` serves, with [`count`] at `/app/count`.
    pub(crate) async fn start(address: SocketAddr, size: Size) -> Self {
        let (stop, begun) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let mut members = Vec::new();
        for _ in 0..size.websockets {
            members.push(("websocket", tokio::spawn(websocket(address, stop.clone(), begun.clone()))));
        }
        for _ in 0..size.streams {
            members.push(("event stream", tokio::spawn(listen(address, stop.clone(), begun.clone()))));
        }
        for _ in 0..size.uploads {
            members.push(("upload", tokio::spawn(upload(address, stop.clone(), begun.clone()))));
        }
        let crowd = Self { stop, begun, size: members.len(), members };
        eventually("all have begun", || crowd.begun.load(Ordering::Relaxed) == crowd.size).await;
        crowd
    }

    /// Whether nobody has ended who was not told to.
    pub(crate) fn assert_all_there(&self) {
        let gone: Vec<_> =
            self.members.iter().filter(|(_, member)| member.is_finished()).map(|(kind, _)| kind).collect();
        assert!(gone.is_empty(), "ended too early: {gone:?}");
    }

    /// Lets everybody come to an end, which has to be a good one. Returns how much was heard.
    pub(crate) async fn finish(self) -> usize {
        self.assert_all_there();
        self.stop.cancel();
        let mut heard = 0;
        for (kind, member) in self.members {
            match member.await.unwrap() {
                Ok(0) => panic!("a {kind} heard nothing"),
                Ok(count) => heard += count,
                Err(error) => panic!("a {kind} failed: {error}"),
            }
        }
        heard
    }
}

async fn within<T>(what: &str, work: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: silence")),
    }
}

async fn websocket(address: SocketAddr, stop: CancellationToken, begun: Arc<AtomicUsize>) -> Result<usize, String> {
    let mut stream = tunnel(address, "/tunnel").await;
    begun.fetch_add(1, Ordering::Relaxed);
    let mut heard = 0;
    while !stop.is_cancelled() {
        within("talking", says_back(&mut stream, b"hello")).await?;
        heard += 1;
        tokio::time::sleep(PACE).await;
    }
    Ok(heard)
}

async fn listen(address: SocketAddr, stop: CancellationToken, begun: Arc<AtomicUsize>) -> Result<usize, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let asked = format!("GET /app/stream/{EVENTS} HTTP/1.1\r\nhost: a\r\n\r\n");
    within("asking", stream.write_all(asked.as_bytes())).await?;
    let head = within("the head", read_head(&mut stream)).await?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(head);
    }
    begun.fetch_add(1, Ordering::Relaxed);
    let mut heard = 0;
    while !stop.is_cancelled() {
        match within("an event", stream.read(&mut [0; 1024])).await? {
            0 => return Err("the stream has ended".to_owned()),
            _ => heard += 1,
        }
    }
    Ok(heard)
}

async fn upload(address: SocketAddr, stop: CancellationToken, begun: Arc<AtomicUsize>) -> Result<usize, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let asked = "POST /app/count HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    within("asking", stream.write_all(asked.as_bytes())).await?;
    begun.fetch_add(1, Ordering::Relaxed);
    let mut sent = 0;
    while !stop.is_cancelled() {
        let piece = format!("400\r\n{}\r\n", "u".repeat(1024));
        within("a piece", stream.write_all(piece.as_bytes())).await?;
        sent += 1;
        tokio::time::sleep(PACE).await;
    }
    within("the end", stream.write_all(b"0\r\n\r\n")).await?;
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let whole = answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("\r\n\r\n{} bytes\n", sent * 1024));
    if whole { Ok(sent) } else { Err(format!("{sent} KiB were sent: {answer}")) }
}
