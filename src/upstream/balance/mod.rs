//! Which address the next request goes to: one file per method. Decides from an immutable list and a few counters, per
//! request and never per connection: without locks, and with time and randomness passed in.

mod draw;
mod hash;
mod least_request;
mod peak_ewma;
mod set;
mod slow_start;
mod sticky;
#[cfg(test)]
mod trial;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use self::set::Circle;
use self::slow_start::SlowStart;
use self::sticky::Sticky;
use self::turns::Turns;
use super::endpoint::{Endpoint, Ticket};
use super::metrics::Outcome;
use super::policy::{Balance, HashKey, UpstreamPolicy};
use crate::base::cookies;
use crate::base::exchange::Exchange;

pub(super) use self::hash::of_address;
pub use self::peak_ewma::Latency;
pub use self::set::Endpoints;
pub use self::slow_start::Warmth;
pub use self::sticky::{Session, Sessions};

/// Chooses among endpoints.
#[derive(Debug)]
pub struct Balancer {
    method: Method,
    turns: Turns,
    slow_start: SlowStart,
}

#[derive(Debug)]
enum Method {
    RoundRobin,
    Random,
    LeastRequest,
    PeakEwma,
    Hash(HashKey),
    Sticky(Box<Sticky>),
}

/// Where a request would like to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Anywhere.
    #[default]
    Anywhere,
    /// Where its key belongs.
    Key(u64),
    /// Where its client was before.
    Back(Box<Session>),
}

/// What is wanted of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the request would like to go.
    pub wish: &'a Wish,
    /// Where it must not go again.
    pub tried: &'a [SocketAddr],
    /// The time, give or take what the request has waited.
    pub now: Instant,
    /// Uniform.
    pub random: u64,
}

/// What is wanted, of a set.
#[derive(Clone, Copy, Debug)]
struct Search<'a> {
    wanted: &'a Wanted<'a>,
    /// Whether there is an endpoint that is not eligible.
    barred: bool,
}

impl Search<'_> {
    /// Whether the request may go there.
    fn allows(&self, endpoint: &Endpoint) -> bool {
        (!self.barred || endpoint.is_eligible()) && !self.wanted.tried.contains(&endpoint.address)
    }

    fn dice(&self) -> Rng {
        Rng::with_seed(self.wanted.random)
    }
}

impl Balancer {
    /// A balancer whose first turn is the first address.
    pub fn new(policy: &UpstreamPolicy, sessions: &Sessions) -> Self {
        let method = match &policy.balance {
            Balance::RoundRobin => Method::RoundRobin,
            Balance::Random => Method::Random,
            Balance::LeastRequest => Method::LeastRequest,
            Balance::PeakEwma => Method::PeakEwma,
            Balance::Hash(key) => Method::Hash(key.clone()),
            Balance::Sticky(sticky) => Method::Sticky(Box::new(Sticky::new(sticky, &policy.name, sessions))),
        };
        Self { method, turns: Turns::default(), slow_start: SlowStart(policy.slow_start) }
    }

    /// Where a request would like to go, by its head as the client sent it.
    pub fn wish(&self, head: &Parts, exchange: &Exchange, now: Instant) -> Wish {
        match &self.method {
            Method::Hash(key) => key_of(key, head, exchange).map_or(Wish::Anywhere, Wish::Key),
            Method::Sticky(sticky) => Wish::Back(Box::new(sticky.read(head, exchange, now))),
            _ => Wish::Anywhere,
        }
    }

    /// Whether it matters what a request says: if not, every one may go [anywhere](Wish::Anywhere) as it is.
    pub fn looks_at_requests(&self) -> bool {
        matches!(self.method, Method::Hash(_) | Method::Sticky(_))
    }

    /// Whether it wants to know how tries ended.
    pub fn hears_of_tries(&self) -> bool {
        matches!(self.method, Method::PeakEwma)
    }

    /// Takes out of a request what was meant for the gateway.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if let Method::Sticky(sticky) = &self.method {
            sticky.strip(headers);
        }
    }

    /// What the client has to be told so that it comes back to the endpoint that has answered.
    pub fn cookie(&self, wish: &Wish, endpoint: &Endpoint, now: impl FnOnce() -> Instant) -> Option<HeaderValue> {
        match (&self.method, wish) {
            (Method::Sticky(sticky), Wish::Back(session)) => sticky.renew(session, endpoint.address, now()),
            _ => None,
        }
    }

    /// A place at one of the endpoints: of the best priority that has one which will do.
    pub fn pick(&self, endpoints: &Endpoints, wanted: &Wanted<'_>) -> Option<Ticket> {
        let search = Search { wanted, barred: endpoints.is_barred() };
        let before = match (&self.method, wanted.wish) {
            (Method::Sticky(sticky), Wish::Back(session)) => {
                session.tag.as_ref().and_then(|tag| endpoints.of_tag(tag, sticky))
            }
            _ => None,
        };
        let chosen = match before.filter(|endpoint| search.allows(endpoint)) {
            Some(endpoint) => Some(endpoint),
            None => endpoints.circles().find_map(|circle| self.choose(circle, search)),
        };
        chosen.map(Ticket::take)
    }

    fn choose<'a>(&self, circle: Circle<'a>, search: Search<'_>) -> Option<&'a Arc<Endpoint>> {
        let slow = self.slow_start;
        match (&self.method, search.wanted.wish) {
            (Method::Hash(_), Wish::Key(key)) => hash::owner(circle, search, *key),
            (Method::RoundRobin | Method::Hash(_) | Method::Sticky(_), _) => self.turns.next(circle, search, slow),
            (Method::Random, _) => draw::one(circle, search, slow),
            (Method::LeastRequest, _) => draw::better_of_two(circle, search, slow, least_request::is_less_busy),
            (Method::PeakEwma, _) => {
                let is_quicker =
                    |other: &Endpoint, first: &Endpoint| peak_ewma::is_quicker(other, first, search.wanted.now);
                draw::better_of_two(circle, search, slow, is_quicker)
            }
        }
    }

    /// Hears how a try ended, where this method wants to know.
    pub fn tried(&self, endpoint: &Endpoint, outcome: Outcome, took: Option<Duration>, now: impl FnOnce() -> Instant) {
        if matches!(self.method, Method::PeakEwma) {
            endpoint.latency.tried(outcome, took, now());
        }
    }
}

