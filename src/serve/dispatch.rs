//! From a connection to the router: one call per request, without a lock. Finds the canonical host and path, then hands
//! the request to the axum router of that host. A panic below costs its own request and nothing else.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::routing::future::RouteFuture;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use super::Limits;
use super::examine::{examine, name_of};
use crate::base::body::RequestBody;
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::{Exchange, Origin};
use crate::base::reject::Reason;
use crate::runtime::mount::{Carrier, MountFuture};
use crate::runtime::{Live, problem};

/// Serves the requests of one connection.
#[derive(Debug)]
pub struct Dispatch {
    /// What runs.
    pub live: Live,
    /// What the connection knows of who asks.
    pub origin: Origin,
    /// The connection's state.
    pub client: Arc<Client>,
    /// What clients may do.
    pub limits: Arc<Limits>,
}

impl hyper::service::Service<http::Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = DispatchFuture;

    fn call(&self, request: http::Request<Incoming>) -> DispatchFuture {
        let busy = self.client.begin(request.version() == Version::HTTP_2);
        let (mut head, incoming) = request.into_parts();
        let mut exchange = Box::new(Exchange::new(self.origin, busy, clock::now(), &head));
        let body = RequestBody::new(incoming, self.limits.pace);
        let examined = examine(&mut head, &mut exchange, &self.limits);
        let snapshot = self.live.now();
        let early = examined.is_err() || exchange.target.path() == "*";
        let host = exchange.host.clone();
        exchange.refused_early = examined.err().map(|reject| Box::new(reject.closing()));
        head.extensions.insert(Carrier::new(body, exchange));
        let request = http::Request::from_parts(head, Body::empty());
        let inner = if early {
            Way::Unmatched {
                future: snapshot.unmatched().clone().call(request),
            }
        } else {
            let mut router = snapshot.router(host.as_ref().map_or("", name_of)).clone();
            Way::Routed {
                future: router.call(request),
            }
        };
        DispatchFuture { inner }
    }
}

pin_project! {
    /// A request on its way through the router.
    pub struct DispatchFuture {
        #[pin]
        inner: Way,
    }
}

pin_project! {
    #[project = Projected]
    enum Way {
        Routed { #[pin] future: RouteFuture<Infallible> },
        Unmatched { #[pin] future: MountFuture },
    }
}

impl Future for DispatchFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.project().inner;
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| match inner.project() {
            Projected::Routed { future } => future.poll(cx),
            Projected::Unmatched { future } => future.poll(cx),
        }));
        // The exchange has been counted while the panic unwound; what is left is to tell the client.
        polled.unwrap_or_else(|_| {
            let text = problem::text(Reason::Internal, "the gateway failed to handle this request", None);
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, problem::PROBLEM_JSON);
            Poll::Ready(Ok(response))
        })
    }
}
