//! Response bodies: what gives back the things that are held for a response (an address's ticket, a connection) at
//! its last byte.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BodyError, Cause};
use crate::base::alarm::Alarm;
use crate::base::clock;
use crate::base::headers;

/// Where a response body comes from, and what is held for it until its last byte.
pub trait Source: Send {
    /// The next frame. Nothing is asked for behind the end or an error.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>>;

    /// Whether the last frame was handed out.
    fn is_end_stream(&self) -> bool;

    /// How much is left, where that is known.
    fn size_hint(&self) -> SizeHint;

    /// Whether its end is marked, so that one that was cut off is not taken for whole. One that ends when the connection
    /// does is not (RFC 9112 §8).
    fn is_framed(&self) -> bool;

    /// The body has come to its end: gives back what was held. Being dropped means that it has not.
    fn release(self: Box<Self>);
}

/// A response body on its way to the client.
#[derive(Default)]
pub enum ResponseBody {
    /// Nothing.
    #[default]
    Empty,
    /// All of it at once: what the gateway itself says.
    Full(Bytes),
    /// What an upstream sends.
    Stream(Stream),
}

/// A response body as an upstream sends it.
pub struct Stream {
    /// Until the body is over, one way or the other.
    source: Option<Box<dyn Source>>,
    /// Why it broke, until the reader is told.
    broken: Option<Cause>,
    idle: Duration,
    alarm: Alarm,
    waiting: bool,
}

impl ResponseBody {
    /// A body that comes from an upstream. It fails when nothing comes for `idle`; zero means never.
    pub fn stream(source: Box<dyn Source>, idle: Duration) -> Self {
        if source.is_end_stream() {
            source.release();
            return Self::Empty;
        }
        Self::Stream(Stream { source: Some(source), broken: None, idle, alarm: Alarm::default(), waiting: false })
    }
}

impl ResponseBody {
    /// Whether its end is marked; see [`Source::is_framed`].
    pub fn is_framed(&self) -> bool {
        match self {
            Self::Empty | Self::Full(_) => true,
            Self::Stream(stream) => stream.source.as_ref().is_none_or(|source| source.is_framed()),
        }
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Stream(_) => "Stream",
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                *self = Self::Empty;
                Poll::Ready(Some(Ok(frame)))
            }
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.source.is_none() && stream.broken.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.source.as_ref().map(|source| source.size_hint()).unwrap_or_default(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(self.broken.take().map(|error| Err(BodyError::Broken(error))));
        };
        match source.poll_frame(cx) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(Some(Err(error))) => {
                // The server's codec drops what it has not written when a body fails: it gets a round to write that.
                (self.source, self.broken) = (None, Some(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                self.waiting = false;
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                if source.is_end_stream() {
                    self.release();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.release();
                Poll::Ready(None)
            }
        }
    }

    fn release(&mut self) {
        if let Some(source) = self.source.take() {
            source.release();
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.idle.is_zero() {
            return Poll::Pending;
        }
        if !std::mem::replace(&mut self.waiting, true) {
            self.alarm.set(clock::now() + self.idle);
        }
        self.alarm.poll(cx).map(|()| {
            self.source = None;
            Some(Err(BodyError::TooSlow))
        })
    }
}
