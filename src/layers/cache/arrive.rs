//! What becomes of what the upstream has said to a fetch: it is stored and shared, or only passed on, or what is stored
//! is served after all.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, SET_COOKIE, TRAILER};
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::answer::{Content, answer};
use super::decide::serves_on_error;
use super::entry::{Entry, Meta, Origin};
use super::fetch::{Fetch, Gone};
use super::fill::{Fill, Reader};
use super::flight::{LandedBody, Landing, Lead};
use super::freshness::Moment;
use super::pump::Pump;
use super::status::Told;
use super::validation;
use crate::base::body::{RequestBody, ResponseBody};
use crate::base::cache::CacheNote;
use crate::base::exchange::{End, Exchange};
use crate::base::reject::Reason;
use crate::base::request::{Outcome, Refused, Request, Response};

/// What became of it.
pub(super) enum Arrived {
    /// The client's answer.
    Done(Outcome),
    /// The upstream has to be asked once more, like this.
    Again(Option<Lead>, Box<Request>),
}

impl<S> Fetch<S> {
    /// The upstream has answered, or could not.
    pub(super) async fn arrive(&self, gone: &Gone, lead: Option<Lead>, outcome: Outcome) -> Arrived {
        let now = self.cache.store.now();
        let mut response = match outcome {
            Ok(response) => response,
            Err(refused) => return Arrived::Done(self.fail(gone, lead, now, refused)),
        };
        let status = response.head.status;
        if matches!(status.as_u16(), 500 | 502..=504)
            && let Some(entry) = self.covering(now)
        {
            lead.into_iter().for_each(Lead::dissolve);
            return Arrived::Done(Ok(self.cover(entry, gone, status, now, response.exchange)));
        }
        if status == StatusCode::NOT_MODIFIED
            && let (Some(entry), Some(spare)) = (&self.entry, &gone.spare)
        {
            if validation::is_about(&response.head.headers, &entry.meta.headers) {
                return Arrived::Done(Ok(self.freshen(entry, gone, lead, now, response)));
            }
            let again = Request { head: spare.clone(), body: RequestBody::EMPTY, exchange: response.exchange };
            return Arrived::Again(lead, Box::new(again));
        }
        self.note(&mut response.exchange, CacheNote::Miss);
        Arrived::Done(Ok(self.keep(gone, lead, now, response).await))
    }

    /// Notes what became of it, where a client has asked.
    pub(super) fn note(&self, exchange: &mut Exchange, note: CacheNote) {
        if !self.background {
            self.cache.note(exchange, note);
        }
    }

    fn fail(&self, gone: &Gone, lead: Option<Lead>, now: Moment, mut refused: Refused) -> Outcome {
        let reason = refused.reject.reason;
        if let Some(entry) = self.covering(now).filter(|_| is_outage(reason)) {
            lead.into_iter().for_each(Lead::dissolve);
            return Ok(self.cover(entry, gone, reason.facts().status, now, refused.exchange));
        }
        // Others may have more time than this one had.
        let handed_over = reason == Reason::DeadlineExceeded;
        lead.into_iter().filter(|_| !handed_over).for_each(Lead::dissolve);
        self.note(&mut refused.exchange, CacheNote::Miss);
        Err(refused)
    }

    /// The stored response that may stand in for one that could not be had.
    fn covering(&self, now: Moment) -> Option<&Entry> {
        self.entry.as_ref().filter(|entry| serves_on_error(&self.ask, &entry.meta, now.instant))
    }

    /// Serves what is stale in place of an error.
    fn cover(&self, entry: &Entry, gone: &Gone, status: StatusCode, now: Moment, exchange: Box<Exchange>) -> Response {
        let ttl = Some(entry.meta.ttl(now.instant));
        let told = Told { status: Some(status.as_u16()), ttl, ..Told::forwarded(self.why) };
        self.serve(entry, &gone.client, told, CacheNote::Stale, now, exchange)
    }

    /// Serves what is stored.
    pub(super) fn serve(
        &self,
        entry: &Entry,
        client: &HeaderMap,
        told: Told,
        note: CacheNote,
        now: Moment,
        mut exchange: Box<Exchange>,
    ) -> Response {
        exchange.answer.end = End::ClientGone;
        self.note(&mut exchange, note);
        let head = entry.meta.head(now.instant, told);
        answer(head, Content::Whole(entry.body.clone()), (&self.ask, client), now, exchange)
    }

    /// What is stored is still what the upstream would send.
    fn freshen(&self, entry: &Entry, gone: &Gone, lead: Option<Lead>, now: Moment, response: Response) -> Response {
        let (store, key) = (&self.cache.store, self.key.bytes());
        let merged = validation::freshen(&entry.meta.headers, &response.head.headers);
        let told = Told { status: Some(StatusCode::NOT_MODIFIED.as_u16()), ..Told::forwarded(self.why) };
        let meta = self.judge(entry.meta.status, &merged, gone, now, &response.exchange).map(Arc::new);
        let mut head = match &meta {
            Some(meta) => {
                let fresh = Entry { meta: meta.clone(), body: entry.body.clone() };
                store.put(key, gone.ticket, fresh.clone(), Some(entry));
                store.hand_on(response.exchange.origin.worker, &self.key, self.mark, &fresh);
                meta.head(now.instant, Told { stored: true, ttl: Some(meta.ttl(now.instant)), ..told })
            }
            None => {
                // It may not be kept any more; this client has asked for it, though.
                store.remove(key, entry);
                let mut head = entry.meta.head(now.instant, told);
                head.headers = merged;
                told.write(&mut head.headers);
                head
            }
        };
        land(lead, meta.as_ref(), || LandedBody::Whole(entry.body.clone()), now);
        for cookie in response.head.headers.get_all(SET_COOKIE) {
            head.headers.append(SET_COOKIE, cookie.clone());
        }
        let mut exchange = response.exchange;
        self.note(&mut exchange, CacheNote::Revalidated);
        answer(head, Content::Whole(entry.body.clone()), (&self.ask, &gone.client), now, exchange)
    }

