//! The innermost service: from a request to an upstream's response. Chooses an address, finds a connection to it, sends,
//! and, where nothing can have been done twice, tries again elsewhere.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use tower::Service;

use super::Upstream;
use super::answer;
use super::connection::{ConnectError, Connection, Flow, Kind, SendError};
use super::endpoint::Ticket;
use super::interim::Interim;
use super::limit::{Late, Limit};
use super::metrics::{Outcome as Came, Retry};
use super::rewrite::Rewrite;
use super::upgrade::{self, Asked};
use crate::base::added::Added;
use crate::base::body::{BodyFailure, Cause, Meter, RequestBody, ResponseBody, Returned, Source};
use crate::base::clock;
use crate::base::exchange::{End, Exchange};
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Outcome, Refused, Request, Response};

/// Sends a route's requests to its upstream.
#[derive(Clone, Debug)]
pub struct Forward {
    upstream: Arc<Upstream>,
    rewrite: Arc<Rewrite>,
}

impl Forward {
    /// To this upstream, rewritten like this.
    pub fn new(upstream: Arc<Upstream>, rewrite: Rewrite) -> Self {
        Self { upstream, rewrite: Arc::new(rewrite) }
    }
}

impl Service<Request> for Forward {
    type Response = Response;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    /// The one box of the stack: everything above is held by value. What is rare is boxed inside, to keep it small.
    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(Journey::begin(self.upstream.clone(), &self.rewrite, request).run())
    }
}

/// One request and its tries.
struct Journey {
    upstream: Arc<Upstream>,
    exchange: Box<Exchange>,
    /// The request as it goes out, while it is not on its way.
    request: Option<http::Request<RequestBody>>,
    /// What the gateway adds to its head, until that has been done.
    added: Option<Added>,
    /// What a connection must be able to carry.
    kind: Kind,
    asked: Option<Asked>,
    began: Instant,
    /// Addresses that took no connection.
    failed: Vec<SocketAddr>,
}

/// What a try came to, short of a response.
enum Failure {
    /// The request is whole again and was not acted on: it may go out over a new connection.
    Again,
    /// It is over.
    Final(Reject),
}

impl Journey {
    fn begin(upstream: Arc<Upstream>, rewrite: &Rewrite, request: Request) -> Self {
        let Request { mut head, body, mut exchange } = request;
        exchange.upstream.name = Some(upstream.name.clone());
        exchange.body_in = body.meter();
        let mut added = rewrite.apply(&mut head, &exchange, &upstream.policy.host_header, &upstream.host);
        let client = head.extensions.remove::<OnUpgrade>();
        let asked = added.upgrade.clone().zip(client).map(|(protocol, client)| Asked { protocol, client });
        if asked.is_none() {
            added.upgrade = None;
        }
        // A length without a body would have the upstream wait for one.
        let length = (exchange.survey.lengths > 0).then(|| head.headers.get(CONTENT_LENGTH)).flatten();
        let lengthless = length.is_none_or(|length| length == "0");
        let kind = if body.is_empty() && lengthless && asked.is_none() { Kind::Plain } else { Kind::Any };
        let request = Some(http::Request::from_parts(head, body));
        Self { upstream, exchange, request, added: Some(added), kind, asked, began: clock::now(), failed: Vec::new() }
    }

    async fn run(mut self) -> Outcome {
        match self.send().await {
            Ok((response, ticket)) => self.respond(response, ticket),
            Err(reject) => Err(self.refuse(reject)),
        }
    }

    async fn send(&mut self) -> Result<(http::Response<Flow>, Ticket), Reject> {
        loop {
            let ticket = match self.upstream.pick(&self.failed) {
                Some(ticket) => ticket,
                None => Box::pin(self.upstream.pick_later(&self.failed, self.exchange.deadline)).await?,
            };
            self.exchange.upstream.address = Some(ticket.endpoint().address);
            self.exchange.upstream.tries += 1;
            if let Some(answered) = self.send_over(ticket).await? {
                return Ok(answered);
            }
        }
    }

