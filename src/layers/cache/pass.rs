//! Requests that go on to the upstream as they are: what is said of that, and what their outcome makes void or brings up
//! to date.

use std::sync::Arc;

use http::response;

use super::entry::{Entry, Meta, Origin};
use super::invalidation::{is_done, named};
use super::key::{self, Key};
use super::status::Told;
use super::store::Ticket;
use super::{Cache, validation};
use crate::base::cache::CacheNote;
use crate::base::request::{Outcome, Request};

/// What is to be done when the outcome is there.
#[derive(Debug)]
pub struct Pass {
    cache: Arc<Cache>,
    told: Option<Told>,
    after: After,
}

#[derive(Debug)]
enum After {
    Nothing,
    /// What is stored is void if it succeeds.
    Changed(Target),
    /// What is stored may be brought up to date.
    Head {
        key: Key,
        entry: Entry,
        ticket: Ticket,
    },
}

/// The URL of a request, as it came.
#[derive(Debug)]
struct Target {
    scheme: Vec<u8>,
    host: Vec<u8>,
    uri: http::Uri,
}

impl Pass {
    /// It is only said.
    pub fn told(cache: &Arc<Cache>, told: Told) -> Self {
        Self { cache: cache.clone(), told: Some(told), after: After::Nothing }
    }

    /// It asks for something to be done.
    pub fn changing(cache: &Arc<Cache>, request: &Request) -> Self {
        let exchange = &request.exchange;
        let target = Target {
            scheme: key::scheme(&request.head.headers, exchange).to_vec(),
            host: exchange.host.as_ref().map(|host| host.as_bytes().to_vec()).unwrap_or_default(),
            uri: exchange.target.clone(),
        };
        let told = cache.policy.as_ref().map(|_| Told::forwarded(super::status::Forwarded::Method));
        Self { cache: cache.clone(), told, after: After::Changed(target) }
    }

    /// It asks for the head of what is stored, or is not.
    pub fn head(cache: &Arc<Cache>, told: Told, key: &Key, entry: Option<Entry>) -> Self {
        let ticket = cache.store.ticket(key);
        let after = entry.map_or(After::Nothing, |entry| After::Head { key: key.clone(), entry, ticket });
        Self { cache: cache.clone(), told: Some(told), after }
    }

    /// The outcome is there.
    pub fn finish(self, mut outcome: Outcome) -> Outcome {
        let exchange = match &mut outcome {
            Ok(response) => &mut response.exchange,
            Err(refused) => &mut refused.exchange,
        };
        if let Some(told) = self.told {
            let is_miss = matches!(self.after, After::Head { .. }) || told.forwarded.is_some_and(|why| why.is_miss());
            self.cache.note(exchange, if is_miss { CacheNote::Miss } else { CacheNote::Bypass });
        }
        let Ok(response) = &mut outcome else { return outcome };
        match &self.after {
            After::Nothing => {}
            After::Changed(target) if is_done(response.head.status) => {
                let Target { scheme, host, uri } = target;
                let own = uri.path_and_query().map_or("/", |target| target.as_str());
                let worker = response.exchange.origin.worker;
                self.cache.store.change(worker, key::url(scheme, host, own.as_bytes()));
                for url in named(&response.head.headers, scheme, host, uri) {
                    self.cache.store.change(worker, url);
                }
            }
            After::Changed(_) => {}
            After::Head { key, entry, ticket } => self.update(key, entry, *ticket, &response.head),
        }
        if let Some(told) = self.told {
            told.write(&mut response.head.headers);
        }
        outcome
    }

    /// RFC 9111 §4.3.5: a head brings what is stored up to date, or shows that it is not.
    fn update(&self, key: &Key, entry: &Entry, ticket: Ticket, head: &response::Parts) {
        let Some(policy) = &self.cache.policy else { return };
        let (stored, now) = (&entry.meta, self.cache.store.now());
        if !head.status.is_success() && head.status != stored.status {
            return;
        }
        if !validation::is_head_of(head.status, &head.headers, stored.status, &stored.headers, entry.body.len()) {
            stored.expire(now.instant);
            return;
        }
        let merged = validation::freshen(&stored.headers, &head.headers);
        let none = http::HeaderMap::new();
        let origin = Origin { request: &none, asked: now.instant, now, authorized: false, stamp: ticket.stamp };
        match Meta::of(stored.status, &merged, policy, &origin) {
            Ok(meta) => {
                let meta = Arc::new(meta.with_variant(stored.variant.clone()));
                let fresh = Entry { meta, body: entry.body.clone() };
                self.cache.store.put(key.bytes(), ticket, fresh, Some(entry));
            }
            Err(_) => self.cache.store.remove(key.bytes(), entry),
        }
    }
}
