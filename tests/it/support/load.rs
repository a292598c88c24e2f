//! Constant load: clients on keep-alive connections, each asking again as soon as it has its answer, until they are told
//! to stop. Everything that comes back is recorded; nothing is forgiven or repeated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tollgate::base::clock;
use tollgate::base::tasks::{self, Task};
use tollgate::lab::hello::BACKEND;

use super::eventually;

/// No client sends more, whatever happens.
const MOST: u64 = 1_000_000;
/// An answer that takes longer is a fault. One that is asked for while its connection closes may never come: between the
/// threads of a test hyper can lose a request that is handed over at that moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// Faults that are remembered with their text.
const REMEMBERED: usize = 20;

/// Clients that ask all the time.
pub(crate) struct Load {
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
    lanes: Vec<Task>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Answers by backend.
    pub(crate) backends: BTreeMap<String, u64>,
    /// 2xx answers.
    pub(crate) good: u64,
    /// All else: other statuses, broken connections, late answers.
    pub(crate) bad: u64,
    /// The first of them.
    pub(crate) faults: Vec<String>,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Load {
    /// So many clients, each on a connection of its own, that GET `path`.
    pub(crate) fn start(address: SocketAddr, path: &str, clients: usize) -> Self {
        let (stop, seen) = (CancellationToken::new(), Arc::<Mutex<Seen>>::default());
        let lane = |_| {
            let (stop, seen, path) = (stop.clone(), seen.clone(), path.to_owned());
            tasks::spawn(async move {
                let mut client = Client::new(address, Version::HTTP_11);
                for _ in 0..MOST {
                    if stop.is_cancelled() {
                        return;
                    }
                    client.ask_into(&path, &seen).await;
                }
            })
        };
        Self { lanes: (0..clients).map(lane).collect(), stop, seen }
    }

    /// What has come back by now.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Waits for so many more good answers.
    pub(crate) async fn goes_on(&self, answers: u64) {
        let before = self.seen().good;
        eventually("the load goes on", || self.seen().good >= before + answers).await;
    }

    /// Lets every client finish what it has asked.
    pub(crate) async fn stop(self) -> Seen {
        self.stop.cancel();
        for lane in self.lanes {
            lane.finished().await;
        }
        lock(&self.seen).clone()
    }
}

impl Seen {
    /// Fails unless every answer was good and came from `service`.
    pub(crate) fn assert_only(&self, service: &str) {
        assert_eq!(self.bad, 0, "{self:?}");
        assert!(self.good > 0, "nothing was asked");
        let stamp = format!("{service}@");
        assert!(self.backends.keys().all(|name| name.starts_with(&stamp)), "{self:?}");
    }

    fn note(&mut self, answer: Result<Answer, String>, took: Duration) {
        self.slowest = self.slowest.max(took);
        let fault = match answer {
            Ok(answer) if answer.status.is_success() => {
                self.good += 1;
                *self.backends.entry(answer.backend).or_default() += 1;
                return;
            }
            Ok(answer) => format!("{} {}", answer.status, answer.body),
            Err(error) => error,
        };
        self.bad += 1;
        if self.faults.len() < REMEMBERED {
            self.faults.push(fault);
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    /// Who gave it, `?` if it does not say.
    pub(crate) backend: String,
    pub(crate) body: String,
}

/// One client, which keeps its connection as long as it may.
pub(crate) struct Client {
    address: SocketAddr,
    version: Version,
    open: Option<(Sender, Task)>,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(crate) fn new(address: SocketAddr, version: Version) -> Self {
        Self { address, version, open: None }
    }

    /// Asks, and says what went wrong where something did. The connection is then a new one the next time.
    pub(crate) async fn ask(&mut self, path: &str) -> Result<Answer, String> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(path)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer in time to {path}")))
    }

    async fn exchange(&mut self, path: &str) -> Result<Answer, String> {
        let (mut sender, driver) = match self.open.take() {
            Some(sender) => sender,
            None => self.connect().await.map_err(|error| format!("connecting: {error}"))?,
        };
        let request = self.request(path);
        let response = match &mut sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(|error| format!("closed: {error}"))?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(|error| format!("closed: {error}"))?;
                sender.send_request(request).await
            }
        };
        let (head, body) = response.map_err(|error| format!("asking: {error:?}"))?.into_parts();
        let body = body.collect().await.map_err(|error| format!("reading: {error:?}"))?;
        let named = head.headers.get(BACKEND).and_then(|value| value.to_str().ok());
        let backend = named.unwrap_or("?").to_owned();
        if head.headers.get(header::CONNECTION).is_none_or(|value| value != "close") {
            self.open = Some((sender, driver));
        }
        Ok(Answer {
            status: head.status,
            backend,
            headers: head.headers,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    }

    async fn ask_into(&mut self, path: &str, seen: &Mutex<Seen>) {
        let began = clock::now();
        let answer = self.ask(path).await;
        lock(seen).note(answer, began.elapsed());
    }

    async fn connect(&self) -> Result<(Sender, Task), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        Ok(if self.version == Version::HTTP_2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            (Sender::Http2(sender), tasks::spawn(async move { drop(driver.await) }))
        } else {
            let (sender, driver) = http1::handshake(io).await?;
            (Sender::Http1(sender), tasks::spawn(async move { drop(driver.await) }))
        })
    }

    fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let builder = if self.version == Version::HTTP_2 {
            Request::get(format!("http://{}{path}", self.address)).version(Version::HTTP_2)
        } else {
            Request::get(path).header(header::HOST, self.address.to_string())
        };
        builder.body(Empty::new()).unwrap()
    }
}

/// Asks once, over a connection of its own.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> Answer {
    Client::new(address, Version::HTTP_11).ask(path).await.unwrap()
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