    /// Over one address until it fails: at most once over a connection that was idle, then over a new one.
    async fn send_over(&mut self, ticket: Ticket) -> Result<Option<(http::Response<Flow>, Ticket)>, Reject> {
        let mut fresh = false;
        loop {
            let idle = if fresh { None } else { ticket.endpoint().take_idle(self.exchange.origin.worker, self.kind) };
            let connected = match idle {
                Some(idle) if self.kind == Kind::Any => Box::pin(idle.for_any(ticket.endpoint())).await,
                Some(connection) => Ok(connection),
                None => Box::pin(self.connect(&ticket)).await,
            };
            if ticket.endpoint().is_retired() {
                // It has left the answer meanwhile, and may be somebody else's by now.
                return Ok(None);
            }
            let connection = match connected {
                Ok(connection) => connection,
                Err(error) => return self.next_address(&ticket, error).map(|()| None),
            };
            match self.attempt(&ticket, connection, fresh).await {
                Ok(response) => return Ok(Some((response, ticket))),
                Err(Failure::Final(reject)) => return Err(reject),
                Err(Failure::Again) => fresh = true,
            }
        }
    }

    async fn connect(&self, ticket: &Ticket) -> Result<Connection, ConnectError> {
        let left = self.exchange.deadline.map(|due| due.saturating_duration_since(clock::now()));
        let timeout = self.upstream.policy.connect_timeout;
        Connection::open(ticket.endpoint(), self.kind, left.map_or(timeout, |left| left.min(timeout))).await
    }

    /// Nothing was sent, so any method may go elsewhere; unless there is nowhere else, or it was tried often enough.
    fn next_address(&mut self, ticket: &Ticket, error: ConnectError) -> Result<(), Reject> {
        self.upstream.tried(ticket.endpoint(), Came::Connect, None);
        self.failed.push(ticket.endpoint().address);
        let attempts = usize::try_from(self.upstream.policy.retry_attempts).unwrap_or(usize::MAX);
        let late = self.exchange.deadline.is_some_and(|due| due <= clock::now());
        if late {
            return Err(Late::Deadline.reject().because(error));
        }
        if self.failed.len() > attempts || !self.upstream.has_other_than(&self.failed) {
            return Err(Reject::new(Reason::UpstreamConnect, "the upstream cannot be reached").because(error));
        }
        self.upstream.metrics.retried(Retry::Connect);
        Ok(())
    }

    async fn attempt(
        &mut self,
        ticket: &Ticket,
        connection: Connection,
        fresh: bool,
    ) -> Result<http::Response<Flow>, Failure> {
        let repeats = connection.is_used() && !fresh;
        if connection.kind() == Kind::Any
            && let (Some(request), Some(added)) = (&mut self.request, self.added.take())
        {
            added.merge(&self.exchange, request.headers_mut());
        }
        let spare = match &mut self.request {
            Some(request) if repeats && connection.kind() == Kind::Any => Spare::of(request),
            Some(_) => None, // a new connection is not stale, and our own codec only reads the request
            None => {
                return Err(Failure::Final(Reject::new(Reason::Internal, "the request was lost on its way")));
            }
        };
        // A first try over an idle connection begins when the journey does: one reading of the clock less.
        let first = self.exchange.upstream.tries == 1 && repeats;
        let began = if first { self.began } else { clock::now() };
        let limit = Limit::new(&self.exchange, self.upstream.policy.response_timeout, began);
        let mut underway = Underway(Some((&self.upstream, ticket)));
        let added = self.added.as_ref().map(|added| (added, &*self.exchange));
        let sent = connection.send(&mut self.request, added, Interim::of(&self.exchange));
        let sent = limit.wait(self.exchange.busy.client(), sent).await;
        underway.0 = None;
        drop(underway);
        match sent {
            Ok(Ok(mut response)) => {
                if let Err(reject) = answer::clean(&mut response) {
                    self.upstream.tried(ticket.endpoint(), Came::Protocol, None);
                    return Err(Failure::Final(reject));
                }
                let now = clock::now();
                self.exchange.upstream.time = Some(now.saturating_duration_since(self.began));
                let took = now.saturating_duration_since(began);
                self.upstream.tried(ticket.endpoint(), Came::Status(response.status().as_u16()), Some(took));
                Ok(response)
            }
            Ok(Err(error)) => Err(self.judge(ticket, error, spare, fresh)),
            Err(late) => {
                self.upstream.tried(ticket.endpoint(), Came::Timeout, None);
                Err(Failure::Final(late.reject()))
            }
        }
    }

