//! The seam to the wire: one HTTP/1.1 connection to one address, and what can go wrong with a request on it. Everything
//! above speaks in these words, so that another codec can take hyper's place here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use crate::base::body::RequestBody;

/// A connection that is open, as far as is known. Closes when it is dropped.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<RequestBody>,
    heard: Arc<AtomicBool>,
    used: bool,
}

/// Why no connection could be had.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The other side did not answer in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// It refused, or cannot be reached.
    #[error("no connection: {0}")]
    Failed(#[from] io::Error),
    /// The connection broke before its first use.
    #[error("no connection: {0}")]
    Handshake(#[from] hyper::Error),
}

/// What a failed send means for the request.
#[derive(Debug)]
pub enum SendError {
    /// Not a byte was sent: the request is whole, and may be sent elsewhere whatever its method.
    Unsent(Box<http::Request<RequestBody>>),
    /// A connection that had been used before closed without a byte of an answer: most likely it was closed while it
    /// was idle (RFC 9112 §9.3.1), but the request may have been seen.
    Stale(hyper::Error),
    /// The connection closed, or broke, before the response head was complete.
    Closed(hyper::Error),
    /// What came is not HTTP.
    Malformed(hyper::Error),
}

impl Connection {
    /// Connects to an endpoint.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(endpoint: &Arc<Endpoint>, timeout: Duration) -> Result<Self, ConnectError> {
        let stream = tokio::time::timeout(timeout, TcpStream::connect(endpoint.address))
            .await
            .map_err(|_| ConnectError::TimedOut(timeout))??;
        stream.set_nodelay(true)?;
        let heard = Arc::new(AtomicBool::new(false));
        let socket = TokioIo::new(Socket { stream, heard: heard.clone() });
        let (sender, connection) = http1::Builder::new().max_headers(256).handshake(socket).await?;
        let connection = connection.with_upgrades();
        endpoint.drive(async move {
            let _ = connection.await; // whoever waits for a response hears of it
        });
        Ok(Self { sender, heard, used: false })
    }

    /// Whether the other side has not closed it, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether it waits for a request.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it has carried a request before.
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// Sends a request and waits for the response head. The request is on its way when this returns; what it returns
    /// holds none of it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(
        &mut self,
        request: http::Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> + use<'_> {
        let used = std::mem::replace(&mut self.used, true);
        self.heard.store(false, Ordering::Relaxed);
        let sent = self.sender.try_send_request(request);
        let heard = &self.heard;
        async move {
            match sent.await {
                Ok(response) => Ok(response),
                Err(failed) => Err(classify(failed, used, heard)),
            }
        }
    }
}

fn classify(mut failed: TrySendError<http::Request<RequestBody>>, used: bool, heard: &AtomicBool) -> SendError {
    if let Some(request) = failed.take_message() {
        return SendError::Unsent(Box::new(request));
    }
    let error = failed.into_error();
    match () {
        () if error.is_parse() => SendError::Malformed(error),
        () if used && !heard.load(Ordering::Relaxed) => SendError::Stale(error),
        () => SendError::Closed(error),
    }
}

/// A TCP stream that remembers whether it has heard anything.
struct Socket {
    stream: TcpStream,
    heard: Arc<AtomicBool>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
