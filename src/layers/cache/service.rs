//! The cache in the stack: what is stored is answered here and now, by plain functions; what has to be fetched goes into
//! a box of its own. A route without a cache pays a comparison.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Method;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::answer::{Content, answer};
use super::ask::Ask;
use super::decide::{Verdict, decide};
use super::entry::Entry;
use super::fetch::Fetch;
use super::freshness::Moment;
use super::invalidation::is_safe;
use super::key::Key;
use super::pass::Pass;
use super::status::{Forwarded, Told};
use super::store::Found;
use super::{Cache, refresh};
use crate::base::cache::CacheNote;
use crate::base::exchange::End;
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Outcome, Refused, Request, Response};
use crate::layers::gate::{Serve, Way, Work};

/// Puts a cache before a service, where the route has one.
#[derive(Debug)]
pub struct CacheLayer(pub Option<Arc<Cache>>);

impl<S> Layer<S> for CacheLayer {
    type Service = Cached<S>;

    fn layer(&self, inner: S) -> Cached<S> {
        Cached { cache: self.0.clone(), inner }
    }
}

/// A service behind a cache.
#[derive(Clone, Debug)]
pub struct Cached<S> {
    cache: Option<Arc<Cache>>,
    inner: S,
}

impl<S> Service<Request> for Cached<S>
where
    S: Serve,
{
    type Response = Response;
    type Error = Refused;
    type Future = CacheFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.serve(request)
    }
}

impl<S> Serve for Cached<S>
where
    S: Serve,
{
    fn serve(&self, request: Request) -> Self::Future {
        let Some(cache) = &self.cache else {
            return CacheFuture::inner(self.inner.serve(request), None);
        };
        let is_read = matches!(request.head.method, Method::GET | Method::HEAD);
        match (&cache.policy, is_read) {
            (Some(_), true) => {
                let cache = cache.clone();
                self.read(&cache, request)
            }
            (policy, _) => {
                let changes = !is_safe(&request.head.method);
                let pass = match (changes, policy) {
                    (true, _) => Some(Pass::changing(cache, &request)),
                    (false, Some(_)) => Some(Pass::told(cache, Told::forwarded(Forwarded::Method))),
                    (false, None) => None,
                };
                CacheFuture::inner(self.inner.serve(request), pass)
            }
        }
    }
}

impl<S> Cached<S>
where
    S: Serve,
{
    /// A GET or HEAD on a route with a cache.
    fn read(&self, cache: &Arc<Cache>, mut request: Request) -> CacheFuture<S::Future> {
        let ask = Ask::of(&request.head.method, &request.head.headers);
        if ask.strange || ask.directives.no_store || !request.body.is_empty() {
            let pass = Pass::told(cache, Told::forwarded(Forwarded::Bypass));
            return CacheFuture::inner(self.inner.serve(request), Some(pass));
        }
        let vary_by = cache.policy.as_ref().map(|policy| policy.vary_by.as_slice()).unwrap_or_default();
        let key = Key::of(vary_by, &request.head.headers, &request.exchange);
        let now = cache.store.now();
        let (entry, missing) = match cache.store.find(&key, &request.head.headers) {
            Found::Entry(entry) => (Some(entry), Forwarded::Stale),
            Found::Others => (None, Forwarded::VaryMiss),
            Found::Nothing => (None, Forwarded::UriMiss),
        };
        let verdict = decide(&ask, entry.as_ref().map(|entry| &*entry.meta), missing, now.instant);
        match (verdict, entry) {
            (Verdict::Serve, Some(entry)) => serve(cache, &ask, &entry, CacheNote::Hit, now, request),
            (Verdict::ServeStale, Some(entry)) => serve(cache, &ask, &entry, CacheNote::Stale, now, request),
            (Verdict::Refresh, Some(entry)) => {
                refresh::begin(cache, &self.inner, &key, &entry, &request, now.instant);
                serve(cache, &ask, &entry, CacheNote::Stale, now, request)
            }
            (Verdict::Nowhere, _) => {
                cache.note(&mut request.exchange, CacheNote::NotCached);
                let reject = Reject::new(Reason::NotCached, "no stored response will do, and only one is asked for");
                request.exchange.answer.end = End::Ok;
                let refused = Refused { reject: Box::new(reject), exchange: request.exchange };
                CacheFuture::done(Err(refused))
            }
            (Verdict::Ask(why), entry) => self.ask(cache, ask, key, entry, why, request),
            (_, None) => self.ask(cache, ask, key, None, Forwarded::UriMiss, request),
        }
    }

    /// The upstream is asked: for what may be stored in a box, for everything else directly.
    fn ask(
        &self,
        cache: &Arc<Cache>,
        ask: Ask,
        key: Key,
        entry: Option<Entry>,
        why: Forwarded,
        request: Request,
    ) -> CacheFuture<S::Future> {
        if ask.head {
            let pass = Pass::head(cache, Told::forwarded(why), &key, entry);
            return CacheFuture::inner(self.inner.serve(request), Some(pass));
        }
        let validates = entry.as_ref().is_some_and(Entry::has_validator);
        if ask.range && !validates {
            let pass = Pass::told(cache, Told::forwarded(why));
            return CacheFuture::inner(self.inner.serve(request), Some(pass));
        }
        let fetch = Fetch {
            cache: cache.clone(),
            inner: self.inner.clone(),
            ask,
            key,
            entry,
            why,
            mark: None,
            background: false,
        };
        CacheFuture { state: Doing::Working { work: Box::pin(fetch.run(request)) } }
    }
}

