//! The seam to the wire: one HTTP/1.1 connection to one address, and what can go wrong with a request on it. Everything
//! above speaks in these words, whichever codec is behind: our own for requests without a body, hyper for the others.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::endpoint::Endpoint;
use super::framing;
use super::heard::Socket;
use super::interim::Interim;
use super::wire::{Decoded, Failed, Wire};
use crate::base::added::Added;
use crate::base::body::{Cause, RequestBody};
use crate::base::exchange::Exchange;
use crate::base::headers::Survey;
use crate::base::outbox::Outbox;
use crate::base::seat::{Seat, Seats};
use crate::base::stream::Stream;

/// `ENFILE` and `EMFILE` of Linux: neither the system nor the process can open another file.
const OUT_OF_FILES: [i32; 2] = [23, 24];

/// What a connection can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests without a body and without an upgrade, driven by the task of the request.
    Plain,
    /// Every request, driven by a task of its own.
    Any,
}

/// A connection that is open, as far as is known. Closes when it is dropped.
#[derive(Debug)]
pub struct Connection {
    codec: Codec,
    used: bool,
}

#[derive(Debug)]
enum Codec {
    Wire(Box<Wire>),
    Hyper(Hyper),
}

/// A connection in hyper's hands.
#[derive(Debug)]
struct Hyper {
    sender: SendRequest<RequestBody>,
    heard: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Ends a connection at once, whatever it is in the middle of. Without one the connection closes by being dropped.
#[derive(Debug)]
pub struct Cutter(Option<AbortHandle>);

impl Cutter {
    /// Ends it.
    pub fn cut(self) {
        if let Some(task) = self.0 {
            task.abort();
        }
    }
}

/// The body of a response, and the connection that it comes over.
#[derive(Debug)]
pub struct Flow(From);

#[derive(Debug)]
enum From {
    Wire(Box<Wire>),
    /// With whether the body came in chunks, which hyper has no word for.
    Hyper(Incoming, Hyper, bool),
}

/// Why no connection could be had.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The other side did not answer in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// There are as many connections as allowed, and none was closed in time.
    #[error("as many connections as allowed are open, and none was closed within {0:?}")]
    NoRoom(Duration),
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
    /// Not a byte was sent: the request is back, whole, and may be sent elsewhere whatever its method.
    Unsent,
    /// A connection that had been used before closed without a byte of an answer: most likely it was closed while it
    /// was idle (RFC 9112 §9.3.1), but the request may have been seen.
    Stale(Cause),
    /// The connection closed, or broke, before the response head was complete.
    Closed(Cause),
    /// What came is not HTTP.
    Malformed(Cause),
}

