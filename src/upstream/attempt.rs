//! One try at one address: a connection to it, the request over that, and what came of it.

use std::pin::pin;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::Upstream;
use super::answer;
use super::connection::{ConnectError, Connection, Flow, Kind, SendError};
use super::endpoint::{Rest, Ticket};
use super::forward::Journey;
use super::interim::Interim;
use super::limit::{Late, Limit};
use super::metrics::Outcome as Came;
use super::retry::Fault;
use super::spare::Spare;
use super::time_left::{self, Allotted};
use crate::base::body::BodyFailure;
use crate::base::clock;
use crate::base::exchange::Exchange;
use crate::base::headers::{Survey, TRACEPARENT};
use crate::base::reject::{Reason, Reject};
use crate::base::trace::Trace;

/// An idle connection that has rested for so long is looked at twice before it gets a request that cannot be repeated.
const RESTED: Duration = Duration::from_millis(10);

/// How a try ended without a response.
pub(super) enum Ended {
    /// An idle connection had been closed before anything was sent.
    Unsent,
    /// The upstream's fault; with what it is called in the metrics, and what the client is told.
    Fault(Fault, Came, Reject),
    /// Not the upstream's, or nobody has time for more.
    Final(Reject),
}

impl Journey {
    /// An idle connection to this address, and how long it was, or a new one.
    pub(super) async fn connection(
        &self,
        ticket: &Ticket,
        entered: Instant,
        fresh: bool,
    ) -> Result<(Connection, Option<Rest>), ConnectError> {
        let idle = if fresh { None } else { self.idle(ticket, entered).await };
        let Some((connection, rest)) = idle else {
            return Box::pin(self.connect(ticket, entered)).await.map(|connection| (connection, None));
        };
        Ok(match self.kind {
            Kind::Plain => (connection, Some(rest)),
            Kind::Any => (Box::pin(connection.for_any(ticket.endpoint())).await?, Some(rest)),
        })
    }

    /// An idle connection that this request can have.
    async fn idle(&self, ticket: &Ticket, entered: Instant) -> Option<(Connection, Rest)> {
        let endpoint = ticket.endpoint();
        loop {
            let worker = self.exchange.origin.worker;
            let (connection, rest) = endpoint.take_idle(worker, self.kind, self.replayable, entered)?;
            if self.replayable || rest.lasted(entered) < RESTED {
                return Some((connection, rest));
            }
            // Whatever has come for it by now is heard of when the runtime has asked for events.
            tokio::task::yield_now().await;
            if connection.is_ready() {
                return Some((connection, rest));
            }
            endpoint.found_closed(rest, clock::now());
        }
    }

    async fn connect(&self, ticket: &Ticket, entered: Instant) -> Result<Connection, ConnectError> {
        let (policy, now) = (&self.upstream.policy, clock::now());
        let own = Some(policy.retry.per_try_timeout).filter(|time| !time.is_zero()).map(|time| entered + time);
        let due = [own, self.due(now)].into_iter().flatten().min();
        let left = due.map_or(policy.connect_timeout, |due| due.saturating_duration_since(now));
        let outbox = self.exchange.busy.client().outbox();
        Connection::open(ticket.endpoint(), self.kind, left.min(policy.connect_timeout), outbox).await
    }

    /// Sends the request over a connection that has been idle like this, or is new, to an address where it has been since
    /// `entered`.
    pub(super) async fn attempt(
        &mut self,
        ticket: &Ticket,
        connection: Connection,
        rest: Option<Rest>,
        entered: Instant,
    ) -> Result<http::Response<Flow>, Ended> {
        let began = if rest.is_some() { entered } else { clock::now() };
        let due = self.due(began);
        let Some(request) = &mut self.request else {
            return Err(Ended::Final(Reject::new(Reason::Internal, "the request was lost on its way")));
        };
        if began != self.began {
            let fields = (request.headers_mut(), self.added.as_mut());
            time_left::tell(fields, &Allotted::new(self.allotted), due, self.told, began);
        }
        match self.added.take_if(|_| connection.kind() == Kind::Any) {
            Some(added) => added.merge(&self.exchange, request.headers_mut()),
            None if self.added.is_none() => trace_again(&self.exchange, request.headers_mut()),
            None => {}
        }
        let may_go_again = self.repeatable && (rest.is_some() || self.upstream.policy.retry.attempts > 0);
        if may_go_again && self.spare.is_none() {
            self.spare = Spare::before(&connection, request).map(Box::new);
        }
        let (limit, fault) = self.limit(entered, began);
        let cutter = connection.cutter();
        let mut underway = Underway(Some((&self.upstream, ticket)));
        let added = self.added.as_ref().map(|added| (added, &*self.exchange));
        let sent = {
            let sending = pin!(connection.send(&mut self.request, added, Interim::of(&self.exchange)));
            limit.wait(self.exchange.busy.client(), sending).await
        };
        underway.0 = None;
        drop(underway);
        match sent {
            Ok(Ok(response)) => self.hear(ticket, response, began),
            Ok(Err(error)) => Err(self.explain(ticket, error, rest)),
            Err(late) => {
                cutter.cut();
                Err(self.give_up(ticket, late, fault))
            }
        }
    }

