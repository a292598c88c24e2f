//! The one generic middleware. Most policies look at a request, stop it or let it go on, and want to see the outcome:
//! they write two plain functions, which unit tests call without a runtime, and this file owns the rest. It decides on
//! the way in without a future of its own, so a stack of gates costs no boxes and no copies of the future inside. A gate
//! that may have to wait for something says so in a third function; only a request that does wait is put into a box.

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

    /// The same for a gate that may have to wait before it can tell: it is asked this first, and `check` when the wait
    /// is over. It may be long in time but not for ever: whoever makes the future bounds it.
    fn look(&self, request: &mut Request) -> Verdict<Self::Pass> {
        match self.check(request) {
            Ok(pass) => Verdict::Pass(pass),
            Err(reject) => Verdict::Refuse(reject),
        }
    }

    /// Looks at the outcome on its way out, and may change it.
    fn finish(&self, _pass: Self::Pass, _outcome: &mut Outcome) {}
}

/// What a gate says to a request.
pub enum Verdict<P> {
    /// It goes on.
    Pass(P),
    /// It does not.
    Refuse(Reject),
    /// Nobody can tell before this is over; then the gate is asked again.
    Wait(Waiting),
    /// This finds out, and what it comes to is the last word.
    Later(Deciding<P>),
}

/// Something that a request waits for.
pub type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that a request waits for, and that decides about it.
pub type Deciding<P> = Pin<Box<dyn Future<Output = Decision<P>> + Send>>;

/// What was decided, to be told to the request.
pub type Decision<P> = Box<dyn FnOnce(&mut Request) -> Result<P, Reject> + Send>;

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
    S: Service<Request, Response = Response, Error = Refused> + Clone,
{
    type Response = Response;
    type Error = Refused;
    type Future = GateFuture<G, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let after = match &self.gate {
            None => None,
            Some(gate) => match gate.look(&mut request) {
                Verdict::Pass(pass) => Some((gate.clone(), pass)),
                Verdict::Refuse(reject) => return GateFuture { state: stopped(reject, request) },
                Verdict::Wait(until) => return self.park(Until::Over(until), gate, request),
                Verdict::Later(until) => return self.park(Until::Decided(until), gate, request),
            },
        };
        GateFuture { state: State::Running { inner: self.inner.call(request), after } }
    }
}

impl<G: Gate, S: Service<Request> + Clone> Gated<G, S> {
    fn park(&self, until: Until<G::Pass>, gate: &Arc<G>, request: Request) -> GateFuture<G, S> {
        // Services here are always ready, so a clone is as good as the one that was asked.
        let (gate, inner) = (gate.clone(), self.inner.clone());
        GateFuture { state: State::Waiting { parked: Some(Box::new(Parked { until, gate, inner, request })) } }
    }
}

/// What a request waits for.
enum Until<P> {
    Over(Waiting),
    Decided(Deciding<P>),
}

impl<P> Until<P> {
    /// The decision; none where the gate has to be asked again.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Decision<P>>> {
        match self {
            Self::Over(waiting) => waiting.as_mut().poll(cx).map(|()| None),
            Self::Decided(deciding) => deciding.as_mut().poll(cx).map(Some),
        }
    }
}

/// A request that waits, and what goes on with it.
struct Parked<G: Gate, S> {
    until: Until<G::Pass>,
    gate: Arc<G>,
    inner: S,
    request: Request,
}

fn stopped<G: Gate, S: Service<Request>>(reject: Reject, request: Request) -> State<G, S> {
    State::Stopped { refused: Some(Refused { reject: Box::new(reject), exchange: request.exchange }) }
}

impl<G: Gate, S: Service<Request>> Parked<G, S> {
    /// Does what was decided, or asks the gate again, now that it can tell.
    fn go_on(mut self, decision: Option<Decision<G::Pass>>) -> State<G, S> {
        let decided = match decision {
            Some(decision) => decision(&mut self.request),
            None => self.gate.check(&mut self.request),
        };
        match decided {
            Ok(pass) => {
                let Self { gate, mut inner, request, .. } = self;
                State::Running { inner: inner.call(request), after: Some((gate, pass)) }
            }
            Err(reject) => stopped(reject, self.request),
        }
    }
}

pin_project! {
    /// What a [`Gated`] service does with one request.
    pub struct GateFuture<G, S>
    where
        G: Gate,
        S: Service<Request>,
    {
        #[pin]
        state: State<G, S>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<G, S>
    where
        G: Gate,
        S: Service<Request>,
    {
        Stopped { refused: Option<Refused> },
        Waiting { parked: Option<Box<Parked<G, S>>> },
        Running { #[pin] inner: S::Future, after: Option<(Arc<G>, G::Pass)> },
    }
}

impl<G: Gate, S> Future for GateFuture<G, S>
where
    S: Service<Request, Response = Response, Error = Refused>,
{
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Stopped { refused } => {
                    return match refused.take() {
                        Some(refused) => Poll::Ready(Err(refused)),
                        None => Poll::Pending,
                    };
                }
                Projected::Waiting { parked } => {
                    let Some(waiting) = parked.as_mut() else { return Poll::Pending };
                    let decision = ready!(waiting.until.poll(cx));
                    match parked.take() {
                        Some(parked) => (*parked).go_on(decision),
                        None => return Poll::Pending,
                    }
                }
                Projected::Running { inner, after } => {
                    let mut outcome = ready!(inner.poll(cx));
                    if let Some((gate, pass)) = after.take() {
                        gate.finish(pass, &mut outcome);
                    }
                    return Poll::Ready(outcome);
                }
            };
            state.set(next);
        }
    }
}
