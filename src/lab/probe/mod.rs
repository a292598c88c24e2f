//! A probe: a bounded number of requests over a few keep-alive connections, and who answered them. A measuring
//! stick for balancing, not a load generator: it speaks HTTP/1.1 over plain TCP and knows nothing of the gateway.

mod report;
mod target;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::base::clock;
use crate::base::tasks::{self, Task};
use crate::lab::hello::BACKEND;

pub use report::Report;
use report::Tally;
pub use target::{Target, TargetError};

/// How much of a body is kept to find its first line.
const LINE_LIMIT: usize = 256;

/// What to ask, how often, over how many connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the requests go.
    pub target: Target,
    /// How many requests, over all connections.
    pub requests: u64,
    /// How many connections share them.
    pub connections: usize,
    /// Fields added to each request; `host` replaces the target's own.
    pub headers: HeaderMap,
    /// Time for one request, connecting and the whole body included.
    pub timeout: Duration,
}

/// Sends the requests and reports who answered. What goes wrong is counted, not returned.
pub async fn run(options: &Options) -> Report {
    let started = clock::now();
    let sent = AtomicU64::new(0);
    let tallies = join_all((0..options.connections.max(1)).map(|_| lane(options, &sent))).await;
    Report::new(options, started.elapsed(), tallies)
}

/// One connection's share: it asks as long as the common count allows, and reconnects when the server closed.
async fn lane(options: &Options, sent: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while sent.fetch_add(1, Ordering::Relaxed) < options.requests {
        let started = clock::now();
        let answer = match tokio::time::timeout(options.timeout, ask(options, &mut connection, &mut tally)).await {
            Ok(answer) => answer,
            Err(_) => Err(ProbeError::Timeout),
        };
        match answer {
            Ok((status, backend)) => tally.answered(status, backend, started.elapsed()),
            Err(error) => {
                // What is left of the exchange may still arrive: such a connection is of no further use.
                connection = None;
                tally.failed(error.to_string());
            }
        }
    }
    tally
}

/// Sends one request over the connection that is there, or a new one, and reads the whole answer.
async fn ask(
    options: &Options,
    connection: &mut Option<Connection>,
    tally: &mut Tally,
) -> Result<(StatusCode, String), ProbeError> {
    loop {
        let kept = match connection.take() {
            Some(mut open) => open.sender.ready().await.is_ok().then_some(open),
            None => None,
        };
        let reused = kept.is_some();
        let mut open = match kept {
            Some(open) => open,
            None => Connection::open(&options.target, tally).await?,
        };
        match open.sender.try_send_request(request(options)).await {
            Ok(response) => {
                let answer = (response.status(), backend(response).await?);
                *connection = Some(open);
                return Ok(answer);
            }
            Err(mut failed) => {
                // Closed before a byte was sent: the server's right on an idle connection, and safe to repeat.
                let unsent = failed.take_message().is_some();
                if !(reused && unsent) {
                    return Err(failed.into_error().into());
                }
            }
        }
    }
}

fn request(options: &Options) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = options.target.path().into();
    request.headers_mut().insert(header::HOST, options.target.host().clone());
    request.headers_mut().extend(options.headers.clone());
    request
}

/// Reads the response to its end and names who sent it: `x-backend`, else the body's first line, else `?`.
async fn backend(response: http::Response<Incoming>) -> Result<String, hyper::Error> {
    let named = response.headers().get(BACKEND).map(readable);
    let mut start = Vec::new();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            start.extend_from_slice(&data[..data.len().min(LINE_LIMIT - start.len())]);
        }
    }
    Ok(named.unwrap_or_else(|| match String::from_utf8_lossy(&start).lines().next().map(str::trim) {
        None | Some("") => "?".to_owned(),
        Some(line) => line.to_owned(),
    }))
}

fn readable(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// A client connection and the task that drives it.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: Task,
}

impl Connection {
    async fn open(target: &Target, tally: &mut Tally) -> Result<Self, ProbeError> {
        let stream = TcpStream::connect(target.address()).await.map_err(ProbeError::Connect)?;
        tally.connections += 1;
        stream.set_nodelay(true).map_err(ProbeError::Connect)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // How the connection ended shows in the request that it ended under.
        let driver = tasks::spawn(async move { drop(driver.await) });
        Ok(Self { sender, _driver: driver })
    }
}

/// Why a request has no answer.
#[derive(Debug, Error)]
enum ProbeError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Exchange(#[from] hyper::Error),
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::lab::hello;

    fn options(address: std::net::SocketAddr, path: &str, requests: u64) -> Options {
        Options {
            target: format!("http://{address}{path}").parse().unwrap(),
            requests,
            connections: 1,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(5),
        }
    }

    async fn backend(name: &str) -> (std::net::SocketAddr, Task) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tasks::spawn(hello::serve(listener, name.to_owned(), pending())))
    }

    #[tokio::test]
    async fn every_request_is_sent_once_over_kept_connections() {
        let (address, _serving) = backend("me").await;
        let report = run(&Options { connections: 3, ..options(address, "/", 30) }).await;
        assert_eq!((report.requests(), report.failed(), report.reconnects()), (30, 0, 0), "{report}");
        assert_eq!(report.backends()["me"], 30);
    }

    #[tokio::test]
    async fn a_refusal_a_timeout_and_a_closed_port_are_failures() {
        let (address, serving) = backend("me").await;
        let report = run(&options(address, "/status/503", 2)).await;
        assert_eq!((report.failed(), report.statuses()[&503]), (2, 2));
        let slow = Options { timeout: Duration::from_millis(20), ..options(address, "/delay/60000", 2) };
        assert_eq!(run(&slow).await.errors()["no answer in time"], 2);
        drop(serving);
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let report = run(&options(gone, "/", 2)).await;
        assert!(report.failed() == 2 && report.to_string().contains("cannot connect"), "{report}");
    }

    /// A server that closes after each answer, without saying so, and sends no `x-backend`.
    async fn closing(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nline\nrest").await;
        }
    }

    #[tokio::test]
    async fn a_server_that_closes_is_met_again_and_named_by_its_first_line() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _serving = tasks::spawn(closing(listener));
        let one = run(&options(address, "/", 1)).await;
        assert_eq!(one.backends()["line"], 1, "{one}");
        // Whether a close is seen before the next request is sent is a race; that it is counted is not.
        let many = run(&options(address, "/", 5)).await;
        assert!(many.reconnects() + many.failed() >= 4, "{many}");
    }
}