/// Answers with what is stored.
fn serve<F>(
    cache: &Cache,
    ask: &Ask,
    entry: &Entry,
    note: CacheNote,
    now: Moment,
    mut request: Request,
) -> CacheFuture<F> {
    cache.note(&mut request.exchange, note);
    let Request { head: client, exchange, .. } = request;
    let head = entry.meta.head(now.instant, Told::hit(entry.meta.ttl(now.instant)));
    let content = Content::Whole(entry.body.clone());
    let response = answer(head, content, (ask, &client.headers), now, exchange);
    CacheFuture::done(Ok(response))
}

pin_project! {
    /// What a [`Cached`] service does with one request.
    pub struct CacheFuture<F> {
        #[pin]
        state: Doing<F>,
    }
}

pin_project! {
    #[project = Projected]
    enum Doing<F> {
        // The request has gone on; with what is to be done with the outcome.
        Inner { #[pin] inner: F, pass: Option<Box<Pass>> },
        // Boxed: see the gates, through which this is handed up.
        Done { outcome: Option<Box<Outcome>> },
        // It is being fetched, by this request or by another.
        Working { work: Pin<Box<dyn Future<Output = Outcome> + Send>> },
    }
}

impl<F: Way> Way for CacheFuture<F> {
    fn over(outcome: Outcome) -> Self {
        Self::done(outcome)
    }

    fn work(work: Work) -> Self {
        Self { state: Doing::Working { work } }
    }
}

impl<F> CacheFuture<F> {
    fn done(outcome: Outcome) -> Self {
        Self { state: Doing::Done { outcome: Some(Box::new(outcome)) } }
    }

    fn inner(inner: F, pass: Option<Pass>) -> Self {
        Self { state: Doing::Inner { inner, pass: pass.map(Box::new) } }
    }
}

impl<F: Future<Output = Outcome>> Future for CacheFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.project().state.project() {
            Projected::Inner { inner, pass: None } => inner.poll(cx),
            Projected::Inner { inner, pass } => {
                let outcome = ready!(inner.poll(cx));
                Poll::Ready(match pass.take() {
                    Some(pass) => pass.finish(outcome),
                    None => outcome,
                })
            }
            Projected::Done { outcome } => outcome.take().map_or(Poll::Pending, |outcome| Poll::Ready(*outcome)),
            Projected::Working { work } => work.as_mut().poll(cx),
        }
    }
}