    /// What a failed send means: whose fault it is, and whether the request may go out again.
    fn judge(&mut self, ticket: &Ticket, error: SendError, spare: Option<Spare>, fresh: bool) -> Failure {
        let metrics = &self.upstream.metrics;
        let ended = |came| self.upstream.tried(ticket.endpoint(), came, None);
        if let Some(reject) = self.client_fault() {
            ended(Came::Canceled);
            return Failure::Final(reject);
        }
        let (came, reason, cause) = match error {
            SendError::Unsent if !fresh && self.request.is_some() => {
                metrics.retried(Retry::Stale);
                return Failure::Again;
            }
            SendError::Stale(error) => match self.request.take().or_else(|| spare.and_then(Spare::request)) {
                Some(request) if request.method().is_idempotent() => {
                    metrics.retried(Retry::Stale);
                    self.request = Some(request);
                    return Failure::Again;
                }
                _ => (Came::Reset, Reason::UpstreamReset, error.to_string()),
            },
            SendError::Unsent => (Came::Reset, Reason::UpstreamReset, "closed at once".to_owned()),
            SendError::Closed(error) => (Came::Reset, Reason::UpstreamReset, error.to_string()),
            SendError::Malformed(error) => (Came::Protocol, Reason::UpstreamProtocol, error.to_string()),
        };
        ended(came);
        Failure::Final(Reject::new(reason, "the upstream did not answer properly").because(cause))
    }

    /// What the client did to its own request.
    fn client_fault(&self) -> Option<Reject> {
        let reject = match self.exchange.body_in.as_ref()?.failure()? {
            BodyFailure::TooLarge => {
                Reject::new(Reason::BodyTooLarge, "the request body is larger than this route allows")
            }
            BodyFailure::TooSlow => Reject::new(Reason::BodyTimeout, "the request body came too slowly"),
            BodyFailure::Broken => Reject::new(Reason::BadRequest, "the request body was cut short or badly framed"),
        };
        Some(reject.closing())
    }

    fn respond(mut self, response: http::Response<Flow>, ticket: Ticket) -> Outcome {
        let agreed = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        if agreed {
            return match self.asked.take() {
                Some(asked) if upgrade::agrees(&asked, &response) => {
                    let head = upgrade::tunnel(asked, response, ticket, &mut self.exchange);
                    Ok(Response { head, body: ResponseBody::Empty, exchange: self.exchange })
                }
                _ => Err(self.refuse(Reject::new(Reason::UpstreamProtocol, "the upstream switched protocols unasked"))),
            };
        }
        let (head, flow) = response.into_parts();
        let idle =
            if answer::is_event_stream(&head.headers) { Duration::ZERO } else { self.upstream.policy.idle_timeout };
        let (worker, body_in) = (self.exchange.origin.worker, self.exchange.body_in.clone());
        let checkin = Checkin { upstream: self.upstream, ticket, flow, worker, body_in };
        Ok(Response { head, body: ResponseBody::stream(Box::new(checkin), idle), exchange: self.exchange })
    }

    fn refuse(mut self, reject: Reject) -> Refused {
        self.exchange.answer.end = End::Ok;
        Refused { reject: Box::new(reject), exchange: self.exchange }
    }
}

/// Counts a try that the client did not wait for.
struct Underway<'a>(Option<(&'a Upstream, &'a Ticket)>);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some((upstream, ticket)) = self.0 {
            upstream.tried(ticket.endpoint(), Came::Canceled, None);
        }
    }
}

/// What is needed to send a request again.
struct Spare {
    head: http::Request<()>,
    body: Returned,
}

impl Spare {
    /// Of a request that may go out twice.
    fn of(request: &mut http::Request<RequestBody>) -> Option<Self> {
        if !request.method().is_idempotent() {
            return None;
        }
        let mut head = http::Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
        Some(Self { head, body: request.body_mut().returnable() })
    }

    fn request(self) -> Option<http::Request<RequestBody>> {
        let body = self.body.take()?;
        Some(self.head.map(|()| body))
    }
}

/// A response's body. Brings the connection back when it has ended, whole.
struct Checkin {
    upstream: Arc<Upstream>,
    ticket: Ticket,
    flow: Flow,
    worker: usize,
    body_in: Option<Arc<Meter>>,
}

impl Source for Checkin {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        self.flow.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.flow.size_hint()
    }

    fn release(self: Box<Self>) {
        // A request that was answered before it was sent leaves the connection in the middle of a message.
        let uploaded = self.body_in.is_none_or(|meter| meter.is_done());
        if let Some(connection) = self.flow.finish().filter(|_| uploaded) {
            self.ticket.endpoint().keep_idle(self.worker, connection, self.upstream.idle_per_worker);
        }
    }
}
