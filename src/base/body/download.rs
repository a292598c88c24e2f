//! Response bodies: what gives back the things that are held for a response (an address's ticket, a connection) at
//! its last byte.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use crate::base::alarm::Alarm;
use crate::base::clock;
use crate::base::headers;

/// What a response body holds until its last byte.
pub trait Held: Send {
    /// Gives it back. `whole` tells whether the body came to its end; being dropped means that it did not.
    fn release(self: Box<Self>, whole: bool);
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
    incoming: Incoming,
    held: Option<Box<dyn Held>>,
    idle: Duration,
    alarm: Alarm,
    waiting: bool,
}

impl ResponseBody {
    /// A body that comes from an upstream, holding `held` until its end. It fails when nothing comes for `idle`; zero
    /// means never.
    pub fn stream(incoming: Incoming, idle: Duration, held: Box<dyn Held>) -> Self {
        if incoming.is_end_stream() {
            held.release(true);
            return Self::Empty;
        }
        Self::Stream(Stream { incoming, held: Some(held), idle, alarm: Alarm::default(), waiting: false })
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
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(Some(Err(error))) => {
                self.held = None;
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                self.waiting = false;
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                if self.incoming.is_end_stream() {
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
        if let Some(held) = self.held.take() {
            held.release(true);
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
            self.held = None;
            Some(Err(BodyError::TooSlow))
        })
    }
}