impl Connection {
    /// Connects to an endpoint, to write through this outbox.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        endpoint: &Arc<Endpoint>,
        kind: Kind,
        timeout: Duration,
        outbox: Option<&Arc<Outbox>>,
    ) -> Result<Self, ConnectError> {
        let seat = tokio::time::timeout(timeout, endpoint.socket()).await;
        let seat = seat.map_err(|_| ConnectError::NoRoom(timeout))?;
        Self::with(seat, endpoint, (kind, outbox), timeout).await
    }

    /// Connects to an endpoint for a check of its health, beside those that `max_connections` counts: an address that has
    /// all it may have is not unwell.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn beside(endpoint: &Arc<Endpoint>, timeout: Duration) -> Result<Self, ConnectError> {
        Self::with(Arc::<Seats>::default().take(), endpoint, (Kind::Plain, None), timeout).await
    }

    async fn with(
        seat: Seat,
        endpoint: &Arc<Endpoint>,
        (kind, outbox): (Kind, Option<&Arc<Outbox>>),
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let stream = tokio::time::timeout(timeout, TcpStream::connect(endpoint.address))
            .await
            .map_err(|_| ConnectError::TimedOut(timeout))??;
        stream.set_nodelay(true)?;
        let stream = Stream::new(stream, outbox.cloned());
        let codec = match kind {
            Kind::Plain => Codec::Wire(Box::new(Wire::new(stream, seat, endpoint.line()))),
            Kind::Any => Codec::Hyper(Hyper::open(stream, seat, endpoint).await?),
        };
        Ok(Self { codec, used: false })
    }

    /// What it can carry now.
    pub fn kind(&self) -> Kind {
        match self.codec {
            Codec::Wire(_) => Kind::Plain,
            Codec::Hyper(_) => Kind::Any,
        }
    }

    /// The same connection, idle as it is, able to carry any request. There is no way back: the socket belongs to a task
    /// from now on.
    ///
    /// # Errors
    /// When it breaks meanwhile.
    pub async fn for_any(self, endpoint: &Arc<Endpoint>) -> Result<Self, ConnectError> {
        let codec = match self.codec {
            Codec::Wire(wire) => {
                let (stream, seat) = wire.into_parts();
                Codec::Hyper(Hyper::open(stream, seat, endpoint).await?)
            }
            hyper @ Codec::Hyper(_) => hyper,
        };
        Ok(Self { codec, used: self.used })
    }

    /// Whether the other side has not closed it, as far as is known. Asked of a connection that carries nothing.
    pub fn is_open(&self) -> bool {
        match &self.codec {
            Codec::Wire(wire) => wire.is_open(),
            Codec::Hyper(hyper) => !hyper.sender.is_closed(),
        }
    }

    /// Whether it waits for a request.
    pub fn is_ready(&self) -> bool {
        match &self.codec {
            Codec::Wire(wire) => wire.is_open(),
            Codec::Hyper(hyper) => hyper.sender.is_ready(),
        }
    }

    /// What ends it while it is being used.
    pub fn cutter(&self) -> Cutter {
        match &self.codec {
            Codec::Wire(_) => Cutter(None),
            Codec::Hyper(hyper) => Cutter(Some(hyper.task.clone())),
        }
    }

    /// Whether it has carried a request before.
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// Sends a request and waits for the response head. The request is on its way when this returns, or back in its
    /// place if it could not be sent. A request that was only read, since it has no body, stays there. What is `added`
    /// must be merged already where the connection is one for [`Kind::Any`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        self,
        request: &mut Option<Request<RequestBody>>,
        added: Option<(&Added, &Exchange)>,
        interim: Interim,
    ) -> Result<Response<Flow>, SendError> {
        match self.codec {
            Codec::Wire(mut wire) => {
                if let Some(request) = request {
                    wire.ask(request, added);
                }
                let answered = wire.answer(|status, fields| interim.pass(status, fields)).await;
                let response = answered.map_err(|failed| SendError::of(failed, self.used))?;
                Ok(response.map(|()| Flow(From::Wire(wire))))
            }
            // Boxed, since every request would make room for it: a kilobyte.
            Codec::Hyper(hyper) => Box::pin(hyper.send(request, interim, self.used)).await,
        }
    }
}

impl Hyper {
    async fn open(mut stream: Stream, seat: Seat, endpoint: &Arc<Endpoint>) -> Result<Self, hyper::Error> {
        // It may become a tunnel, whose ends flush once.
        stream.hurry();
        let heard = Arc::new(AtomicBool::new(false));
        let socket = TokioIo::new(Socket::new(stream, heard.clone(), seat));
        let (sender, connection) = http1::Builder::new().max_headers(256).handshake(socket).await?;
        let connection = connection.with_upgrades();
        let task = endpoint.drive(async move {
            let _ = connection.await; // whoever waits for a response hears of it
        });
        Ok(Self { sender, heard, task })
    }

