//! The innermost service: from a request to an upstream's response. Chooses an address, finds a connection to it, sends,
//! and tries again elsewhere where that is [allowed](super::retry).

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, SET_COOKIE};
use http::request::Parts;
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use tower::Service;

use super::answer;
use super::attempt::Ended;
use super::balance::Wish;
use super::bound::Bound;
use super::boxes::InBox;
use super::checkin::{Checkin, give_back};
use super::connection::{ConnectError, Flow, Kind};
use super::discard::{self, Aside};
use super::endpoint::Ticket;
use super::limit::{Late, Limit};
use super::metrics::{Outcome as Came, Retry, Skipped};
use super::retry::{self, Fault, Situation, Verdict};
use super::rewrite::Rewrite;
use super::spare::Spare;
use super::time_left::{self, Allotted, Told};
use super::upgrade::{self, Asked};
use crate::base::added::Added;
use crate::base::body::{KEPT, RequestBody, ResponseBody};
use crate::base::clock;
use crate::base::exchange::{End, Exchange};
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Outcome, Refused, Request, Response};
use crate::base::time_left::{X_REQUEST_TIMEOUT, of_grpc};

/// Sends a route's requests to its upstream.
#[derive(Clone, Debug)]
pub struct Forward {
    pub(super) upstream: Arc<Bound>,
    pub(super) route: Arc<(Rewrite, Allotted)>,
}

impl Forward {
    /// To this upstream, rewritten like this, with this time for all tries, if it is not zero.
    pub fn new(upstream: Arc<Bound>, rewrite: Rewrite, timeout: Duration) -> Self {
        Self { upstream, route: Arc::new((rewrite, Allotted::new(timeout))) }
    }
}

impl Service<Request> for Forward {
    type Response = Response;
    type Error = Refused;
    type Future = InBox;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.serve(request)
    }
}

impl Forward {
    /// The one box of the stack: everything above is held by value. What is rare is boxed inside, to keep it small.
    pub fn serve(&self, request: Request) -> InBox {
        let worker = request.exchange.origin.worker;
        let mut journey = Journey::begin(self.upstream.clone(), &self.route, request);
        // The block uses the journey where it lies; a function would hold it twice.
        self.upstream.boxes.put(worker, async move {
            match journey.send().await {
                Ok((response, ticket)) => journey.respond(response, ticket),
                Err(reject) => journey.fail(reject),
            }
        })
    }
}

/// One request and its tries.
pub(super) struct Journey {
    pub(super) upstream: Arc<Bound>,
    pub(super) exchange: Box<Exchange>,
    /// The request as it goes out, while it is not on its way.
    pub(super) request: Option<http::Request<RequestBody>>,
    /// Where it would like to go.
    wish: Wish,
    /// What the gateway adds to its head, until that has been done.
    pub(super) added: Option<Added>,
    /// What it takes to send it again after that.
    pub(super) spare: Option<Box<Spare>>,
    /// What a connection must be able to carry.
    pub(super) kind: Kind,
    asked: Option<Asked>,
    /// Whether it may be acted on twice.
    pub(super) repeatable: bool,
    /// Whether it can be sent twice as far as is known at the beginning.
    pub(super) replayable: bool,
    pub(super) began: Instant,
    /// When the last response head came.
    pub(super) heard: Instant,
    /// The time that the route gives it, and that its client says it has.
    pub(super) allotted: Duration,
    pub(super) told: Told,
    /// Addresses that have failed.
    failed: Vec<SocketAddr>,
    /// Why the next try is made.
    pub(super) again: Option<Retry>,
    /// The last answer that was not passed on.
    pub(super) aside: Option<Box<Aside>>,
}

/// What came of an address.
enum Tried {
    Answered(http::Response<Flow>, Ticket),
    /// Another one is to be tried; this is for the client if there is none.
    Elsewhere(Option<Reject>),
    /// It is over.
    Over(Reject),
}

/// Turns the client's head into the upstream's; tells where the request would like to go, and what is to be added.
pub(super) fn dress(
    upstream: &Bound,
    rewrite: &Rewrite,
    head: &mut Parts,
    exchange: &Exchange,
    now: Instant,
) -> (Wish, Added) {
    let balancer = upstream.dials.balancer_looks().then(|| upstream.balancer.load());
    let wish = balancer.as_ref().map_or(Wish::Anywhere, |balancer| balancer.wish(head, exchange, now));
    let added = rewrite.apply(head, exchange, &upstream.policy.host_header, &upstream.host);
    if let Some(balancer) = balancer {
        balancer.strip(&mut head.headers);
    }
    (wish, added)
}

