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
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
    /// The peer's address as fields say it: the same for each request, so written once.
    peer: HeaderValue,
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

/// A request of the connection that is not over.
#[derive(Debug)]
pub struct Busy(Arc<Client>);

impl Client {
    /// A connection that was just accepted; it holds its seats as long as anything of it lives.
    pub fn new(peer: IpAddr, seats: Vec<Seat>) -> Arc<Self> {
        Arc::new(Self {
            opened: clock::now(),
            in_flight: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            reading_head: AtomicBool::new(true),
            multiplexed: AtomicBool::new(false),
            stalled: AtomicU64::new(0),
            timed: AtomicBool::new(false),
            expected: AtomicU64::new(NOT_ASKED),
            rung: AtomicBool::new(false),
            upload: Mutex::default(),
            has_upload: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            refused: OnceLock::new(),
            interim: Mutex::default(),
            has_interim: AtomicBool::new(false),
            peer: HeaderValue::try_from(peer.to_canonical().to_string()).unwrap_or(UNKNOWN),
            _seats: seats,
        })
    }

    /// A request head is complete.
    pub fn begin(self: &Arc<Self>, multiplexed: bool) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.reading_head.store(false, Ordering::Relaxed);
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
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

    /// The client takes no more bytes for now, or takes them again.
    pub fn set_stalled(&self, stalled: bool) {
        let known = self.stalled.load(Ordering::Relaxed) > 0;
        match (stalled, known) {
            (true, false) => self.stalled.store(self.elapsed() + 1, Ordering::Relaxed),
            (false, true) => self.stalled.store(0, Ordering::Relaxed),
            _ => {}
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

    /// Since when the client has not been reading what is there for it.
    pub fn stalled_since(&self) -> Option<Instant> {
        self.stalled.load(Ordering::Relaxed).checked_sub(1).map(|millis| self.at(millis))
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
mod tests {
    use super::*;

    #[test]
    fn a_connection_reads_a_head_works_and_idles() {
        let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
        assert_eq!(client.phase().0, Phase::Head);
        let busy = client.begin(false);
        client.heard();
        assert_eq!(client.phase().0, Phase::Busy);
        drop(busy);
        assert_eq!(client.phase().0, Phase::Idle);
        client.heard();
        assert_eq!(client.phase().0, Phase::Head);
    }

    #[test]
    fn a_multiplexed_connection_is_idle_whatever_it_hears() {
        let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
        let (one, two) = (client.begin(true), client.begin(true));
        drop(one);
        assert_eq!(client.phase().0, Phase::Busy);
        drop(two);
        client.heard();
        assert_eq!(client.phase().0, Phase::Idle);
    }

    #[test]
    fn interim_responses_are_taken_once() {
        let client = Client::new(IpAddr::from([127, 0, 0, 1]), Vec::new());
        let mut headers = HeaderMap::new();
        headers.append("link", "</a.css>; rel=preload".parse().unwrap());
        client.push_interim(StatusCode::EARLY_HINTS, &headers);
        let text = client.take_interim().unwrap();
        assert_eq!(text, b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
        assert_eq!(client.take_interim(), None);
    }
}
