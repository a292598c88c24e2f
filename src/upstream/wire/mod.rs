//! HTTP/1.1 spoken to an upstream on the socket itself, by the task of the request: for requests without a body, which
//! need neither a task of their own nor channels to it. Knows nothing of retries, limits or metrics.

pub mod body;
pub mod head;
pub mod line;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use thiserror::Error;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use crate::base::added::Added;
use crate::base::exchange::Exchange;
use crate::base::headers::Survey;
use crate::base::seat::Seat;
use crate::base::stream::Stream;

pub use body::{Decoded, Decoder};
pub use head::{Framing, Head};
pub use line::{Line, Lines};

/// Least and most bytes that one read asks for. What is read goes to the client by itself, so this is how much one write
/// takes too: 510 µs a response of 1 MiB, against 754 with half as much.
const READ: std::ops::RangeInclusive<usize> = 8 * 1024..=128 * 1024;

/// What a peer may not send. The text is for the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// How an exchange broke off before its response head.
#[derive(Debug)]
pub enum Failed {
    /// Not a byte could be written: the connection had been closed.
    Unsent(io::Error),
    /// The request was written, at least in part, and the connection ended without a byte of an answer.
    Silent(io::Error),
    /// It ended within the response head.
    Broken(io::Error),
    /// What came is not a response.
    Malformed(Malformed),
}

/// Why a body broke off.
#[derive(Debug, Error)]
pub enum BodyFailed {
    /// The connection failed, or closed before the end of the message (RFC 9112 §8).
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not a body in the framing that the head announced.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A connection, with what was read and is to be written. Closes when it is dropped.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// Its place at the address, given back behind the stream.
    seat: Seat,
    line: Line,
    input: BytesMut,
    output: Vec<u8>,
    written: usize,
    /// Whether a byte has come since the request began.
    heard: bool,
    /// Whether the last response leaves the connection open (RFC 9112 §9.3).
    keep: bool,
    head: bool,
    decoder: Decoder,
    /// What the fields of the last response are, as they came.
    survey: Survey,
    room: head::Room,
    /// Bytes that the next read asks for: more while reads are filled.
    appetite: usize,
}

impl Wire {
    /// Speaks over a socket, which is cut off through its line.
    pub fn new(stream: Stream, seat: Seat, line: Line) -> Self {
        Self {
            stream,
            seat,
            line,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            heard: false,
            keep: false,
            head: false,
            decoder: Decoder::new(Framing::None),
            survey: Survey::default(),
            room: head::Room::default(),
            appetite: *READ.start(),
        }
    }

    /// Whether an idle connection can carry a request: neither closed, nor with bytes that nobody asked for.
    ///
    /// This costs no system call while nothing has happened: the runtime keeps what its poll of all sockets has said of
    /// this one, and answers `WouldBlock` by itself until it has said that something came.
    pub fn is_open(&self) -> bool {
        let nothing =
            self.stream.socket().try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        nothing && !self.line.is_cut()
    }

    /// The socket of an idle connection and its place, for another codec.
    pub fn into_parts(self) -> (Stream, Seat) {
        (self.stream, self.seat)
    }

    /// Takes the head of a request that has no body; [`Self::answer`] sends it.
    pub fn ask<B>(&mut self, request: &Request<B>, added: Option<(&Added, &Exchange)>) {
        self.output.clear();
        head::write(request, added, &mut self.output);
        (self.written, self.heard, self.keep) = (0, false, false);
        self.head = request.method() == Method::HEAD;
    }

    /// Sends what was asked, and waits for the head of the response. Interim responses (RFC 9110 §15.2) go to `interim`.
    /// The body follows with [`Self::poll_data`].
    ///
    /// # Errors
    /// See [`Failed`]; the connection is of no use any more.
    pub async fn answer(&mut self, mut interim: impl FnMut(StatusCode, HeaderMap)) -> Result<Response<()>, Failed> {
        std::future::poll_fn(|cx| self.poll_head(cx, &mut interim)).await
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut impl FnMut(StatusCode, HeaderMap),
    ) -> Poll<Result<Response<()>, Failed>> {
        let written = self.poll_write(cx);
        if let Poll::Ready(Err(error)) = written
            && self.written == self.stream.unsent()
        {
            return Poll::Ready(Err(Failed::Unsent(error)));
        }
        // A server may answer before it has the whole request, and close: what it says is worth more than the error.
        loop {
            while let Some(head) = head::parse(&mut self.input, &mut self.room, self.head).map_err(Failed::Malformed)? {
                let status = head.response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    interim(status, head.response.into_parts().0.headers);
                    // What was left for the client is written when its connection is polled, which is this task.
                    cx.waker().wake_by_ref();
                    continue;
                }
                self.keep = head.keep;
                self.decoder = Decoder::new(head.framing);
                self.survey = head.survey;
                return Poll::Ready(Ok(head.response));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Err(self.failed(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => self.heard = true,
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
        }
    }

    fn failed(&self, error: io::Error) -> Failed {
        if self.heard { Failed::Broken(error) } else { Failed::Silent(error) }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.appetite);
        let asked = self.input.capacity() - self.input.len();
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input);
        if read.is_pending() {
            self.line.watch(cx.waker());
        }
        // Looked at last: whoever cuts raises the flag before it wakes.
        if self.line.is_cut() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the address has left")));
        }
        if let Poll::Ready(Ok(count)) = read
            && count == asked
        {
            self.appetite = (self.appetite * 2).min(*READ.end());
        }
        read
    }

    /// The next piece of the body, [`Decoded::End`] behind the last one.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyFailed>> {
        loop {
            let decoded = self.decoder.decode(&mut self.input)?;
            if !matches!(decoded, Decoded::More) {
                return Poll::Ready(Ok(decoded));
            }
            if ready!(self.poll_read(cx))? == 0 && !self.decoder.close() {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the end of the message");
                return Poll::Ready(Err(error.into()));
            }
        }
    }

    /// Takes the map of a request whose fields nobody needs any more, for those of the next response. hyper does the same
    /// with the map of that response and the client's next request, so that maps go round in place of being made: their
    /// blocks are too large for the allocator's quick lists, and cost 1,500 instructions a request.
    pub fn refill(&mut self, fields: HeaderMap) {
        self.room.refill(fields);
    }

    /// What the fields of the response are, as they came.
    pub fn survey(&self) -> Survey {
        self.survey
    }

    /// What is known of the rest of the body.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// All that is left of the body, where its length is known and all of it has been read.
    pub fn whole_body(&mut self) -> Option<Bytes> {
        let left = usize::try_from(self.decoder.size_hint().exact()?).ok()?;
        if left > self.input.len() {
            return None;
        }
        match self.decoder.decode(&mut self.input) {
            Ok(Decoded::Data(data)) => Some(data),
            _ => Some(Bytes::new()),
        }
    }

    /// Makes ready for the next request. False when there can be none: the peer closes, the message has not come to its
    /// end, or bytes follow that belong to no answer.
    pub fn rest(&mut self) -> bool {
        let written = self.written == self.output.len();
        if !self.keep || !self.decoder.leaves_open() || !self.input.is_empty() || !written {
            return false;
        }
        self.appetite = *READ.start();
        if self.input.capacity() > 2 * self.appetite {
            self.input = BytesMut::new();
        }
        true
    }
}