/// The number of a request's key; none where it has no such field, or an empty one.
fn key_of(key: &HashKey, head: &Parts, exchange: &Exchange) -> Option<u64> {
    let text: &[u8] = match key {
        HashKey::Ip => return Some(hash::of_ip(exchange.client)),
        HashKey::Path => exchange.target.path().as_bytes(),
        // HTTP/2 has the host in its target, and everybody has it in its canonical form here.
        HashKey::Header(name) if name == http::header::HOST => exchange.host.as_ref()?.as_bytes(),
        HashKey::Header(name) => head.headers.get(name)?.as_bytes(),
        HashKey::Cookie(name) => cookies::find(&head.headers, name)?,
        HashKey::Query(name) => {
            let pairs = exchange.target.query()?.split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| key == name)?.1.as_bytes()
        }
    };
    (!text.is_empty()).then(|| hash::of_bytes(text))
}

#[cfg(test)]
mod tests {
    use super::trial::{Trial, address, exchange};
    use super::*;
    use crate::upstream::policy::{StickyPolicy, WeightedAddress};

    fn every_method() -> [Balance; 6] {
        let sticky = StickyPolicy { cookie: "c".to_owned(), max_age: Duration::ZERO, secret: None };
        let key = HashKey::Path;
        [
            Balance::RoundRobin,
            Balance::Random,
            Balance::LeastRequest,
            Balance::PeakEwma,
            Balance::Hash(key),
            Balance::Sticky(sticky),
        ]
    }

    #[test]
    fn what_was_tried_is_not_picked_again() {
        for method in every_method() {
            for wish in [Wish::Anywhere, Wish::Key(7)] {
                let trial = Trial::new(method.clone(), &[1, 3, 1]);
                let mut tried = Vec::new();
                for seed in 0..3 {
                    let ticket = trial.pick_for(&wish, &tried, seed << 33).unwrap();
                    assert!(!tried.contains(&ticket.endpoint().address));
                    tried.push(ticket.endpoint().address);
                }
                assert!(trial.pick_for(&wish, &tried, 1).is_none());
            }
        }
    }

    #[test]
    fn a_worse_priority_serves_only_while_no_better_one_can() {
        for method in every_method() {
            let mut trial = Trial::new(method, &[]);
            assert!(trial.pick(&[], 1).is_none());
            let ranked = |last, priority| WeightedAddress { priority, ..WeightedAddress::new(address(last)) };
            trial.update(&[ranked(1, 20), ranked(2, 10), ranked(3, 10), ranked(4, 20)]);
            for seed in 0..40 {
                assert_eq!(trial.pick(&[], seed).unwrap().endpoint().priority(), 10);
                let third = trial.pick(&[address(2), address(3)], seed).unwrap();
                assert_eq!(third.endpoint().priority(), 20);
            }
            trial.update(&[ranked(1, 20)]);
            assert_eq!(trial.pick(&[], 1).unwrap().endpoint().address, address(1));
        }
    }

    #[test]
    fn keys_are_what_the_client_sent() {
        let exchange = exchange("/a/b?user=7&empty=&x=1");
        let mut request = http::Request::get("/stripped");
        request = request.header("x-user", "ann").header("cookie", "a=1; id=77").header("x-empty", "");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let key = |key: HashKey| key_of(&key, &head, &exchange);
        let header = |name: &'static str| HashKey::Header(http::HeaderName::from_static(name));
        assert_eq!(key(header("x-user")), Some(hash::of_bytes(b"ann")));
        assert_eq!(key(HashKey::Cookie("id".to_owned())), Some(hash::of_bytes(b"77")));
        assert_eq!(key(HashKey::Query("user".to_owned())), Some(hash::of_bytes(b"7")));
        assert_eq!(key(HashKey::Path), Some(hash::of_bytes(b"/a/b")));
        assert_eq!(key(HashKey::Ip), Some(hash::of_ip([127, 0, 0, 1].into())));
        for missing in [header("x-none"), header("x-empty"), header("host"), HashKey::Cookie("i".to_owned())] {
            assert_eq!(key(missing.clone()), None, "{missing:?}");
        }
        assert_eq!(key(HashKey::Query("empty".to_owned())), None);
    }
}
