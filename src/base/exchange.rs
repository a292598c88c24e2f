//! What is known of one request from its first byte to the last byte of its answer. It travels with the request in,
//! with the response out, and tells the observers when it is dropped: so a request is counted however it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::account::Account;
use super::allowance::{self, Left};
use super::body::Meter;
use super::cache::CacheNote;
use super::client::{Busy, Client};
use super::clock;
use super::headers::Survey;
use super::identity::Identity;
use super::reject::{Reason, Reject};
use super::seat::Seat;
use super::trace::Trace;

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// Who asked, as far as the connection tells.
    pub origin: Origin,
    /// When the head was complete.
    pub started: Instant,
    /// When it was over; observers can rely on it.
    pub ended: Instant,
    /// The request's id, shown to client and upstream.
    pub id: Option<HeaderValue>,
    /// The client's address: the peer's, or what trusted proxies say.
    pub client: IpAddr,
    /// The method as it came.
    pub method: Method,
    /// The canonical target: path and query. A refused request keeps what it sent.
    pub target: Uri,
    /// What the client's fields are, at one glance.
    pub survey: Survey,
    /// Whether the path has escapes that a backend may read as slashes.
    pub ambiguous_path: bool,
    /// The canonical host with its port, if it has one.
    pub host: Option<HeaderValue>,
    /// The protocol that the client speaks.
    pub version: Version,
    /// Who says to be asking.
    pub user_agent: Option<HeaderValue>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// Who asks, where somebody has vouched for it.
    pub identity: Option<Arc<Identity>>,
    /// Whether its route asks who it is, and let it go on though nobody has vouched for it.
    pub unvouched: bool,
    /// The trace that it belongs to, where there is one.
    pub trace: Option<Trace>,
    /// Whether somebody will write down what became of it.
    pub logged: bool,
    /// What limits have left to it, those that clients or the log are told of.
    pub met: SmallVec<[Left; 2]>,
    /// The limit that refused it.
    pub refusing: Option<Arc<str>>,
    /// When the response head must be there.
    pub deadline: Option<Instant>,
    /// What the cache did, where there is one.
    pub cache: Option<CacheNote>,
    /// The request body's meter, where there is a body.
    pub body_in: Option<Arc<Meter>>,
    /// What the upstream did.
    pub upstream: UpstreamNotes,
    /// What the client got.
    pub answer: Answer,
    /// A refusal decided before routing; the stack of unmatched requests delivers it.
    pub refused_early: Option<Box<Reject>>,
    /// What is told of it on its response, where somebody may hear that.
    pub account: Option<Box<Account>>,
    /// Keeps the client's connection busy until this is over.
    pub busy: Busy,
    /// Who takes the exchange over when the response has left: the tunnel behind a 101.
    pub heir: Option<oneshot::Sender<Box<Exchange>>>,
    observers: [Option<Arc<dyn Observer>>; 3],
    seats: [Option<Seat>; 2],
    kept: Vec<Box<dyn Kept>>,
}

/// Something that is kept until an exchange is over, for what happens when it is dropped.
pub trait Kept: Send + Sync + std::fmt::Debug {}

/// What a connection knows of who asks.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whether the peer is one of `trusted_proxies`.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The worker that serves the connection.
    pub worker: usize,
}

/// What the upstream did with the request.
#[derive(Clone, Debug, Default)]
pub struct UpstreamNotes {
    /// The upstream's name.
    pub name: Option<Arc<str>>,
    /// The address of the last try.
    pub address: Option<SocketAddr>,
    /// Time from the first try to the response head.
    pub time: Option<Duration>,
    /// Addresses tried.
    pub tries: u32,
}

/// What the client got.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; 0 while there is none.
    pub status: u16,
    /// Why the gateway refused, where it did.
    pub reason: Option<Reason>,
    /// The cause that only the log says.
    pub cause: Option<Box<str>>,
    /// Bytes of the response body that were handed over.
    pub bytes: u64,
    /// How it ended.
    pub end: End,
}

/// Who ended an exchange, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The client went away first.
    #[default]
    ClientGone,
    /// The answer was delivered whole.
    Ok,
    /// The upstream broke off within its response body.
    UpstreamReset,
    /// The upstream's response body stood still for too long.
    Timeout,
    /// The gateway failed.
    Panic,
}

impl End {
    /// The word in the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Ok => "ok",
            Self::UpstreamReset => "upstream_reset",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
        }
    }
}

/// Somebody who is told when an exchange is over.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// The last byte has left, or nobody waits for it any more. Called once, without blocking.
    fn ended(&self, exchange: &Exchange);
}