    async fn send(
        mut self,
        place: &mut Option<Request<RequestBody>>,
        interim: Interim,
        used: bool,
    ) -> Result<Response<Flow>, SendError> {
        // This task is the client's connection, which is what has to write an interim response.
        let client = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        if !self.sender.is_ready() && self.sender.ready().await.is_err() {
            return Err(SendError::Unsent);
        }
        let Some(mut request) = place.take() else { return Err(SendError::Unsent) };
        framing::announce(&mut request);
        interim.attach(&mut request, client);
        self.heard.store(false, Ordering::Relaxed);
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                let chunked = response.headers().contains_key(TRANSFER_ENCODING);
                Ok(response.map(|incoming| Flow(From::Hyper(incoming, self, chunked))))
            }
            Err(mut failed) => {
                *place = failed.take_message();
                Err(self.classify(failed, place.is_some(), used))
            }
        }
    }

    fn classify(&self, failed: TrySendError<Request<RequestBody>>, returned: bool, used: bool) -> SendError {
        let error = failed.into_error();
        match () {
            () if returned => SendError::Unsent,
            () if error.is_parse() => SendError::Malformed(error.into()),
            () if used && !self.heard.load(Ordering::Relaxed) => SendError::Stale(error.into()),
            () => SendError::Closed(error.into()),
        }
    }
}

impl ConnectError {
    /// Whether it says nothing about the address: there was no room for a connection here, or no file descriptor.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::NoRoom(_) => true,
            Self::Failed(error) => error.raw_os_error().is_some_and(|code| OUT_OF_FILES.contains(&code)),
            Self::TimedOut(_) | Self::Handshake(_) => false,
        }
    }
}

impl SendError {
    fn of(failed: Failed, used: bool) -> Self {
        match failed {
            Failed::Unsent(_) => Self::Unsent,
            Failed::Silent(error) if used => Self::Stale(error.into()),
            Failed::Silent(error) | Failed::Broken(error) => Self::Closed(error.into()),
            Failed::Malformed(error) => Self::Malformed(error.into()),
        }
    }
}

impl Flow {
    /// The next frame of the body.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match &mut self.0 {
            From::Wire(wire) => wire.poll_data(cx).map(|decoded| match decoded {
                Ok(Decoded::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Decoded::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(Decoded::End | Decoded::More) => None,
                Err(error) => Some(Err(error.into())),
            }),
            From::Hyper(incoming, ..) => {
                Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Cause::from)))
            }
        }
    }

    /// What the response's fields are, as they came, where that was seen on the way.
    pub fn survey(&self) -> Option<Survey> {
        match &self.0 {
            From::Wire(wire) => Some(wire.survey()),
            From::Hyper(..) => None,
        }
    }

    /// Whether the last frame was handed out.
    pub fn is_end_stream(&self) -> bool {
        match &self.0 {
            From::Wire(wire) => wire.decoder().is_ended(),
            From::Hyper(incoming, ..) => incoming.is_end_stream(),
        }
    }

    /// How much is left, where that is known.
    pub fn size_hint(&self) -> SizeHint {
        match &self.0 {
            From::Wire(wire) => wire.decoder().size_hint(),
            From::Hyper(incoming, ..) => incoming.size_hint(),
        }
    }

    /// Whether its end is marked, by a length or by chunks.
    pub fn is_framed(&self) -> bool {
        match &self.0 {
            From::Wire(wire) => wire.decoder().is_framed(),
            From::Hyper(incoming, _, chunked) => *chunked || incoming.size_hint().exact().is_some(),
        }
    }

    /// All of it, where it has come with the head and nothing else can follow.
    pub fn whole(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            From::Wire(wire) => wire.whole_body(),
            From::Hyper(incoming, ..) => incoming.is_end_stream().then(Bytes::new),
        }
    }

    /// Takes the fields of the request, which nobody needs any more; their map serves the connection's next response.
    pub fn refill(&mut self, fields: HeaderMap) {
        if let From::Wire(wire) = &mut self.0 {
            wire.refill(fields);
        }
    }

    /// Ends the connection at once, also where it is still sending the request.
    pub fn cut(self) {
        if let From::Hyper(_, hyper, _) = self.0 {
            hyper.task.abort();
        }
    }

    /// The connection, when the body has come to its end and another request may follow.
    pub fn finish(self) -> Option<Connection> {
        let codec = match self.0 {
            From::Wire(mut wire) => wire.rest().then_some(Codec::Wire(wire))?,
            From::Hyper(_, hyper, _) => Codec::Hyper(hyper),
        };
        Some(Connection { codec, used: true })
    }
}
