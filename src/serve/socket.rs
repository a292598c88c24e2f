//! A client's socket, between TCP and the HTTP codec. It tells the connection's state what goes in and out, writes
//! interim responses where a message may begin, and gives the codec's own refusals of malformed heads the form that
//! every other refusal has.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::base::client::Client;
use crate::base::reject::Reason;
use crate::base::stream::Stream;
use crate::runtime::problem;

/// Longest refusal that the codec writes by itself.
const LONGEST_REFUSAL: usize = 256;
/// The fields of such a refusal; every response of a request has more, its id at least.
const CODEC_FIELDS: [&str; 3] = ["connection", "content-length", "date"];
/// What the codec says when a body is expected and wanted.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How much a refused client may still send while it is told so.
const LINGERING: usize = 1024 * 1024;

/// A socket and its connection's state.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    client: Arc<Client>,
    /// What was flushed last ended a message.
    at_boundary: bool,
    /// Something was written since the last flush.
    wrote: bool,
    /// The client has not taken what was flushed.
    held_up: bool,
    /// Ours to write before anything of the codec's.
    first: Vec<u8>,
    /// What the codec refused, for whoever counts.
    refused: Option<Reason>,
    /// How much more is read behind a refusal.
    lingering: usize,
    /// What was read before there was a codec.
    early: Vec<u8>,
}

impl Socket {
    /// Wraps a stream.
    pub fn new(stream: TcpStream, client: Arc<Client>) -> Self {
        Self {
            stream: Stream::new(stream, client.outbox().cloned()),
            client,
            at_boundary: true,
            wrote: false,
            held_up: false,
            first: Vec::new(),
            refused: None,
            lingering: LINGERING,
            early: Vec::new(),
        }
    }

    /// Reads on until there are `most` bytes for a codec to come. Shows all that there are so far, and whether more can
    /// follow.
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn poll_early(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<(&[u8], bool)>> {
        let mut room = [0; 32];
        let wanted = most.saturating_sub(self.early.len()).min(room.len());
        let mut buf = ReadBuf::new(&mut room[..wanted]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let more = !buf.filled().is_empty();
        self.early.extend_from_slice(buf.filled());
        Poll::Ready(Ok((&self.early, more)))
    }

    /// Gives bytes back that were read and not used.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.early.extend_from_slice(bytes);
    }

    /// Waits until there is something to read, be it the end.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.socket().poll_read_ready(cx).map(drop)
    }

    /// Whether what comes next begins a message.
    fn begins_message(&self) -> bool {
        self.at_boundary && !self.wrote
    }

    /// The codec writes these bytes. An interim response leaves the next message where it was.
    fn note_write(&mut self, bytes: &[u8]) {
        if self.client.is_switched() {
            self.stream.hurry();
        }
        self.wrote |= !(self.begins_message() && bytes == CONTINUE);
    }

    /// The client takes what is written, or keeps it waiting.
    fn note_taken(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => self.client.stall(),
            Poll::Ready(Ok(written)) => self.client.take(*written),
            Poll::Ready(Err(_)) => {}
        }
    }

    /// It takes what was written before, or keeps that waiting.
    fn note_flush(&mut self, polled: &Poll<io::Result<()>>) {
        if polled.is_pending() {
            self.client.stall();
        } else if self.held_up {
            self.client.take(0);
        }
        self.held_up = polled.is_pending();
    }

    /// Writes what is ours, all of it.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(interim) = self.client.take_interim()
            && self.begins_message()
        {
            self.first.extend_from_slice(&interim);
        }
        while !self.first.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.first))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.first.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a client that waits for its answer is still there. The codec could ask by reading, but takes a new buffer
    /// for it: 1,200 instructions a request, and 8 KiB a connection.
    fn poll_present(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut byte = [0];
        match self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Whether these bytes are the codec's own answer to a head that it could not read. They then come at the beginning
    /// of a message while no request is in flight; the head may have come in one packet with a request before it.
    fn codec_refusal(&self, bytes: &[u8]) -> Option<Reason> {
        let alone = self.begins_message() && self.refused.is_none() && bytes.len() <= LONGEST_REFUSAL;
        if !alone || !bytes.starts_with(b"HTTP/1.1 4") || !self.client.is_between_requests() {
            return None;
        }
        let (status_line, fields) = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?.split_once("\r\n")?;
        let names = fields.split("\r\n").map(|field| field.split(':').next().unwrap_or_default());
        let by_codec =
            names.clone().count() <= CODEC_FIELDS.len() && names.into_iter().all(|name| CODEC_FIELDS.contains(&name));
        by_codec.then(|| refusal_in(status_line))
    }

    fn refuse(&mut self, reason: Reason) {
        self.refused = Some(reason);
        self.client.note_refusal(reason);
        let status = reason.facts().status;
        let body = problem::text(reason, refusal_detail(reason), None);
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        self.first.extend_from_slice(head.as_bytes());
        self.first.extend_from_slice(&body);
    }

    /// Reads on for a while behind a refusal: closing over unread bytes would reset the connection, and the answer with
    /// it. The time is limited as for any head.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sink = [0; 4096];
        while self.lingering > 0 {
            let mut buf = ReadBuf::new(&mut sink);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            match buf.filled().len() {
                0 => break,
                read => self.lingering = self.lingering.saturating_sub(read),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Why the codec has refused a head, by the status line that it answers with.
pub(super) fn refusal_in(status_line: &str) -> Reason {
    match status_line.get(9..12) {
        Some("431" | "414") => Reason::HeaderTooLarge,
        _ => Reason::BadRequest,
    }
}

/// What a client reads of that.
pub(super) fn refusal_detail(reason: Reason) -> &'static str {
    match reason {
        Reason::HeaderTooLarge => "the request head is too large",
        _ => "the request head is malformed",
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.client.is_given_up() {
            let _ = self.stream.socket().set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..count]);
            self.early = self.early.split_off(count);
            self.client.heard();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.client.heard();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(reason) = this.codec_refusal(bytes) {
            this.refuse(reason);
        }
        ready!(this.poll_first(cx))?;
        this.note_write(bytes);
        if this.refused.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_taken(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(reason) = slices.first().and_then(|slice| this.codec_refusal(slice)) {
            this.refuse(reason);
        }
        ready!(this.poll_first(cx))?;
        this.note_write(slices.first().map_or(&[], |slice| slice));
        if this.refused.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note_taken(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_first(cx))?;
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.note_flush(&polled);
        if polled.is_ready() && std::mem::take(&mut this.wrote) {
            // A body that has gone out whole has given its request back; one that waits for more has not.
            this.at_boundary = this.client.is_between_requests();
        }
        ready!(polled)?;
        if this.client.only_waits() {
            this.poll_present(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.refused.is_some() {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}
