//! The one generic middleware. Most policies look at a request, stop it or let it go on, and want to see the outcome:
//! they write two plain functions, which unit tests call without a runtime, and this file owns the rest. It decides on
//! the way in without a future of its own, so a stack of gates that let a request go on costs no boxes. A gate that may
//! have to wait for something says so in a third function; only what does wait, or is to be seen on its way out, is put
//! into a box.

mod account;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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

    /// Whether it wants to look at the outcome of what has passed like this: if not, it need not be kept for that.
    fn finishes(&self, _pass: &Self::Pass) -> bool {
        true
    }

    /// Looks at the outcome on its way out, and may change it.
    fn finish(&self, _pass: Self::Pass, _outcome: &mut Outcome) {}
}

/// A service that is always ready, and is called where it stands. Every route has a stack of its own, which all workers
/// share: to clone it for each request, as [`Service::call`] wants it, would count each of its policies up and down.
pub trait Serve:
    Service<Request, Response = Response, Error = Refused, Future: Way> + Clone + Send + Sync + 'static
{
    /// The same as [`Service::call`].
    fn serve(&self, request: Request) -> Self::Future;
}

/// What becomes of a request: one type from the top of a stack to its bottom, so that a layer has no part in what it does
/// not want to see. Sixteen futures one in another, of which most only hand on, cost 1,700 instructions a request.
pub trait Way: Future<Output = Outcome> + Send + Sized + 'static {
    /// It is over.
    fn over(outcome: Outcome) -> Self;

    /// There is more to do than what stands below does.
    fn work(work: Work) -> Self;
}

/// What a layer has to do around what stands below.
pub type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Way for Work {
    fn over(outcome: Outcome) -> Self {
        Box::pin(std::future::ready(outcome))
    }

    fn work(work: Work) -> Self {
        work
    }
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
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.serve(request)
    }
}

impl<G: Gate, S: Serve> Serve for Gated<G, S> {
    fn serve(&self, mut request: Request) -> Self::Future {
        let Some(gate) = &self.gate else { return self.inner.serve(request) };
        let until = match asked(&**gate, &mut request) {
            Verdict::Pass(pass) if !gate.finishes(&pass) => return self.inner.serve(request),
            Verdict::Pass(pass) => {
                return Self::Future::work(Box::pin(see_off(gate.clone(), pass, self.inner.serve(request))));
            }
            Verdict::Refuse(reject) => return Self::Future::over(refuse(reject, request)),
            Verdict::Answer(reply) => return Self::Future::over(answer(reply, request)),
            Verdict::Wait(waiting) => Until::Over(waiting),
            Verdict::Ask(asking) => Until::Told(asking),
        };
        Self::Future::work(Box::pin(wait(gate.clone(), self.inner.clone(), request, until)))
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

fn refuse(reject: Reject, request: Request) -> Outcome {
    Err(Refused { reject: Box::new(reject), exchange: request.exchange })
}

fn answer(Reply { head, body }: Reply, request: Request) -> Outcome {
    Ok(Response { head, body, exchange: request.exchange })
}

/// The way of a request that a gate wants to see again.
async fn see_off<G: Gate>(gate: Arc<G>, pass: G::Pass, way: impl Way) -> Outcome {
    let mut outcome = way.await;
    gate.finish(pass, &mut outcome);
    outcome
}

/// Until when a request waits.
enum Until<P> {
    Over(Waiting),
    Told(Asking<P>),
}

/// The way of a request that waits first.
async fn wait<G: Gate, S: Serve>(gate: Arc<G>, inner: S, mut request: Request, mut until: Until<G::Pass>) -> Outcome {
    loop {
        let verdict = match until {
            Until::Over(waiting) => {
                waiting.await;
                gate.look_again(&mut request)
            }
            Until::Told(asking) => (asking.await)(&mut request),
        };
        account::hear::<G>(&mut request, &verdict);
        until = match verdict {
            Verdict::Pass(pass) if !gate.finishes(&pass) => return inner.serve(request).await,
            Verdict::Pass(pass) => return see_off(gate, pass, inner.serve(request)).await,
            Verdict::Refuse(reject) => return refuse(reject, request),
            Verdict::Answer(reply) => return answer(reply, request),
            Verdict::Wait(waiting) => Until::Over(waiting),
            Verdict::Ask(asking) => Until::Told(asking),
        };
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