impl Exchange {
    /// The beginning of an exchange. What the target and host are is found out later.
    pub fn new(origin: Origin, busy: Busy, started: Instant, head: &Parts) -> Self {
        Self {
            origin,
            started,
            ended: started,
            id: None,
            client: origin.peer.ip(),
            method: head.method.clone(),
            target: Uri::default(),
            survey: Survey::default(),
            ambiguous_path: false,
            host: None,
            version: head.version,
            user_agent: None,
            route: None,
            identity: None,
            unvouched: false,
            trace: None,
            logged: false,
            met: SmallVec::new(),
            refusing: None,
            deadline: None,
            cache: None,
            body_in: None,
            upstream: UpstreamNotes::default(),
            answer: Answer::default(),
            refused_early: None,
            account: None,
            busy,
            heir: None,
            observers: [None, None, None],
            seats: [None, None],
            kept: Vec::new(),
        }
    }

    /// One that no client waits for, begun now for the same thing by the same right: nobody hears of its end, and it holds
    /// no place of the client's.
    pub fn detached(&self, now: Instant) -> Self {
        let outbox = self.busy.client().outbox().cloned();
        let client = Client::through(outbox, self.origin.peer.ip(), Vec::new());
        let (mut head, ()) = http::Request::new(()).into_parts();
        // An older client hears of no interim responses.
        head.version = Version::HTTP_10;
        let mut exchange = Self::new(self.origin, client.begin(true), now, &head);
        exchange.id.clone_from(&self.id);
        exchange.client = self.client;
        exchange.target = self.target.clone();
        exchange.survey = self.survey;
        exchange.ambiguous_path = self.ambiguous_path;
        exchange.host.clone_from(&self.host);
        exchange.user_agent.clone_from(&self.user_agent);
        exchange.route.clone_from(&self.route);
        exchange.identity.clone_from(&self.identity);
        exchange.unvouched = self.unvouched;
        exchange.deadline = self.deadline.map(|due| now + due.saturating_duration_since(self.started));
        exchange
    }

    /// Adds somebody to tell when this is over. There is room for three: the log, the metrics and the
    /// trace.
    pub fn observe(&mut self, observer: Arc<dyn Observer>) {
        if let Some(free) = self.observers.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(observer);
        }
    }

    /// Holds a counted place until this is over. There is room for two: at the route and at its upstream.
    pub fn hold(&mut self, seat: Seat) {
        if let Some(free) = self.seats.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(seat);
        }
    }

    /// The trace that somebody can look up, if this is part of one.
    pub fn sampled_trace(&self) -> Option<u128> {
        self.trace.as_ref().filter(|trace| trace.takes_part() && trace.is_sampled()).map(|trace| trace.id)
    }

    /// Keeps something until this is over.
    pub fn keep(&mut self, thing: Box<dyn Kept>) {
        self.kept.push(thing);
    }

    /// The limit that refused this, or else the one of which the least was left.
    pub fn limit(&self) -> Option<&Arc<str>> {
        self.refusing.as_ref().or_else(|| allowance::tightest(&self.met).map(|left| &left.terms.name))
    }

    /// Whether it comes from somebody, known or not, whose answer may be for nobody else.
    pub fn is_somebodys(&self) -> bool {
        self.identity.is_some() || self.unvouched
    }

    /// Who asks, by the name that a credential vouches for.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()?.subject.as_ref()
    }

    /// Bytes of the request body that arrived.
    pub fn bytes_in(&self) -> u64 {
        self.body_in.as_ref().map_or(0, |meter| meter.bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.answer.end = End::Panic;
            self.answer.status = 500;
            self.answer.reason = Some(Reason::Internal);
        }
        self.ended = clock::now();
        self.busy.end(self.ended);
        for observer in std::mem::take(&mut self.observers).into_iter().flatten() {
            observer.ended(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::client::Client;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<&'static str>>);

    impl Observer for Seen {
        fn ended(&self, exchange: &Exchange) {
            self.0.lock().unwrap().push(exchange.answer.end.as_str());
        }
    }

    fn exchange() -> Exchange {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let origin = Origin { peer, trusted: false, scheme: "http", worker: 0 };
        let (head, ()) = http::Request::new(()).into_parts();
        Exchange::new(origin, Client::new(origin.peer.ip(), Vec::new()).begin(false), clock::now(), &head)
    }

    #[test]
    fn observers_hear_of_every_end_once() {
        let seen = Arc::new(Seen::default());
        let mut first = exchange();
        first.observe(seen.clone());
        first.answer.end = End::Ok;
        drop(first);
        let mut second = exchange();
        second.observe(seen.clone());
        drop(second);
        let mut third = exchange();
        third.observe(seen.clone());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = third;
            panic!("expected by this test");
        }));
        assert!(panicked.is_err());
        assert_eq!(*seen.0.lock().unwrap(), ["ok", "client_gone", "panic"]);
    }
}
