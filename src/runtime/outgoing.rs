//! The body that leaves: whatever the stack answered with, and the exchange, which ends with it. On HTTP/2 it can be given
//! up from outside when its client does not take it: nobody polls it then.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use crate::base::body::{BodyError, ResponseBody};
use crate::base::clock;
use crate::base::debt::Debt;
use crate::base::exchange::{End, Exchange};

/// A response body on its last leg.
#[derive(Debug)]
pub enum Outgoing {
    /// Polled as fast as the connection takes it.
    Alone(Leaving),
    /// One of several on a connection.
    Beside(Arc<Owed>),
}

/// A body and its exchange.
#[derive(Debug)]
pub struct Leaving {
    body: ResponseBody,
    exchange: Option<Box<Exchange>>,
}

/// A body that its client may leave unread.
#[derive(Debug)]
pub struct Owed(Mutex<Part>);

#[derive(Debug)]
struct Part {
    /// Until it is given up.
    leaving: Option<Leaving>,
    /// Since when the client has not taken what it was given last; nothing while it is the upstream that is waited for.
    given: Option<Instant>,
}

impl Outgoing {
    /// The body of a response with this status.
    pub fn new(body: ResponseBody, status: StatusCode, exchange: Box<Exchange>) -> Self {
        let multiplexed = exchange.version == Version::HTTP_2;
        let client = multiplexed.then(|| exchange.busy.client().clone());
        let leaving = Leaving::new(body, status, exchange);
        match client {
            Some(client) if !leaving.body.is_end_stream() => {
                let owed = Arc::new(Owed(Mutex::new(Part { leaving: Some(leaving), given: Some(clock::now()) })));
                client.debts().add(&owed);
                Self::Beside(owed)
            }
            _ => Self::Alone(leaving),
        }
    }

    /// The body of a response to a request that is over already.
    pub fn late(body: ResponseBody) -> Self {
        Self::Alone(Leaving { body, exchange: None })
    }
}

impl Owed {
    fn lock(&self) -> std::sync::MutexGuard<'_, Part> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debt for Owed {
    fn since(&self) -> Option<Instant> {
        self.lock().given
    }

    fn write_off(&self) {
        // Let go of behind the lock: what is held for it is given back to others.
        let leaving = self.lock().leaving.take();
        if let Some(mut leaving) = leaving
            && let Some(exchange) = &mut leaving.exchange
        {
            exchange.answer.end = End::Timeout;
            exchange.answer.cause = Some("the client did not take the response".into());
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Alone(leaving) => leaving.poll(cx),
            Self::Beside(owed) => {
                let mut part = owed.lock();
                let Some(leaving) = &mut part.leaving else {
                    return Poll::Ready(Some(Err(BodyError::TooSlow)));
                };
                let polled = leaving.poll(cx);
                part.given = polled.is_ready().then(clock::now);
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Alone(leaving) => leaving.body.is_end_stream(),
            Self::Beside(owed) => owed.lock().leaving.as_ref().is_some_and(|leaving| leaving.body.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Alone(leaving) => leaving.body.size_hint(),
            Self::Beside(owed) => {
                owed.lock().leaving.as_ref().map(|leaving| leaving.body.size_hint()).unwrap_or_default()
            }
        }
    }
}

impl Leaving {
    fn new(body: ResponseBody, status: StatusCode, mut exchange: Box<Exchange>) -> Self {
        exchange.answer.status = status.as_u16();
        let bodiless = exchange.method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || body.is_end_stream();
        if bodiless {
            exchange.answer.end = End::Ok;
        }
        Self { body, exchange: Some(exchange) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = &polled {
            self.note(frame.as_ref());
        }
        polled
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

impl Drop for Leaving {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::base::client::Client;
    use crate::base::exchange::Origin;
    use crate::base::seat::Seats;

    /// A response of ten bytes on an HTTP/2 connection, which holds a place.
    fn response(client: &Arc<Client>, seats: &Arc<Seats>) -> Outgoing {
        let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.version = Version::HTTP_2;
        let mut exchange = Box::new(Exchange::new(origin, client.begin(true), clock::now(), &head));
        exchange.hold(seats.take());
        Outgoing::new(ResponseBody::Full(Bytes::from_static(b"0123456789")), StatusCode::OK, exchange)
    }

    #[test]
    fn what_a_client_does_not_take_is_given_up() {
        let (client, seats) = (Client::new([127, 0, 0, 1].into(), Vec::new()), Arc::<Seats>::default());
        let mut unread = response(&client, &seats);
        client.debts().write_off_before(clock::now() - Duration::from_secs(1));
        assert_eq!(seats.taken(), 1, "not yet");
        client.debts().write_off_before(clock::now());
        assert_eq!(seats.taken(), 0);
        let polled = unread.frame().now_or_never().unwrap();
        assert!(matches!(polled, Some(Err(BodyError::TooSlow))) && !unread.is_end_stream());
    }

    #[test]
    fn what_it_takes_is_left_alone() {
        let (client, seats) = (Client::new([127, 0, 0, 1].into(), Vec::new()), Arc::<Seats>::default());
        let read = response(&client, &seats);
        let whole = read.collect().now_or_never().unwrap().unwrap().to_bytes();
        client.debts().write_off_before(clock::now());
        assert_eq!((whole.len(), seats.taken()), (10, 0));
    }
}
