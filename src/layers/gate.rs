//! The one generic middleware. Most policies look at a request, stop it or let it go on, and want to see the outcome:
//! they write two plain functions, which unit tests call without a runtime, and this file owns the rest. It decides on
//! the way in without a future of its own, so a stack of gates costs no boxes and no copies of the future inside. A gate
//! that may have to wait for something says so in a third function; only a request that does wait is put into a box.

mod account;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use crate::base::reject::Reject;
use crate::base::request::{Outcome, Refused, Reply, Request, Response};

/// A policy that stops a request or lets it go on.
pub trait Gate: Send + Sync + 'static {
    /// Its name in accounts, if it is one that decides.
    const NAME: Option<&'static str> = None;

    /// What `check` hands to `finish`. When the client goes away it is dropped instead.
    type Pass: Send;

    /// Whether there is a `finish`: a gate without one need not be kept for it.
    const FINISHES: bool = true;

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

    /// Looks at a request whose wait is over. A gate that may still have to do more than pass or refuse says so here.
    fn look_again(&self, request: &mut Request) -> Verdict<Self::Pass> {
        match self.check(request) {
            Ok(pass) => Verdict::Pass(pass),
            Err(reject) => Verdict::Refuse(reject),
        }
    }

    /// Says what it would say to a request that nobody has sent: nothing is taken, counted or asked for by that. A gate
    /// whose look leaves a trace says so here without one.
    fn preview(&self, request: &mut Request) -> Verdict<Self::Pass> {
        self.look(request)
    }

    /// Tells what it goes by, before it is asked: for a request whose client hears of it.
    fn tell(&self, _request: &mut Request) {}

    /// Looks at the outcome on its way out, and may change it.
    fn finish(&self, _pass: Self::Pass, _outcome: &mut Outcome) {}
}

/// A service that is always ready, and is called where it stands. Every route has a stack of its own, which all workers
/// share: to clone it for each request, as [`Service::call`] wants it, would count each of its policies up and down.
pub trait Serve: Service<Request, Response = Response, Error = Refused> + Clone {
    /// The same as [`Service::call`].
    fn serve(&self, request: Request) -> Self::Future;
}

/// Whatever else can be called, for a clone and a box.
impl Serve for BoxCloneSyncService<Request, Response, Refused> {
    fn serve(&self, request: Request) -> Self::Future {
        self.clone().call(request)
    }
}

/// What a gate says to a request.
pub enum Verdict<P> {
    /// It goes on.
    Pass(P),
    /// It does not.
    Refuse(Reject),
    /// It goes no further, for this is the answer to it.
    Answer(Reply),
    /// Nobody can tell before this is over; then the gate is asked again.
    Wait(Waiting),
    /// Nobody can tell before somebody else has been asked, who then decides.
    Ask(Asking<P>),
}

/// Something that a request waits for.
pub type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Somebody who is asked about a request. It may take long but not for ever: whoever makes the future bounds it.
pub type Asking<P> = Pin<Box<dyn Future<Output = Decide<P>> + Send>>;

/// What follows from what was said.
pub type Decide<P> = Box<dyn FnOnce(&mut Request) -> Verdict<P> + Send>;

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

impl<G: Gate, S: Serve> Service<Request> for Gated<G, S> {
    type Response = Response;
    type Error = Refused;
    type Future = GateFuture<G, S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.serve(request)
    }
}

impl<G: Gate, S: Serve> Serve for Gated<G, S> {
    fn serve(&self, mut request: Request) -> Self::Future {
        let after = match &self.gate {
            None => None,
            Some(gate) => match asked(&**gate, &mut request) {
                Verdict::Pass(pass) => G::FINISHES.then(|| (gate.clone(), pass)),
                verdict => return GateFuture { state: enter(verdict, gate.clone(), self.inner.clone(), request) },
            },
        };
        GateFuture { state: State::Running { inner: self.inner.serve(request), after } }
    }
}

/// What the gate says; told where somebody hears of it, which costs all others a comparison.
fn asked<G: Gate>(gate: &G, request: &mut Request) -> Verdict<G::Pass> {
    if G::NAME.is_some() && request.exchange.account.is_some() {
        account::ask(gate, request);
        let verdict = gate.look(request);
        account::hear::<G>(request, &verdict);
        return verdict;
    }
    gate.look(request)
}

/// Does what the gate has said.
fn enter<G: Gate, S: Serve>(verdict: Verdict<G::Pass>, gate: Arc<G>, inner: S, request: Request) -> State<G, S> {
    let until = match verdict {
        Verdict::Pass(pass) => return State::Running { inner: inner.serve(request), after: Some((gate, pass)) },
        Verdict::Refuse(reject) => {
            return stopped(Err(Refused { reject: Box::new(reject), exchange: request.exchange }));
        }
        Verdict::Answer(Reply { head, body }) => {
            return stopped(Ok(Response { head, body, exchange: request.exchange }));
        }
        Verdict::Wait(waiting) => Until::Over(waiting),
        Verdict::Ask(asking) => Until::Told(asking),
    };
    State::Waiting { parked: Some(Box::new(Parked { until, gate, inner, request })) }
}

fn stopped<G: Gate, S: Service<Request>>(outcome: Outcome) -> State<G, S> {
    State::Stopped { outcome: Some(Box::new(outcome)) }
}

