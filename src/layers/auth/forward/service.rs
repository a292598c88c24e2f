//! The connections to a service that is asked: HTTP/1.1, kept and used again, each by the worker that made it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::addresses::Addresses;
use crate::base::tasks::{self, Task};
use crate::base::tls::{self, TlsError};

/// Largest answer, in bytes.
const LARGEST: usize = 64 << 10;
/// Idle connections that are kept, per worker.
const IDLE: usize = 32;
/// Addresses that are tried for one question.
const TRIES: usize = 3;

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    url: Uri,
    addresses: Addresses,
    tls: Option<Tls>,
    idle: Box<[Mutex<VecDeque<Connection>>]>,
}

/// How connections are encrypted; made when the first one is.
#[derive(Debug)]
struct Tls {
    ca: Option<PathBuf>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// A connection, and what drives it.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driving: Task,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// No address takes a connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No answer that can be used.
    #[error("no answer: {0}")]
    Answer(String),
}

impl Service {
    /// Begins to keep its addresses.
    pub(super) fn start(auth: &str, url: Uri, ca: Option<PathBuf>, workers: usize, control: &Handle) -> Self {
        let (port, encrypted) = tls::port(&url);
        Self {
            addresses: Addresses::start(auth, tls::host(&url), port, control),
            tls: encrypted.then(|| Tls { ca, config: OnceLock::new() }),
            idle: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            url,
        }
    }

    /// Asks with these fields. A kept connection may have been closed meanwhile: then a new one is made, once, since a
    /// question changes nothing.
    pub(super) async fn ask(&self, worker: usize, fields: &HeaderMap) -> Result<Response<Bytes>, AskError> {
        if let Some(mut connection) = self.take(worker)
            && connection.sender.ready().await.is_ok()
            && let Ok(answer) = connection.sender.send_request(self.request(fields)).await
        {
            return self.read(worker, connection, answer).await;
        }
        let mut connection = self.connect().await?;
        let answer = connection.sender.send_request(self.request(fields)).await;
        let answer = answer.map_err(|error| AskError::Answer(error.to_string()))?;
        self.read(worker, connection, answer).await
    }

    fn request(&self, fields: &HeaderMap) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        *request.headers_mut() = fields.clone();
        request
    }

    /// Reads an answer, and keeps the connection if it came whole.
    async fn read(
        &self,
        worker: usize,
        connection: Connection,
        answer: Response<hyper::body::Incoming>,
    ) -> Result<Response<Bytes>, AskError> {
        let (head, body) = answer.into_parts();
        if head.status.is_informational() {
            return Err(AskError::Answer(format!("its status is {}", head.status.as_u16())));
        }
        match Limited::new(body, LARGEST).collect().await {
            Ok(whole) => {
                self.keep(worker, connection);
                Ok(Response::from_parts(head, whole.to_bytes()))
            }
            // Nobody reads the body of a word that says yes.
            Err(_) if head.status.is_success() => Ok(Response::from_parts(head, Bytes::new())),
            Err(error) => Err(AskError::Answer(match error.downcast::<http_body_util::LengthLimitError>() {
                Ok(_) => "it is larger than 64 KiB".to_owned(),
                Err(error) => error.to_string(),
            })),
        }
    }

    fn take(&self, worker: usize) -> Option<Connection> {
        let mut idle = self.slot(worker)?;
        std::iter::from_fn(|| idle.pop_back()).find(|connection| !connection.sender.is_closed())
    }

    fn keep(&self, worker: usize, connection: Connection) {
        let Some(mut idle) = self.slot(worker) else { return };
        idle.retain(|connection| !connection.sender.is_closed());
        if idle.len() < IDLE && !connection.sender.is_closed() {
            idle.push_back(connection);
        }
    }

    fn slot(&self, worker: usize) -> Option<std::sync::MutexGuard<'_, VecDeque<Connection>>> {
        let slot = self.idle.get(worker).or(self.idle.first())?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn connect(&self) -> Result<Connection, AskError> {
        let mut last = "no address".to_owned();
        for address in self.addresses.in_turn().await.into_iter().take(TRIES) {
            let stream = match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = format!("{address}: {error}");
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let made = match &self.tls {
                None => handshake(stream).await,
                Some(tls) => match tls.encrypt(stream, &self.url).await {
                    Ok(stream) => handshake(stream).await,
                    Err(error) => Err(error.to_string()),
                },
            };
            match made {
                Ok(connection) => return Ok(connection),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        Err(AskError::Connect(last))
    }
}

impl Tls {
    async fn encrypt(
        &self,
        stream: TcpStream,
        url: &Uri,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError> {
        let config = match self.config.get() {
            Some(config) => config.clone(),
            None => {
                let config = Arc::new(tls::trusting(self.ca.clone()).await?);
                self.config.get_or_init(|| config).clone()
            }
        };
        tls::encrypt(config, stream, url).await
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Connection, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driving = tasks::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, _driving: driving })
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}