    /// What of a response may be stored.
    fn judge(&self, status: StatusCode, headers: &HeaderMap, gone: &Gone, now: Moment, by: &Exchange) -> Option<Meta> {
        let authorized = (self.ask.authorized || by.is_somebodys()) && !self.key.personal;
        let stamp = gone.ticket.stamp;
        let origin = Origin { request: &gone.client, asked: gone.asked, now, authorized, stamp };
        Meta::of(status, headers, self.cache.policy.as_ref()?, &origin).ok()
    }

    /// Passes a response on, and stores it if it may be.
    async fn keep(&self, gone: &Gone, lead: Option<Lead>, now: Moment, response: Response) -> Response {
        let Response { mut head, body, exchange } = response;
        let asked = (&self.ask, &gone.client);
        let meta = self.judge(head.status, &head.headers, gone, now, &exchange).map(Arc::new);
        let meta = meta.filter(|_| self.fits(&head.headers, &body));
        let place = meta.as_ref().and_then(|_| self.place_for(&body));
        let (Some(meta), Some((fill, reader))) = (&meta, place) else {
            // Where there is only no memory for it, there may be the next time.
            if meta.is_none() {
                self.cache.store.note_shared(self.key.bytes(), false, now.instant);
            }
            lead.into_iter().for_each(Lead::dissolve);
            Told::forwarded(self.why).write(&mut head.headers);
            return answer(head, Content::Coming(body), asked, now, exchange);
        };
        if lead.is_none() && meta.is_fresh(now.instant) {
            self.cache.store.note_shared(self.key.bytes(), true, now.instant);
        }
        let ttl = Some(meta.ttl(now.instant));
        Told { stored: true, ttl, ..Told::forwarded(self.why) }.write(&mut head.headers);
        let pump = Pump {
            store: self.cache.store.clone(),
            key: self.key.clone(),
            mark: (self.mark, exchange.origin.worker),
            ticket: gone.ticket,
            meta: meta.clone(),
            instead: self.entry.clone(),
            fill: fill.clone(),
            body,
            lead: None,
        };
        let content = match pump.begin().await {
            Ok(whole) => {
                land(lead, Some(meta), || LandedBody::Whole(whole.clone()), now);
                Content::Whole(whole)
            }
            Err(rest) => {
                match rest {
                    Some(mut pump) => {
                        pump.lead = land(lead, Some(meta), || LandedBody::Growing(fill), now);
                        self.cache.store.tasks.spawn(pump.run());
                    }
                    None => lead.into_iter().for_each(Lead::dissolve),
                }
                Content::Coming(ResponseBody::stream(Box::new(reader), Duration::ZERO))
            }
        };
        answer(head, content, asked, now, exchange)
    }

    /// Whether a body is one that can be kept.
    fn fits(&self, headers: &HeaderMap, body: &ResponseBody) -> bool {
        let endless = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let small = body.size_hint().exact().is_none_or(|length| length <= self.cache.max_object);
        body.is_framed() && small && !endless && !headers.contains_key(TRAILER)
    }

    /// The place for a body and its first reader, where there is memory for it.
    fn place_for(&self, body: &ResponseBody) -> Option<(Arc<Fill>, Reader)> {
        let (length, most) = (body.size_hint().exact(), self.cache.max_object);
        let fill = Fill::new(length, most, self.cache.store.room.take(length.unwrap_or(0))?);
        let reader = fill.read()?;
        Some((fill, reader))
    }
}

/// Lets others share a response, where they may: not one that each has to ask for.
pub(super) fn land(
    lead: Option<Lead>,
    meta: Option<&Arc<Meta>>,
    body: impl FnOnce() -> LandedBody,
    now: Moment,
) -> Option<Lead> {
    let mut lead = lead?;
    match meta.filter(|meta| meta.is_fresh(now.instant)) {
        Some(meta) => {
            lead.land(Landing { meta: meta.clone(), body: body() });
            Some(lead)
        }
        None => {
            lead.dissolve();
            None
        }
    }
}

/// Whether a refusal says that the upstream is not to be had.
fn is_outage(reason: Reason) -> bool {
    use Reason::{
        CircuitOpen, DeadlineExceeded, NoEndpoints, Overloaded, UpstreamConnect, UpstreamProtocol, UpstreamReset,
        UpstreamTimeout,
    };
    matches!(
        reason,
        CircuitOpen
            | DeadlineExceeded
            | NoEndpoints
            | Overloaded
            | UpstreamConnect
            | UpstreamProtocol
            | UpstreamReset
            | UpstreamTimeout
    )
}
