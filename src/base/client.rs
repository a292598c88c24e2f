//! What one client connection is doing, shared between its socket, its requests and whoever watches over it: when it was
//! last busy, whether it is in the middle of a request head, whether it has stopped reading, and the interim responses
//! that wait to be written.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};

use super::body::Meter;
use super::clock;
use super::debt::Debts;
use super::outbox::Outbox;
use super::reject::Reason;
use super::seat::Seat;

const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");
/// In place of a time that nobody has asked for yet.
const NOT_ASKED: u64 = u64::MAX;

/// The state of a client connection.
#[derive(Debug)]
pub struct Client {
    opened: Instant,
    in_flight: AtomicUsize,
    /// Milliseconds from `opened` to the last change between idle, reading a head, and busy.
    since: AtomicU64,
    reading_head: AtomicBool,
    multiplexed: AtomicBool,
    /// Milliseconds from `opened` to when the client stopped reading, plus one; 0 while it reads.
    stalled: AtomicU64,
    /// Milliseconds that it was stalled before, and bytes that it took, since its last request where it has one at a time.
    waited: AtomicU64,
    taken: AtomicU64,
    /// Nothing more is sent, not even what the system has taken already.
    given_up: AtomicBool,
    /// Whether somebody keeps the time of what is awaited for the client.
    timed: AtomicBool,
    /// Milliseconds from `opened` to when the answer that is awaited is late; `NOT_ASKED` when none is.
    expected: AtomicU64,
    /// That time has come.
    rung: AtomicBool,
    /// The body that the client may still be sending.
    upload: Mutex<Option<Arc<Meter>>>,
    has_upload: AtomicBool,
    /// What follows is not HTTP any more.
    switched: AtomicBool,
    /// Why the codec refused a head of its own accord.
    refused: OnceLock<Reason>,
    debts: Debts,
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
    /// The peer's address as fields say it: the same for each request, so written once.
    peer: HeaderValue,
    /// What is written for it goes through this.
    outbox: Option<Arc<Outbox>>,
    /// What the connection counts against, tunnels that come out of it included.
    _seats: Vec<Seat>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A request head of which something has come, or the very first one.
    Head,
    /// The next request.
    Idle,
    /// The answers to its requests.
    Busy,
}

/// A client that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Since when.
    pub since: Instant,
    /// How long it did not read before that.
    pub before: Duration,
    /// Bytes that it took in between.
    pub taken: u64,
}

/// A request of the connection that is not over.
#[derive(Debug)]
pub struct Busy(Arc<Client>);

impl Client {
    /// A connection that was just accepted; it holds its seats as long as anything of it lives.
    pub fn new(peer: IpAddr, seats: Vec<Seat>) -> Arc<Self> {
        Self::through(None, peer, seats)
    }

    /// The same where what is written, to the client and for it, goes through its worker's outbox.
    pub fn through(outbox: Option<Arc<Outbox>>, peer: IpAddr, seats: Vec<Seat>) -> Arc<Self> {
        Arc::new(Self {
            opened: clock::now(),
            in_flight: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            reading_head: AtomicBool::new(true),
            multiplexed: AtomicBool::new(false),
            stalled: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            timed: AtomicBool::new(false),
            expected: AtomicU64::new(NOT_ASKED),
            rung: AtomicBool::new(false),
            upload: Mutex::default(),
            has_upload: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            refused: OnceLock::new(),
            debts: Debts::default(),
            interim: Mutex::default(),
            has_interim: AtomicBool::new(false),
            outbox,
            peer: HeaderValue::try_from(peer.to_canonical().to_string()).unwrap_or(UNKNOWN),
            _seats: seats,
        })
    }

    /// A request head is complete.
    pub fn begin(self: &Arc<Self>, multiplexed: bool) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.reading_head.store(false, Ordering::Relaxed);
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
        if !multiplexed {
            self.waited.store(0, Ordering::Relaxed);
            self.taken.store(0, Ordering::Relaxed);
        }
        self.has_upload.store(false, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// The request that has begun has a body.
    pub fn uploads(&self, meter: Arc<Meter>) {
        *self.upload.lock().unwrap_or_else(PoisonError::into_inner) = Some(meter);
        self.has_upload.store(true, Ordering::Relaxed);
    }

    /// Whether the client has nothing to do but to wait for its answer: if it closes, it does not want it any more.
    pub fn only_waits(&self) -> bool {
        let busy = self.in_flight.load(Ordering::Relaxed) > 0 && !self.multiplexed.load(Ordering::Relaxed);
        busy && !self.switched.load(Ordering::Relaxed)
            && (!self.has_upload.load(Ordering::Relaxed) || self.has_uploaded())
    }

    /// The connection becomes a tunnel: whoever is on its ends decides when it is over.
    pub fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }

    /// Whether it is a tunnel.
    pub fn is_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed)
    }

    /// What is written for it goes through this, where there is one.
    pub fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.as_ref()
    }

    fn has_uploaded(&self) -> bool {
        let upload = self.upload.lock().unwrap_or_else(PoisonError::into_inner);
        upload.as_ref().is_none_or(|meter| meter.is_done())
    }

    /// Bytes came in. On a multiplexed connection they may be anything, such as an answer to a ping.
    pub fn heard(&self) {
        let idle = self.in_flight.load(Ordering::Relaxed) == 0;
        if idle && !self.multiplexed.load(Ordering::Relaxed) && !self.reading_head.load(Ordering::Relaxed) {
            self.reading_head.store(true, Ordering::Relaxed);
            // Most heads are complete before anybody asks for how long they have been coming.
            self.since.store(NOT_ASKED, Ordering::Relaxed);
        }
    }

    /// The client takes no more bytes for now.
    pub fn stall(&self) {
        if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(self.elapsed() + 1, Ordering::Relaxed);
        }
    }

    /// It takes so many.
    pub fn take(&self, bytes: usize) {
        // Only the socket writes here.
        let taken = self.taken.load(Ordering::Relaxed);
        self.taken.store(taken.saturating_add(bytes as u64), Ordering::Relaxed);
        if let Some(since) = self.stalled.load(Ordering::Relaxed).checked_sub(1) {
            self.stalled.store(0, Ordering::Relaxed);
            self.waited.fetch_add(self.elapsed().saturating_sub(since), Ordering::Relaxed);
        }
    }

    /// What the connection waits for, and since when.
    pub fn phase(&self) -> (Phase, Instant) {
        let phase = match self.in_flight.load(Ordering::Relaxed) {
            0 if self.reading_head.load(Ordering::Relaxed) => Phase::Head,
            0 => Phase::Idle,
            _ => Phase::Busy,
        };
        if phase != Phase::Busy && self.since.load(Ordering::Relaxed) == NOT_ASKED {
            self.since.store(self.elapsed(), Ordering::Relaxed);
        }
        (phase, self.at(self.since.load(Ordering::Relaxed)))
    }

    /// Whether it speaks HTTP/2: many requests on one connection, and a way to say which of them were not seen.
    pub fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// What the client leaves us waiting for, where it does not read what is there for it.
    pub fn stalled(&self) -> Option<Stall> {
        let since = self.stalled.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Stall {
            since: self.at(since),
            before: Duration::from_millis(self.waited.load(Ordering::Relaxed)),
            taken: self.taken.load(Ordering::Relaxed),
        })
    }

    /// Ends the connection without what the client has not taken: the system would keep it for minutes.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is to be reset.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// What an HTTP/2 client has asked for and not taken.
    pub fn debts(&self) -> &Debts {
        &self.debts
    }

    /// Somebody will look at [`Self::expected_by`], and ring.
    pub fn keep_time(&self) {
        self.timed.store(true, Ordering::Relaxed);
    }

    /// Whether the one request that may be in flight is told when it is late: it then needs no timer of its own, which
    /// would cost 900 instructions to set up and take down.
    pub fn is_timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed) && !self.is_multiplexed()
    }

    /// The answer that is awaited is late from then on. The task of the connection looks at this after each poll.
    pub fn expect_by(&self, due: Option<Instant>) {
        // Rounded up: never rung too early.
        self.expected.store(due.map_or(NOT_ASKED, |due| self.millis(due) + 1), Ordering::Relaxed);
    }

    /// When the answer that is awaited is late.
    pub fn expected_by(&self) -> Option<Instant> {
        Some(self.expected.load(Ordering::Relaxed)).filter(|&millis| millis != NOT_ASKED).map(|millis| self.at(millis))
    }

    /// Says that the awaited answer is late; false where none is awaited.
    pub fn ring(&self) -> bool {
        let expected = self.expected.swap(NOT_ASKED, Ordering::Relaxed) != NOT_ASKED;
        self.rung.store(expected, Ordering::Relaxed);
        expected
    }

    /// Whether it has rung since this was last asked.
    pub fn has_rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Relaxed)
    }

    /// Whether the codec may be answering of its own accord: it speaks HTTP/1, and no request is in flight.
    pub fn is_between_requests(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0 && !self.multiplexed.load(Ordering::Relaxed)
    }

    /// The codec has refused a head before there was a request. What the client still sends is part of that head.
    pub fn note_refusal(&self, reason: Reason) {
        self.heard();
        let _ = self.refused.set(reason);
    }

    /// Why the codec has refused a head, if it did.
    pub fn refusal(&self) -> Option<Reason> {
        self.refused.get().copied()
    }

    /// Leaves an interim response (RFC 9110 §15.2) to be written before anything else.
    pub fn push_interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut text =
            format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
        for (name, value) in headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        self.interim.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&text);
        self.has_interim.store(true, Ordering::Release);
    }

    /// What waits to be written before anything else.
    pub fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Ordering::Acquire) {
            return None;
        }
        self.has_interim.store(false, Ordering::Release);
        Some(std::mem::take(&mut *self.interim.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The peer's address, as fields say it.
    pub fn peer(&self) -> &HeaderValue {
        &self.peer
    }

    fn elapsed(&self) -> u64 {
        self.millis(clock::now())
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or_default()
    }

    fn at(&self, millis: u64) -> Instant {
        self.opened + Duration::from_millis(if millis == NOT_ASKED { 0 } else { millis })
    }
}

impl Busy {
    /// The connection.
    pub fn client(&self) -> &Arc<Client> {
        &self.0
    }

    /// The request is over, at this time.
    pub fn end(&self, now: Instant) {
        self.0.since.store(self.0.millis(now), Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
