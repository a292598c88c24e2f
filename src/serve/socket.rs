//! A client's socket, between TCP and the HTTP codec. It tells the connection's state what goes in and out, writes
//! interim responses where a message may begin, and gives the codec's own refusals of malformed heads the form that
//! every other refusal has.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::base::client::{Client, Phase};
use crate::base::reject::Reason;
use crate::runtime::problem;

/// Longest refusal that the codec writes by itself.
const LONGEST_REFUSAL: usize = 256;

/// A socket and its connection's state.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    client: Arc<Client>,
    /// Nothing was written since the last flush: what comes next begins a message.
    clean: bool,
    /// Ours to write before anything of the codec's.
    first: Vec<u8>,
    /// What the codec refused, for whoever counts.
    refused: Option<Reason>,
}

impl Socket {
    /// Wraps a stream.
    pub fn new(stream: TcpStream, client: Arc<Client>) -> Self {
        Self {
            stream,
            client,
            clean: true,
            first: Vec::new(),
            refused: None,
        }
    }

    /// Writes what is ours, all of it.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(interim) = self.client.take_interim()
            && self.clean
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

    /// Whether these bytes are the codec's own answer to a head that it could not read. They then come at the beginning
    /// of a message while no request is in flight; every response of a request has an id.
    fn codec_refusal(&self, bytes: &[u8]) -> Option<Reason> {
        let alone = self.clean && self.refused.is_none() && bytes.len() <= LONGEST_REFUSAL;
        if !alone || !bytes.starts_with(b"HTTP/1.1 4") || self.client.phase().0 != Phase::Head {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        if text.contains("x-request-id:") {
            return None;
        }
        Some(if text.starts_with("HTTP/1.1 431") {
            Reason::HeaderTooLarge
        } else {
            Reason::BadRequest
        })
    }

    fn refuse(&mut self, reason: Reason) {
        self.refused = Some(reason);
        self.client.note_refusal(reason);
        let status = reason.facts().status;
        let detail = match reason {
            Reason::HeaderTooLarge => "the request head is too large",
            _ => "the request head is malformed",
        };
        let body = problem::text(reason, detail, None);
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        self.first = [head.as_bytes(), &body].concat();
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
        this.clean = false;
        if this.refused.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.client.set_stalled(polled.is_pending());
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
        this.clean = false;
        if this.refused.is_some() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.client.set_stalled(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_first(cx))?;
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.clean = polled.is_ready();
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
