//! Gets a response for a GET: from another request that is under way, or from the upstream, for itself and for others.

use std::sync::Arc;
use std::time::Instant;

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, request};
use tower::Service;

use super::Cache;
use super::answer::answer;
use super::arrive::{Arrived, land};
use super::ask::{Ask, make_plain};
use super::decide::{Verdict, decide};
use super::entry::Entry;
use super::flight::{Joined, LandedBody, Landing, Lead, State, arrival};
use super::key::Key;
use super::status::{Forwarded, Told};
use super::store::{Found, Ticket};
use super::tier::{Mark, Tier};
use super::validation::ask_whether_changed;
use crate::base::cache::CacheNote;
use crate::base::exchange::{End, Exchange};
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Outcome, Refused, Request, Response};

/// A GET for which nothing that is stored will do.
pub struct Fetch<S> {
    /// The route's cache.
    pub cache: Arc<Cache>,
    /// What answers.
    pub inner: S,
    /// What the request means.
    pub ask: Ask,
    /// Its key.
    pub key: Key,
    /// What is stored, and has to be asked for anew.
    pub entry: Option<Entry>,
    /// Why it goes on.
    pub why: Forwarded,
    /// The state of the second tier, once that was asked.
    pub mark: Option<Mark>,
    /// Whether no client waits for it.
    pub background: bool,
}

/// What is known of a request that has gone.
pub(super) struct Gone {
    /// The client's fields.
    pub(super) client: HeaderMap,
    /// The state of the store.
    pub(super) ticket: Ticket,
    /// When.
    pub(super) asked: Instant,
    /// The request to send if the upstream's 304 is about nothing that is here.
    pub(super) spare: Option<Box<request::Parts>>,
}

