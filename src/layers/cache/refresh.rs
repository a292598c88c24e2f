//! Asks for a stale response anew while it is being served (RFC 5861 §3): by a request that no client waits for, one for
//! each key, and not too many at a time.

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use tower::Service;

use super::Cache;
use super::ask::Ask;
use super::entry::Entry;
use super::fetch::Fetch;
use super::flight::Joined;
use super::key::Key;
use super::status::Forwarded;
use crate::base::body::RequestBody;
use crate::base::request::{Refused, Request, Response};

/// Most that are under way at a time, together with the bodies on their way into the store.
const MOST: usize = 1024;

/// Begins, unless it is under way.
pub fn begin<S>(cache: &Arc<Cache>, inner: &S, key: &Key, entry: &Entry, client: &Request, now: Instant)
where
    S: Service<Request, Response = Response, Error = Refused> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    if cache.store.tasks.len() >= MOST {
        return;
    }
    let mut flight = key.bytes().to_vec();
    flight.extend(cache.store.place(key, &client.head.headers));
    let Joined::Lead(lead) = cache.store.flights.join(&flight) else { return };
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = Method::GET;
    head.uri = client.head.uri.clone();
    head.version = client.head.version;
    head.headers = client.head.headers.clone();
    let request =
        Request { head: Box::new(head), body: RequestBody::EMPTY, exchange: Box::new(client.exchange.detached(now)) };
    let fetch = Fetch {
        cache: cache.clone(),
        inner: inner.clone(),
        ask: Ask { authorized: Ask::of(&Method::GET, &request.head.headers).authorized, ..Ask::default() },
        key: key.clone(),
        entry: Some(entry.clone()),
        why: Forwarded::Stale,
        mark: None,
        background: true,
    };
    cache.store.tasks.spawn(async move {
        // What came of it is in the store; its exchange ends here.
        drop(fetch.lead_or_find(lead, request).await);
    });
}