/// A request that waits, and what goes on with it.
struct Parked<G: Gate, S> {
    until: Until<G::Pass>,
    gate: Arc<G>,
    inner: S,
    request: Request,
}

/// Until when.
enum Until<P> {
    Over(Waiting),
    Told(Asking<P>),
}

impl<P> Until<P> {
    /// Ready with what was said, if anybody was asked.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Decide<P>>> {
        match self {
            Self::Over(waiting) => waiting.as_mut().poll(cx).map(|()| None),
            Self::Told(asking) => asking.as_mut().poll(cx).map(Some),
        }
    }
}

impl<G: Gate, S: Serve> Parked<G, S> {
    /// Goes on, now that it can be told.
    fn go_on(mut self, decide: Option<Decide<G::Pass>>) -> State<G, S> {
        let verdict = match decide {
            Some(decide) => decide(&mut self.request),
            None => self.gate.look_again(&mut self.request),
        };
        account::hear::<G>(&mut self.request, &verdict);
        enter(verdict, self.gate, self.inner, self.request)
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
        // Boxed, like all that is rare: a future is handed up through each layer of the stack, and copied there.
        Stopped { outcome: Option<Box<Outcome>> },
        Waiting { parked: Option<Box<Parked<G, S>>> },
        Running { #[pin] inner: S::Future, after: Option<(Arc<G>, G::Pass)> },
    }
}

impl<G: Gate, S: Serve> Future for GateFuture<G, S> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Projected::Stopped { outcome } => {
                    return match outcome.take() {
                        Some(outcome) => Poll::Ready(*outcome),
                        None => Poll::Pending,
                    };
                }
                Projected::Waiting { parked } => {
                    let Some(waiting) = parked.as_mut() else { return Poll::Pending };
                    let decide = ready!(waiting.until.poll(cx));
                    match parked.take() {
                        Some(parked) => (*parked).go_on(decide),
                        None => return Poll::Pending,
                    }
                }
                // Handed on as it is, where it is: each copy of an outcome costs 30 instructions.
                Projected::Running { inner, after: None } => return inner.poll(cx),
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::FutureExt;
    use http::StatusCode;
    use tower::service_fn;

    use super::*;
    use crate::base::body::RequestBody;
    use crate::base::client::Client;
    use crate::base::clock;
    use crate::base::exchange::{Exchange, Origin};
    use crate::base::reject::Reason;

    /// Says what the target asks for.
    #[derive(Debug)]
    struct Saying;

    impl Gate for Saying {
        type Pass = &'static str;

        fn check(&self, _: &mut Request) -> Result<&'static str, Reject> {
            Ok("checked")
        }

        fn look(&self, request: &mut Request) -> Verdict<&'static str> {
            let said = |status| Verdict::Answer(Reply::new(status));
            match request.head.uri.path() {
                "/answer" => said(StatusCode::NO_CONTENT),
                "/refuse" => Verdict::Refuse(Reject::new(Reason::IpDenied, "no")),
                "/wait" => Verdict::Wait(Box::pin(async {})),
                path => {
                    let path = path.to_owned();
                    Verdict::Ask(Box::pin(async move {
                        let decide: Decide<&'static str> = Box::new(move |_| match path.as_str() {
                            "/ask/pass" => Verdict::Pass("told"),
                            "/ask/answer" => said(StatusCode::FOUND),
                            "/ask/wait" => Verdict::Wait(Box::pin(async {})),
                            _ => Verdict::Refuse(Reject::new(Reason::IpDenied, "no")),
                        });
                        decide
                    }))
                }
            }
        }

        fn finish(&self, pass: &'static str, outcome: &mut Outcome) {
            if let Ok(response) = outcome {
                response.head.extensions.insert(pass);
            }
        }
    }

    /// What comes of a request: the status, and by which way it has passed.
    fn outcome(target: &str) -> Result<(u16, Option<&'static str>), Reason> {
        let (head, ()) = http::Request::builder().uri(target).body(()).unwrap().into_parts();
        let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
        let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
        let exchange = Box::new(Exchange::new(origin, busy, clock::now(), &head));
        let inner = service_fn(async |request: Request| {
            let Reply { head, body } = Reply::new(StatusCode::OK);
            Ok::<_, Refused>(Response { head, body, exchange: request.exchange })
        });
        let mut gated = GateLayer(Some(Arc::new(Saying))).layer(BoxCloneSyncService::new(inner));
        let future = gated.call(Request { head: Box::new(head), body: RequestBody::EMPTY, exchange });
        match future.now_or_never().unwrap() {
            Ok(response) => Ok((response.head.status.as_u16(), response.head.extensions.get().copied())),
            Err(refused) => Err(refused.reason()),
        }
    }

    #[test]
    fn every_verdict_is_heard_at_once_and_later() {
        assert_eq!(outcome("/answer"), Ok((204, None)));
        assert_eq!(outcome("/refuse"), Err(Reason::IpDenied));
        assert_eq!(outcome("/wait"), Ok((200, Some("checked"))));
        assert_eq!(outcome("/ask/pass"), Ok((200, Some("told"))));
        assert_eq!(outcome("/ask/answer"), Ok((302, None)));
        assert_eq!(outcome("/ask/wait"), Ok((200, Some("checked"))));
        assert_eq!(outcome("/ask/refuse"), Err(Reason::IpDenied));
    }
}