impl<S> Fetch<S>
where
    S: Service<Request, Response = Response, Error = Refused> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Waits for another request's response, or goes.
    pub async fn run(self, mut request: Request) -> Outcome {
        let store = self.cache.store.clone();
        let fields = &request.head.headers;
        let mut place = if self.may_share() { Some(store.place(&self.key, fields)) } else { None };
        while let Some(among) = place.take() {
            let flight = [self.key.bytes(), &among].concat();
            let flight = match store.flights.join(&flight) {
                Joined::Lead(lead) => return self.lead_or_find(lead, request).await,
                Joined::Follow(flight) => flight,
            };
            let state = match request.exchange.deadline {
                None => arrival(flight).await,
                Some(due) => match tokio::time::timeout_at(due.into(), arrival(flight)).await {
                    Ok(state) => state,
                    Err(_) => return Err(late(request.exchange)),
                },
            };
            match state {
                State::Landed(landing) if landing.meta.variant.matches(&request.head.headers) => {
                    match self.share(&landing, request) {
                        Ok(response) => return Ok(response),
                        Err(unshared) => request = *unshared,
                    }
                }
                State::Landed(landing) => {
                    let own = landing.meta.variant.place(&request.head.headers);
                    place = (own != among).then_some(own);
                }
                State::Gone | State::Flying => place = Some(among),
                State::Alone => {}
            }
        }
        self.lead(None, request).await
    }

    /// Whether others may wait for what this request gets, and it for what others get.
    fn may_share(&self) -> bool {
        let particular = self.ask.range || self.ask.directives.asks_for_freshness();
        let always_asked = self.entry.as_ref().is_some_and(|entry| entry.meta.is_always_asked());
        !particular && !always_asked && !self.cache.store.is_unshared(self.key.bytes(), self.cache.store.now().instant)
    }

    /// The answer made of what another request has got.
    fn share(&self, landing: &Landing, request: Request) -> Result<Response, Box<Request>> {
        let Request { head: client, body, exchange } = request;
        let now = self.cache.store.now();
        let told = Told { collapsed: true, ttl: Some(landing.meta.ttl(now.instant)), ..Told::forwarded(self.why) };
        let head = landing.meta.head(now.instant, told);
        let Some(content) = landing.body.read() else { return Err(Box::new(Request { head: client, body, exchange })) };
        let mut response = answer(head, content, (&self.ask, &client.headers), now, exchange);
        self.note(&mut response.exchange, CacheNote::Collapsed);
        Ok(response)
    }

    /// Goes for others, unless what they want has come in since it was looked for.
    pub(super) async fn lead_or_find(mut self, lead: Lead, request: Request) -> Outcome {
        if let Found::Entry(entry) = self.cache.store.find(&self.key, &request.head.headers) {
            let now = self.cache.store.now();
            if decide(&self.ask, Some(&entry.meta), self.why, now.instant) == Verdict::Serve {
                drop(lead);
                let told = Told::hit(entry.meta.ttl(now.instant));
                return Ok(self.serve(&entry, &request.head.headers, told, CacheNote::Hit, now, request.exchange));
            }
            self.entry = Some(entry);
        }
        if let Some(tier) = self.cache.store.tier()
            && let Some(entry) = self.look(&tier, &request).await
        {
            let now = self.cache.store.now();
            if decide(&self.ask, Some(&entry.meta), self.why, now.instant) == Verdict::Serve {
                land(Some(lead), Some(&entry.meta), || LandedBody::Whole(entry.body.clone()), now);
                let told = Told::hit(entry.meta.ttl(now.instant));
                return Ok(self.serve(&entry, &request.head.headers, told, CacheNote::Hit, now, request.exchange));
            }
            self.entry = self.entry.or(Some(entry));
        }
        self.lead(Some(lead), request).await
    }

    /// What other gateways have stored. It is in memory from now on.
    async fn look(&mut self, tier: &Tier, request: &Request) -> Option<Entry> {
        let (store, worker) = (&self.cache.store, request.exchange.origin.worker);
        let (ticket, now) = (store.ticket(&self.key), store.now());
        let policy = self.cache.policy.as_ref()?;
        let looked = tier.look(worker, &self.key, &request.head.headers, policy, (ticket, now)).await?;
        self.mark = Some(looked.mark);
        let entry = looked.entry?;
        // What is here and newer stays.
        if self.entry.as_ref().is_some_and(|own| own.meta.age(now.instant) <= entry.meta.age(now.instant)) {
            return None;
        }
        store.put(self.key.bytes(), ticket, entry.clone(), self.entry.as_ref());
        Some(entry)
    }

    /// Goes.
    pub async fn lead(mut self, lead: Option<Lead>, mut request: Request) -> Outcome {
        let gone = self.prepare(&mut request, lead.is_some());
        let outcome = self.inner.call(request).await;
        match self.arrive(&gone, lead, outcome).await {
            Arrived::Done(outcome) => outcome,
            Arrived::Again(lead, request) => {
                // The upstream's 304 was about something else: it is asked for the whole.
                self.entry = None;
                let plain = Gone { spare: None, ..gone };
                let outcome = self.inner.call(*request).await;
                match self.arrive(&plain, lead, outcome).await {
                    Arrived::Done(outcome) => outcome,
                    // There is nothing of its kind without a stored response.
                    Arrived::Again(_, request) => Err(late(request.exchange)),
                }
            }
        }
    }

    /// Puts the cache's own conditions into a request in place of the client's.
    fn prepare(&self, request: &mut Request, leads: bool) -> Gone {
        let headers = &mut request.head.headers;
        let client = headers.clone();
        let mut spare = None;
        match self.entry.as_ref().filter(|entry| entry.has_validator()) {
            Some(entry) => {
                headers.remove(RANGE);
                headers.remove(IF_RANGE);
                make_plain(headers);
                spare = Some(request.head.clone());
                ask_whether_changed(&mut request.head.headers, &entry.meta.headers);
            }
            None if self.ask.conditional && leads => make_plain(headers),
            None => {}
        }
        Gone { client, ticket: self.cache.store.ticket(&self.key), asked: self.cache.store.now().instant, spare }
    }
}

/// No time is left to wait for others.
pub(super) fn late(mut exchange: Box<Exchange>) -> Refused {
    exchange.answer.end = End::Ok;
    let reject = Reject::new(Reason::DeadlineExceeded, "no answer within the time that this route allows");
    Refused { reject: Box::new(reject), exchange }
}
