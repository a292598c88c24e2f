//! What the axum router mounts at a path: the routes that may take a request there. A mount's handler hands itself and the
//! request back beside the router, and the work of the stack begins behind it: a response that came up through the router
//! would pass four futures at each poll and have its body boxed, 2,000 instructions a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use futures_util::future::{Ready, ready};
use http::{Extensions, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use tower::Service;

use super::outgoing::Outgoing;
use super::problem::{self, tell};
use crate::base::body::{RequestBody, ResponseBody};
use crate::base::exchange::Exchange;
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Outcome, Refused, Request, Response as Answer};
use crate::layers::gate::{Serve, Way, Work};
use crate::layers::rate_limit::answer;
use crate::layers::{Policies, Stack};
use crate::layers::{cors, request_id};
use crate::upstream::boxes::InBox;
use crate::upstream::forward::Forward;

/// Carries a request's body and exchange down through the router, and what has been found there back up. A
/// connection keeps one, with the extension map that it travels in: a new map each time cost 700 instructions a request.
#[derive(Clone, Default)]
pub struct Carrier(Arc<Mutex<Hold>>);

#[derive(Default)]
struct Hold {
    load: Load,
    /// Empty, with the room that it had for another request.
    extensions: Extensions,
}

#[derive(Default)]
enum Load {
    #[default]
    Nothing,
    Request(RequestBody, Box<Exchange>),
    Found(Mount, Request),
}

impl Carrier {
    /// Takes the two on board, and a place among the extensions that travel with them. On HTTP/2 another one does it for
    /// each request: several are on their way at a time, and one that is given up must not leave anything behind.
    pub fn send(&self, body: RequestBody, exchange: Box<Exchange>, extensions: &mut Extensions) -> Self {
        let this = if exchange.version == Version::HTTP_2 { Self::default() } else { self.clone() };
        let mut hold = this.lock();
        hold.load = Load::Request(body, exchange);
        if extensions.is_empty() {
            *extensions = std::mem::take(&mut hold.extensions);
        }
        drop(hold);
        extensions.insert(this.clone());
        this
    }

    /// The mount that the request came to, if it came to one, and the request.
    pub fn found(&self) -> Option<(Mount, Request)> {
        match std::mem::take(&mut self.lock().load) {
            Load::Found(mount, request) => Some((mount, request)),
            Load::Nothing | Load::Request(..) => None,
        }
    }

    /// The request has come to this mount.
    fn find(&self, mount: &Mount, mut head: Box<http::request::Parts>) {
        let mut hold = self.lock();
        let Load::Request(body, exchange) = std::mem::take(&mut hold.load) else { return };
        // Of all that the router and the codec have said, only this is asked for below.
        let mut extensions = std::mem::take(&mut head.extensions);
        if let Some(upgrade) = extensions.remove::<OnUpgrade>() {
            head.extensions.insert(upgrade);
        }
        extensions.clear();
        hold.extensions = extensions;
        hold.load = Load::Found(mount.clone(), Request { head, body, exchange });
    }

    fn lock(&self) -> MutexGuard<'_, Hold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carrier")
    }
}

/// A route as it runs.
#[derive(Debug)]
pub struct Route {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    /// How specific its path is: routes of one rank have the same path.
    pub rank: usize,
    /// Methods that it takes; none means any.
    pub methods: Vec<Method>,
    /// Fields that must be present.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters that must be present.
    pub query: Vec<(String, String)>,
    /// Whether it answers the preflights of the requests that it takes.
    pub preflights: bool,
    /// The layers of the stack, one by one: for those who want to know what each would say.
    pub policies: Policies,
    /// What stands at the bottom of the stack.
    pub forward: Forward,
    /// What takes its requests.
    pub stack: Stack<Answerer>,
}

impl Route {
    pub(super) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || *method == Method::HEAD && self.methods.contains(&Method::GET)
    }

    fn meets_conditions(&self, head: &http::request::Parts) -> bool {
        self.unmet(head).is_none()
    }

    /// The first condition that a request does not meet.
    pub(super) fn unmet(&self, head: &http::request::Parts) -> Option<Condition<'_>> {
        let has = |pair: &str, (name, value): &(String, String)| {
            pair.split_once('=').map_or(pair == name && value.is_empty(), |(n, v)| n == name && v == value)
        };
        let lacks_field =
            |(name, value): &&(HeaderName, HeaderValue)| !head.headers.get_all(name).iter().any(|sent| sent == value);
        let lacks_parameter = |wanted: &&(String, String)| {
            !head.uri.query().is_some_and(|query| query.split('&').any(|pair| has(pair, wanted)))
        };
        let field = self.headers.iter().find(lacks_field).map(|(name, value)| Condition::Header(name, value));
        field.or_else(|| self.query.iter().find(lacks_parameter).map(|(name, value)| Condition::Query(name, value)))
    }
}

/// What a route asks of a request besides host, path and method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// A field with this value.
    Header(&'a HeaderName, &'a HeaderValue),
    /// A query parameter with this value.
    Query(&'a str, &'a str),
}

/// Asks the router which mount a request would come to, in the place of a [`Carrier`].
#[derive(Clone, Debug, Default)]
pub struct Inquiry(Arc<OnceLock<Mount>>);

impl Inquiry {
    /// The mount, once the router was asked.
    pub fn answer(&self) -> Option<&Mount> {
        self.0.get()
    }
}

/// The routes at one path of one set of hosts, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Mount(Arc<Place>);

#[derive(Debug)]
struct Place {
    routes: Vec<Arc<Route>>,
    /// Delivers what no route takes.
    unmatched: Stack<Answerer>,
}

impl Mount {
    /// These routes; what none of them takes goes to `unmatched`.
    pub fn new(routes: Vec<Arc<Route>>, unmatched: Stack<Answerer>) -> Self {
        Self(Arc::new(Place { routes, unmatched }))
    }