impl Journey {
    fn begin(upstream: Arc<Bound>, (rewrite, allotted): &(Rewrite, Allotted), request: Request) -> Self {
        let Request { mut head, body, mut exchange } = request;
        upstream.budget.request();
        exchange.upstream.name = Some(upstream.name.clone());
        exchange.body_in = body.meter();
        let began = clock::now();
        let (wish, mut added) = dress(&upstream, rewrite, &mut head, &exchange, began);
        let client = head.extensions.remove::<OnUpgrade>();
        let asked = added.upgrade.clone().zip(client).map(|(protocol, client)| Asked { protocol, client });
        if asked.is_none() {
            added.upgrade = None;
        }
        // A length without a body would have the upstream wait for one.
        let length = (exchange.survey.lengths > 0).then(|| head.headers.get(CONTENT_LENGTH)).flatten();
        let lengthless = length.is_none_or(|length| length == "0");
        let kind = if body.is_empty() && lengthless && asked.is_none() { Kind::Plain } else { Kind::Any };
        let repeatable = asked.is_none() && retry::is_repeatable(&head.method, &head.headers);
        let replayable = repeatable && body.size_hint().upper().is_some_and(|length| length <= KEPT as u64);
        let grpc = if body.is_empty() { None } else { of_grpc(&head.headers) };
        let told = Told { at: exchange.started, grpc };
        if exchange.survey.timeout && exchange.deadline.is_some() {
            head.headers.remove(X_REQUEST_TIMEOUT);
        }
        let fields = (&mut head.headers, Some(&mut added));
        time_left::tell(fields, allotted, exchange.deadline, told, began);
        Self {
            upstream,
            exchange,
            request: Some(http::Request::from_parts(*head, body)),
            added: Some(added),
            spare: None,
            wish,
            kind,
            asked,
            repeatable,
            replayable,
            began,
            heard: began,
            allotted: allotted.time,
            told,
            failed: Vec::new(),
            again: None,
            aside: None,
        }
    }

    /// Nobody has answered properly.
    fn fail(mut self, reject: Reject) -> Outcome {
        // The upstream's last word is worth more than ours.
        match self.aside.take() {
            Some(aside) => Ok(self.relay(*aside)),
            None => Err(self.refuse(reject)),
        }
    }

    async fn send(&mut self) -> Result<(http::Response<Flow>, Ticket), Reject> {
        self.upstream.enter(&mut self.exchange)?;
        let mut failure = None;
        loop {
            let (ticket, entered) = match self.place().await {
                Ok(place) => place,
                Err(nowhere) => return Err(failure.unwrap_or(nowhere)),
            };
            match self.send_over(ticket, entered).await {
                Tried::Answered(response, ticket) => return Ok((response, ticket)),
                Tried::Elsewhere(reject) => failure = reject.or(failure),
                Tried::Over(reject) => return Err(reject),
            }
        }
    }

    /// A place at an address that has not failed, and since when.
    async fn place(&mut self) -> Result<(Ticket, Instant), Reject> {
        let tries = &mut self.exchange.upstream.tries;
        let (ticket, entered) = match self.upstream.pick(&self.wish, &self.failed, self.began) {
            // A first try begins when the journey does: one reading of the clock less.
            Some(ticket) if *tries == 0 => (ticket, self.began),
            Some(ticket) => (ticket, clock::now()),
            None => {
                let later = self.upstream.pick_later(&self.wish, &self.failed, self.exchange.deadline);
                (Box::pin(later).await?, clock::now())
            }
        };
        *tries += 1;
        self.exchange.upstream.address = Some(ticket.endpoint().address);
        Ok((ticket, entered))
    }

    /// Over one address until it fails: at most once over a connection that was idle, then over a new one.
    async fn send_over(&mut self, ticket: Ticket, entered: Instant) -> Tried {
        let mut fresh = false;
        loop {
            self.note_try(&ticket, if fresh { clock::now() } else { entered });
            let connected = self.connection(&ticket, entered, fresh).await;
            if ticket.endpoint().is_retired() {
                self.note_unsent("left");
                // It has left the answer meanwhile, and may be somebody else's by now.
                return Tried::Elsewhere(None);
            }
            let (connection, rest) = match connected {
                Ok(connected) => connected,
                Err(error) => return self.unreachable(&ticket, error),
            };
            let address = ticket.endpoint().address;
            let tried = self.attempt(&ticket, connection, rest, entered).await;
            self.note_end(&tried);
            match tried {
                Ok(response) => {
                    let status = response.status().as_u16();
                    let fails = self.upstream.policy.retry.takes_status(status);
                    if !fails || !self.goes_on(address, Fault::Status(status)) {
                        return Tried::Answered(response, ticket);
                    }
                    Box::pin(self.set_aside(response, &ticket)).await;
                    return Tried::Elsewhere(None);
                }
                Err(Ended::Unsent) => {
                    self.again = Some(Retry::Stale);
                    self.upstream.metrics.retried(Retry::Stale);
                }
                Err(Ended::Fault(Fault::Stale, ..)) if self.goes_on(address, Fault::Stale) => {}
                Err(Ended::Fault(fault, came, reject)) => {
                    self.upstream.tried(&ticket, came, None);
                    let goes_on = fault != Fault::Stale && self.goes_on(address, fault);
                    return if goes_on { Tried::Elsewhere(Some(reject)) } else { Tried::Over(reject) };
                }
                Err(Ended::Final(reject)) => return Tried::Over(reject),
            }
            fresh = true;
        }
    }