    /// The limits of a try that was begun at an address when it was `entered`, and is sent when it `began`; and what it
    /// means that its own time is over.
    fn limit(&self, entered: Instant, began: Instant) -> (Limit, Fault) {
        let policy = &self.upstream.policy;
        let some = |since, time: Duration| (!time.is_zero()).then_some((since, time));
        let (whole, head) = (some(entered, policy.retry.per_try_timeout), some(began, policy.response_timeout));
        match (whole, head) {
            (Some(whole), head) if head.is_none_or(|head| whole.0 + whole.1 <= head.0 + head.1) => {
                (Limit::new(&self.exchange, Some(whole), began), Fault::TryTimeout)
            }
            _ => (Limit::new(&self.exchange, head, began), Fault::Timeout),
        }
    }

    fn hear(
        &mut self,
        ticket: &Ticket,
        response: http::Response<Flow>,
        began: Instant,
    ) -> Result<http::Response<Flow>, Ended> {
        let mut response = response;
        let survey = response.body().survey().unwrap_or_else(|| Survey::of(response.headers()));
        match answer::clean(&mut response, &survey) {
            Ok(Some(time)) => ticket.endpoint().keep_alive().said(time),
            Ok(None) => {}
            Err(reject) => return Err(Ended::Fault(Fault::Protocol, Came::Protocol, reject)),
        }
        self.heard = clock::now();
        self.exchange.upstream.time = Some(self.heard.saturating_duration_since(self.began));
        let took = self.heard.saturating_duration_since(began);
        self.upstream.tried(ticket, Came::Status(response.status().as_u16()), Some(took));
        if let Some(trace) = self.exchange.sampled_trace() {
            self.upstream.metrics.example(took, trace);
        }
        Ok(response)
    }

    /// What a failed send means, and whose fault it is.
    fn explain(&mut self, ticket: &Ticket, error: SendError, rest: Option<Rest>) -> Ended {
        if let Some(reject) = self.client_fault() {
            self.upstream.tried(ticket, Came::Canceled, None);
            self.aside = None;
            return Ended::Final(reject);
        }
        if let (Some(rest), SendError::Unsent | SendError::Stale(_)) = (rest, &error) {
            ticket.endpoint().found_closed(rest, clock::now());
        }
        let back = self.request.is_some();
        let (fault, came, reason, cause) = match error {
            SendError::Unsent if rest.is_some() && back => return Ended::Unsent,
            SendError::Unsent if back => {
                (Fault::Connect, Came::Reset, Reason::UpstreamReset, "closed at once".to_owned())
            }
            SendError::Unsent => (Fault::Reset, Came::Reset, Reason::UpstreamReset, "closed at once".to_owned()),
            SendError::Stale(error) => (Fault::Stale, Came::Reset, Reason::UpstreamReset, error.to_string()),
            SendError::Closed(error) => (Fault::Reset, Came::Reset, Reason::UpstreamReset, error.to_string()),
            SendError::Malformed(error) => {
                (Fault::Protocol, Came::Protocol, Reason::UpstreamProtocol, error.to_string())
            }
        };
        Ended::Fault(fault, came, Reject::new(reason, "the upstream did not answer properly").because(cause))
    }

    /// The time is over: that of the try, or that of the request.
    fn give_up(&self, ticket: &Ticket, late: Late, fault: Fault) -> Ended {
        if late == Late::Response {
            return Ended::Fault(fault, Came::Timeout, late.reject());
        }
        // An address is not to blame for a client that hardly waits.
        let hurried = self.exchange.deadline.is_some_and(|due| due < self.exchange.started + self.allotted);
        self.upstream.tried(ticket, if hurried { Came::Canceled } else { Came::Timeout }, None);
        Ended::Final(late.reject())
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
}

/// A request that has the gateway's fields from its try before is part of another one now.
fn trace_again(exchange: &Exchange, fields: &mut HeaderMap) {
    let recorded = exchange.trace.as_ref().filter(|trace| trace.record.is_some());
    if let Some(field) = recorded.and_then(Trace::field) {
        fields.insert(TRACEPARENT, field);
    }
}

/// Counts a try that the client did not wait for.
struct Underway<'a>(Option<(&'a Upstream, &'a Ticket)>);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if let Some((upstream, ticket)) = self.0 {
            upstream.tried(ticket, Came::Canceled, None);
        }
    }
}