    /// The routes, in the order in which they are asked.
    pub(super) fn routes(&self) -> &[Arc<Route>] {
        &self.0.routes
    }

    /// The first route that takes the request. The most specific path owns it: when only the method is wrong there, no
    /// less specific route is asked.
    pub(super) fn choose(&self, head: &http::request::Parts) -> Result<Option<&Arc<Route>>, Reject> {
        let mut allowed: Vec<&Method> = Vec::new();
        let mut owner = None;
        // A preflight is for the route that would take the request that it is about.
        let meant = if cors::is_preflight(head) { cors::requested(head) } else { None };
        let answers =
            |route: &Route| route.preflights && meant.as_ref().is_some_and(|method| route.takes_method(method));
        for route in self.0.routes.iter().filter(|route| route.meets_conditions(head)) {
            if owner.is_some_and(|rank| rank != route.rank) {
                break;
            }
            if route.takes_method(&head.method) || answers(route) {
                return Ok(Some(route));
            }
            owner = Some(route.rank);
            allowed.extend(&route.methods);
        }
        if allowed.is_empty() { Ok(None) } else { Err(method_not_allowed(allowed)) }
    }
}

fn method_not_allowed(mut allowed: Vec<&Method>) -> Reject {
    if allowed.contains(&&Method::GET) {
        allowed.push(&Method::HEAD);
    }
    allowed.sort_unstable_by_key(|method| method.as_str());
    allowed.dedup();
    let list = allowed.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    let list = HeaderValue::try_from(list).unwrap_or(HeaderValue::from_static(""));
    Reject::new(Reason::MethodNotAllowed, "this path does not take this method").allow(list)
}

impl Service<http::Request<Body>> for Mount {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Hands the request back; the response is an empty one, for the router.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut head = Box::new(request.into_parts().0);
        if let Some(carrier) = head.extensions.remove::<Carrier>() {
            carrier.find(self, head);
        } else if let Some(inquiry) = head.extensions.remove::<Inquiry>() {
            let _ = inquiry.0.set(self.clone());
        }
        ready(Ok(Response::new(Body::empty())))
    }
}

impl Mount {
    /// Begins with the stack of the route that takes the request.
    pub fn begin(&self, mut request: Request) -> Handling {
        let exchange = &mut request.exchange;
        let chosen = if exchange.refused_early.is_some() { Ok(None) } else { self.choose(&request.head) };
        let stack = match chosen {
            Ok(Some(route)) => {
                exchange.route = Some(route.name.clone());
                if let Some(account) = &mut exchange.account {
                    account.add("route", &[("name", &route.name)]);
                }
                &route.stack
            }
            Ok(None) => &self.0.unmatched,
            Err(reject) => {
                exchange.refused_early = Some(Box::new(reject));
                &self.0.unmatched
            }
        };
        Handling { inner: stack.serve(request) }
    }
}

pin_project! {
    /// The way through a route's stack.
    pub struct Handling {
        #[pin]
        inner: <Stack<Answerer> as Service<Request>>::Future,
    }
}

impl Future for Handling {
    type Output = Response<Outgoing>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.project().inner.poll(cx)) {
            Ok(Answer { mut head, body, mut exchange }) => {
                request_id::tell(&mut head, &exchange);
                answer::tell(&exchange.met, &mut head.headers);
                if let Some(account) = exchange.account.take() {
                    tell(&mut head.headers, account.close(&exchange, head.status.as_u16()));
                }
                let outgoing = Outgoing::new(body, head.status, exchange);
                Response::from_parts(head, outgoing)
            }
            Err(refused) => problem::render(refused),
        })
    }
}

/// What stands at the bottom of a stack.
#[derive(Clone, Debug)]
pub enum Answerer {
    /// A route's upstream.
    Forward(Forward),
    /// Nothing: the request is refused, for the reason that was found, or because no route takes it.
    Nobody,
}

impl Service<Request> for Answerer {
    type Response = Answer;
    type Error = Refused;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.serve(request)
    }
}

impl Serve for Answerer {
    fn serve(&self, request: Request) -> Self::Future {
        match self {
            Self::Forward(forward) => Answering::Forward(forward.serve(request)),
            Self::Nobody => Answering::over(answer_unmatched(request)),
        }
    }
}

/// What an [`Answerer`] does with one request.
pub enum Answering {
    /// It is forwarded.
    Forward(InBox),
    /// It is over.
    Over(Option<Box<Outcome>>),
    /// A layer has something to do.
    Work(Work),
}

impl Way for Answering {
    fn over(outcome: Outcome) -> Self {
        Self::Over(Some(Box::new(outcome)))
    }

    fn work(work: Work) -> Self {
        Self::Work(work)
    }
}

impl Future for Answering {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.get_mut() {
            Self::Forward(forwarding) => Pin::new(forwarding).poll(cx),
            Self::Over(outcome) => outcome.take().map_or(Poll::Pending, |outcome| Poll::Ready(*outcome)),
            Self::Work(work) => work.as_mut().poll(cx),
        }
    }
}

fn answer_unmatched(request: Request) -> Outcome {
    let Request { mut exchange, .. } = request;
    if exchange.refused_early.is_none() && exchange.target.path() == "*" {
        // `OPTIONS *` asks about the server itself (RFC 9110 §9.3.7), and that is us.
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = StatusCode::NO_CONTENT;
        return Ok(Answer { head, body: ResponseBody::Empty, exchange });
    }
    let no_route = || Box::new(Reject::new(Reason::NoRoute, "no route takes this host and path"));
    let reject = exchange.refused_early.take().unwrap_or_else(no_route);
    Err(Refused { reject, exchange })
}
