//! From a connection to the router: one call per request, without a lock. Finds the canonical host and path, then hands
//! the request to the axum router of that host. A panic below costs its own request and nothing else.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::routing::future::RouteFuture;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use super::Limits;
use super::examine::{examine, name_of, take_token};
use crate::base::body::{RequestBody, ResponseBody};
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::{Exchange, Origin};
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;
use crate::runtime::mount::{Carrier, Handling, Mount};
use crate::runtime::outgoing::Outgoing;
use crate::runtime::{Live, problem};

/// What a client reads when a panic has ended its request.
const FAILED: &str = "the gateway failed to handle this request";

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
    /// What carries its requests through the router.
    pub carrier: Carrier,
}

impl hyper::service::Service<http::Request<Incoming>> for Dispatch {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = DispatchFuture;

    fn call(&self, request: http::Request<Incoming>) -> DispatchFuture {
        let busy = self.client.begin(request.version() == Version::HTTP_2);
        let (mut head, incoming) = request.into_parts();
        let mut exchange = Box::new(Exchange::new(self.origin, busy, clock::now(), &head));
        let body = RequestBody::new(incoming, self.limits.pace);
        if let Some(meter) = body.meter() {
            self.client.uploads(meter);
        }
        let examined = catch_unwind(AssertUnwindSafe(|| examine(&mut head, &mut exchange, &self.limits)))
            .unwrap_or_else(|_| Err(Reject::new(Reason::Internal, FAILED)));
        let snapshot = self.live.now();
        if exchange.survey.account {
            take_token(&mut head, &mut exchange, snapshot.config().admin.token.as_ref());
        }
        let early = examined.is_err() || exchange.target.path() == "*";
        exchange.refused_early = examined.err().map(|reject| Box::new(reject.closing()));
        if early {
            let request = Request { head: Box::new(head), body, exchange };
            return DispatchFuture { state: State::Found { found: Some((snapshot.unmatched().clone(), request)) } };
        }
        let mut router = snapshot.router(exchange.host.as_ref().map_or("", name_of)).clone();
        let carrier = self.carrier.send(body, exchange, &mut head.extensions);
        let future = router.call(http::Request::from_parts(head, Body::empty()));
        DispatchFuture { state: State::Routed { future, carrier } }
    }
}

pin_project! {
    /// A request on its way through the router, then through a stack. Whatever handles it is called while this is
    /// polled, so that a panic there ends here.
    pub struct DispatchFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = Projected]
    enum State {
        Routed { #[pin] future: RouteFuture<Infallible>, carrier: Carrier },
        Found { found: Option<(Mount, Request)> },
        Handled { #[pin] future: Handling },
    }
}

impl DispatchFuture {
    fn advance(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Outgoing>> {
        loop {
            let found = match self.as_mut().project().state.project() {
                Projected::Routed { future, carrier } => {
                    let Ok(_) = ready!(future.poll(cx));
                    carrier.found()
                }
                Projected::Found { found } => found.take(),
                Projected::Handled { future } => return future.poll(cx),
            };
            let Some((mount, request)) = found else { return Poll::Ready(failed()) };
            self.as_mut().project().state.set(State::Handled { future: mount.begin(request) });
        }
    }
}

impl Future for DispatchFuture {
    type Output = Result<Response<Outgoing>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic the exchange has been counted while it unwound; what is left is to tell the client.
        catch_unwind(AssertUnwindSafe(|| self.advance(cx))).unwrap_or_else(|_| Poll::Ready(failed())).map(Ok)
    }
}

/// What the client gets when nothing is left of its request.
fn failed() -> Response<Outgoing> {
    let text = problem::text(Reason::Internal, FAILED, None);
    let mut response = Response::new(Outgoing::late(ResponseBody::Full(text.into())));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(http::header::CONTENT_TYPE, problem::PROBLEM_JSON);
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use futures_util::FutureExt;
    use std::net::SocketAddr;
    use tower::service_fn;
    use tower::util::BoxCloneSyncService;

    use super::*;
    use std::time::Duration;

    use crate::base::request::Outcome;
    use crate::layers::gate::Serve;
    use crate::layers::metrics::{Metrics, RouteMetrics};
    use crate::layers::request_id::RequestId;
    use crate::layers::{Policies, stack};
    use crate::telemetry::recorder::Recorder;

    /// Stands where forwarding stands.
    async fn fail(request: Request) -> Outcome {
        let _in_flight = request;
        panic!("expected by this test");
    }

    fn exchange(head: &http::request::Parts) -> Box<Exchange> {
        let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
        let busy = Client::new([127, 0, 0, 1].into(), Vec::new()).begin(false);
        Box::new(Exchange::new(origin, busy, clock::now(), head))
    }

    #[test]
    fn a_panic_is_answered_and_counted_and_goes_no_further() {
        let recorder = Arc::new(Recorder::default());
        let policies = Policies {
            request_id: Arc::new(RequestId::new([1], (clock::now(), Duration::ZERO))),
            access_log: None,
            metrics: Arc::new(Metrics(Arc::new(RouteMetrics::new(&"r".into(), &recorder)))),
            trace: None,
            auth_step: None,
            ip_access: None,
            path_guard: None,
            cors: None,
            early_limits: None,
            in_flight: None,
            deadline: None,
            auth: None,
            late_limits: None,
            body_limit: None,
            cache_step: None,
            cache: None,
        };
        let failing = stack(&policies, BoxCloneSyncService::new(service_fn(fail)));
        let mut router: Router = Router::new().fallback_service(service_fn(move |request: http::Request<Body>| {
            let (head, _) = request.into_parts();
            let (exchange, body) = (exchange(&head), RequestBody::EMPTY);
            let answering = failing.serve(Request { head: Box::new(head), body, exchange });
            async { answering.await.map_or_else(|_| unreachable!(), |_| Ok(Response::new(Body::empty()))) }
        }));
        for times in 1..=2 {
            let future = router.call(http::Request::new(Body::empty()));
            let dispatched = DispatchFuture { state: State::Routed { future, carrier: Carrier::default() } };
            let response = dispatched.now_or_never().unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()[http::header::CONTENT_TYPE], problem::PROBLEM_JSON);
            let page = recorder.render();
            for line in [
                format!("tollgate_requests_total{{route=\"r\",method=\"GET\",status=\"500\"}} {times}"),
                format!("tollgate_refusals_total{{route=\"r\",code=\"internal\",mode=\"enforce\"}} {times}"),
                "tollgate_requests_in_flight{route=\"r\"} 0".to_owned(),
            ] {
                assert!(page.contains(&line), "{line} is missing in\n{page}");
            }
        }
    }
}
