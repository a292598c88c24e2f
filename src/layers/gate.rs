//! The one generic middleware. Most policies look at a request, stop it or let it go on, and want to see the outcome:
//! they write two plain functions, which unit tests call without a runtime, and this file owns the rest. It decides on
//! the way in without a future of its own, so a stack of gates costs no boxes and no copies of the future inside.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::base::reject::Reject;
use crate::base::request::{Outcome, Refused, Request, Response};

/// A policy that stops a request or lets it go on.
pub trait Gate: Send + Sync + 'static {
    /// What `check` hands to `finish`. When the client goes away it is dropped instead.
    type Pass: Send;

    /// Looks at a request on its way in, and may change it.
    ///
    /// # Errors
    /// The refusal, when the request must not go on.
    fn check(&self, request: &mut Request) -> Result<Self::Pass, Reject>;

    /// Looks at the outcome on its way out, and may change it.
    fn finish(&self, _pass: Self::Pass, _outcome: &mut Outcome) {}
}

/// Puts a gate around a service. A route that does not use the policy has `None`, which costs a comparison.
#[derive(Debug)]
pub struct GateLayer<G>(pub Option<Arc<G>>);

impl<G, S> Layer<S> for GateLayer<G> {
    type Service = Gated<G, S>;

    fn layer(&self, inner: S) -> Gated<G, S> {
        Gated { gate: self.0.clone(), inner }
    }
}

/// A service behind a gate.
#[derive(Debug)]
pub struct Gated<G, S> {
    gate: Option<Arc<G>>,
    inner: S,
}

impl<G, S: Clone> Clone for Gated<G, S> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), inner: self.inner.clone() }
    }
}

impl<G: Gate, S> Service<Request> for Gated<G, S>
where
    S: Service<Request, Response = Response, Error = Refused>,
{
    type Response = Response;
    type Error = Refused;
    type Future = GateFuture<G, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let after = match &self.gate {
            None => None,
            Some(gate) => match gate.check(&mut request) {
                Ok(pass) => Some((gate.clone(), pass)),
                Err(reject) => {
                    let refused = Some(Refused { reject: Box::new(reject), exchange: request.exchange });
                    return GateFuture { state: State::Stopped { refused } };
                }
            },
        };
        GateFuture { state: State::Running { inner: self.inner.call(request), after } }
    }
}

pin_project! {
    /// What a [`Gated`] service does with one request.
    pub struct GateFuture<G, F>
    where
        G: Gate,
    {
        #[pin]
        state: State<G, F>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<G, F>
    where
        G: Gate,
    {
        Stopped { refused: Option<Refused> },
        Running { #[pin] inner: F, after: Option<(Arc<G>, G::Pass)> },
    }
}

impl<G: Gate, F: Future<Output = Outcome>> Future for GateFuture<G, F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project().state.project() {
            Projected::Stopped { refused } => match refused.take() {
                Some(refused) => Poll::Ready(Err(refused)),
                None => Poll::Pending,
            },
            Projected::Running { inner, after } => {
                let mut outcome = ready!(inner.poll(cx));
                if let Some((gate, pass)) = after.take() {
                    gate.finish(pass, &mut outcome);
                }
                Poll::Ready(outcome)
            }
        }
    }
}
