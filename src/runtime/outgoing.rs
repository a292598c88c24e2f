//! The body that leaves: whatever the stack answered with, and the exchange, which ends with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::base::body::{BodyError, ResponseBody};
use crate::base::exchange::{End, Exchange};

/// A response body on its last leg.
#[derive(Debug)]
pub struct Outgoing {
    body: ResponseBody,
    exchange: Option<Box<Exchange>>,
}

impl Outgoing {
    /// The body of a response with this status.
    pub fn new(body: ResponseBody, status: StatusCode, mut exchange: Box<Exchange>) -> Self {
        exchange.answer.status = status.as_u16();
        let bodiless = exchange.method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || body.is_end_stream();
        if bodiless {
            exchange.answer.end = End::Ok;
        }
        Self { body, exchange: Some(exchange) }
    }

    /// The body of a response to a request that is over already.
    pub fn late(body: ResponseBody) -> Self {
        Self { body, exchange: None }
    }

    fn note(&mut self, polled: Option<&Result<Frame<Bytes>, BodyError>>) {
        let whole = self.body.is_end_stream();
        let Some(exchange) = &mut self.exchange else { return };
        match polled {
            Some(Ok(frame)) => {
                exchange.answer.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if whole {
                    exchange.answer.end = End::Ok;
                }
            }
            Some(Err(error)) => {
                exchange.answer.cause = Some(error.to_string().into());
                exchange.answer.end = match error {
                    BodyError::TooSlow => End::Timeout,
                    BodyError::Broken(_) | BodyError::TooLarge => End::UpstreamReset,
                };
            }
            None => exchange.answer.end = End::Ok,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.note(frame.as_ref());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        if let Some(heir) = exchange.heir.take() {
            // A tunnel that is not there any more leaves the exchange to end here.
            let _ = heir.send(exchange);
        }
    }
}