    /// When the time for all tries is over.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.exchange.body_in.is_none() {
            return self.exchange.deadline;
        }
        Limit::new(&self.exchange, None, now).due(now).map(|(due, _)| due)
    }

    /// Nothing was sent, so any method may go elsewhere.
    fn unreachable(&mut self, ticket: &Ticket, error: ConnectError) -> Tried {
        self.note_unsent(if error.is_ours() { "overloaded" } else { Came::Connect.word() });
        if error.is_ours() {
            return Tried::Over(self.upstream.overloaded(error));
        }
        self.upstream.tried(ticket, Came::Connect, None);
        let now = clock::now();
        let reject = match self.due(now).is_some_and(|due| due <= now) {
            true => Late::Deadline.reject(),
            false => Reject::new(Reason::UpstreamConnect, "the upstream cannot be reached"),
        };
        let reject = reject.because(error);
        match self.goes_on(ticket.endpoint().address, Fault::Connect) {
            true => Tried::Elsewhere(Some(reject)),
            false => Tried::Over(reject),
        }
    }

    /// Whether there is another try after this failure. If so the request is ready for it.
    fn goes_on(&mut self, address: SocketAddr, fault: Fault) -> bool {
        if fault != Fault::Stale {
            self.failed.push(address);
        }
        let (policy, now) = (&self.upstream.policy.retry, clock::now());
        let situation = Situation {
            repeatable: self.repeatable,
            whole: self.request.is_some() || self.spare.as_ref().is_some_and(|spare| spare.is_whole()),
            upgrade: self.asked.is_some(),
            failed: self.failed.len(),
            elsewhere: self.upstream.has_other_than(&self.failed),
            late: self.due(now).is_some_and(|due| due <= now),
        };
        let verdict = match retry::judge(policy, fault, &situation) {
            Verdict::Again(_) if !self.upstream.budget.spend(policy.allowance, now) => Verdict::Skip(Skipped::Budget),
            verdict => verdict,
        };
        match verdict {
            Verdict::Again(reason) => {
                self.again = Some(reason);
                self.upstream.metrics.retried(reason);
                self.request = self.request.take().or_else(|| self.spare.as_ref()?.again());
            }
            Verdict::Skip(reason) => self.upstream.metrics.skipped(reason),
            Verdict::Over => {}
        }
        matches!(verdict, Verdict::Again(_))
    }

    /// Another try follows this answer.
    async fn set_aside(&mut self, response: http::Response<Flow>, ticket: &Ticket) {
        let (aside, connection) = discard::set_aside(response, ticket.endpoint().address).await;
        self.aside = aside.map(Box::new).or(self.aside.take());
        if let Some(connection) = connection {
            let of = (self.exchange.origin.worker, self.exchange.body_in.as_deref());
            give_back(&self.upstream, ticket, connection, of, clock::now());
        }
    }

    /// Passes an answer on that was set aside.
    fn relay(mut self, aside: Aside) -> Response {
        self.exchange.upstream.address = Some(aside.address);
        let body = if aside.body.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(aside.body) };
        Response { head: aside.head, body, exchange: self.exchange }
    }

    fn respond(mut self, mut response: http::Response<Flow>, ticket: Ticket) -> Outcome {
        if self.wish != Wish::Anywhere
            && let Some(cookie) = self.upstream.balancer.load().cookie(&self.wish, ticket.endpoint(), clock::now)
        {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        let agreed = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        if agreed {
            return match self.asked.take() {
                Some(asked) if upgrade::agrees(&asked, &response) => {
                    let idle = self.upstream.policy.idle_timeout;
                    let head = upgrade::tunnel(asked, response, ticket, &mut self.exchange, idle);
                    Ok(Response { head, body: ResponseBody::Empty, exchange: self.exchange })
                }
                _ => Err(self.refuse(Reject::new(Reason::UpstreamProtocol, "the upstream switched protocols unasked"))),
            };
        }
        let (head, mut flow) = response.into_parts();
        if let Some(request) = self.request.take() {
            flow.refill(request.into_parts().0.headers);
        }
        let policy_idle = self.upstream.policy.idle_timeout;
        let idle = || if answer::is_event_stream(&head.headers) { Duration::ZERO } else { policy_idle };
        let (worker, body_in) = (self.exchange.origin.worker, self.exchange.body_in.clone());
        let checkin = Checkin { upstream: self.upstream, ticket, flow, worker, body_in };
        let body = checkin.into_body(self.heard, idle);
        Ok(Response { head, body, exchange: self.exchange })
    }

    fn refuse(mut self, reject: Reject) -> Refused {
        self.exchange.answer.end = End::Ok;
        Refused { reject: Box::new(reject), exchange: self.exchange }
    }
}
