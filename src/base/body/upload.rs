//! Request bodies: what keeps a client to its limit and its pace while its bytes stream by.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use super::replay::Lent;
use crate::base::alarm::Alarm;
use crate::base::clock;
use crate::base::headers;
use crate::base::identity::Reserved;

/// What is shared between a request body on its way and the exchange that it belongs to.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes that arrived.
    pub bytes: AtomicU64,
    done: AtomicBool,
    failure: AtomicU8,
    /// Whether somebody has asked for more and the client has not sent it.
    waiting: AtomicBool,
    /// Milliseconds from the start of the body to its latest progress.
    progress: AtomicU64,
}

/// How a request body failed; always the client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    /// See [`BodyError::TooLarge`].
    TooLarge,
    /// See [`BodyError::TooSlow`].
    TooSlow,
    /// See [`BodyError::Broken`].
    Broken,
}

impl Meter {
    /// Whether the body has arrived whole.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// How the body failed, if it did.
    pub fn failure(&self) -> Option<BodyFailure> {
        match self.failure.load(Ordering::Relaxed) {
            1 => Some(BodyFailure::TooLarge),
            2 => Some(BodyFailure::TooSlow),
            3 => Some(BodyFailure::Broken),
            _ => None,
        }
    }

    /// Whether it is the client that everybody waits for.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How long after its start the body last made progress.
    pub fn progress(&self) -> Duration {
        Duration::from_millis(self.progress.load(Ordering::Relaxed))
    }

    fn fail(&self, error: BodyError) -> BodyError {
        let failure = match error {
            BodyError::TooLarge => 1,
            BodyError::TooSlow => 2,
            BodyError::Broken(_) => 3,
        };
        self.failure.store(failure, Ordering::Relaxed);
        error
    }
}

/// The pace that a client must keep: with the bodies that it sends, and with those that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Longest time without a byte; zero means for ever.
    pub idle: Duration,
    /// Bytes per second of waiting, averaged from the start; 0 means any.
    pub min_rate: u64,
    /// Waiting that is free before `min_rate` counts.
    pub grace: Duration,
}

impl Pace {
    /// How much longer the client may keep us waiting, having sent or taken `bytes` in `waited` seconds of waiting, the
    /// last of them for `idle` without a byte. Time in which nobody asked for more does not count.
    pub fn patience(&self, bytes: u64, waited: Duration, idle: Duration) -> Option<Duration> {
        let by_idle = (!self.idle.is_zero()).then(|| self.idle.saturating_sub(idle));
        let by_rate = (self.min_rate > 0).then(|| {
            let earned = Duration::from_millis(bytes.saturating_mul(1000) / self.min_rate);
            earned.max(self.grace).saturating_sub(waited)
        });
        match (by_idle, by_rate) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

/// A request body on its way to an upstream.
#[derive(Debug, Default)]
pub struct RequestBody(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    /// Goes out once.
    Own(Box<Metered>),
    /// May go out again.
    Lent(Lent),
}

#[derive(Debug)]
pub(super) struct Metered {
    incoming: Incoming,
    meter: Arc<Meter>,
    limit: u64,
    pace: Pace,
    started: Instant,
    /// Since when the client keeps us waiting.
    waiting_since: Option<Instant>,
    waited: Duration,
    alarm: Alarm,
    /// What its trailers must not say.
    withheld: Reserved,
}

impl RequestBody {
    /// No body at all.
    pub const EMPTY: Self = Self(Kind::Empty);

    /// A body as it comes in; one that is at its end already is none.
    pub fn new(incoming: Incoming, pace: Pace) -> Self {
        if incoming.is_end_stream() {
            return Self::EMPTY;
        }
        Self(Kind::Own(Box::new(Metered {
            incoming,
            meter: Arc::default(),
            limit: u64::MAX,
            pace,
            started: clock::now(),
            waiting_since: None,
            waited: Duration::ZERO,
            alarm: Alarm::default(),
            withheld: Reserved::default(),
        })))
    }

    pub(super) fn lent(lent: Lent) -> Self {
        Self(Kind::Lent(lent))
    }

    /// The body, where nobody shares it yet.
    pub(super) fn take_own(&mut self) -> Option<Box<Metered>> {
        match std::mem::take(&mut self.0) {
            Kind::Own(body) => Some(body),
            other => {
                self.0 = other;
                None
            }
        }
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Kind::Empty)
    }

    /// The meter, where there is a body that has not been shared yet.
    pub fn meter(&self) -> Option<Arc<Meter>> {
        match &self.0 {
            Kind::Own(body) => Some(body.meter.clone()),
            _ => None,
        }
    }

    /// Cuts the body off after this many bytes.
    pub fn limit(&mut self, bytes: u64) {
        if let Kind::Own(body) = &mut self.0 {
            body.limit = bytes;
        }
    }

    /// Takes these fields out of its trailers: a server may merge them into the head.
    pub fn withhold(&mut self, reserved: &Reserved) {
        if let Kind::Own(body) = &mut self.0 {
            body.withheld = reserved.clone();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Own(body) => body.poll(cx),
            Kind::Lent(lent) => lent.poll(cx),
            Kind::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_at_end(),
            Kind::Lent(lent) => lent.is_end_stream(),
            Kind::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(body) => body.length(),
            Kind::Lent(lent) => lent.size_hint(),
            Kind::Empty => SizeHint::with_exact(0),
        }
    }
}

impl Metered {
    pub(super) fn is_at_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// How much is to come, where that is known.
    pub(super) fn length(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.meter.waiting.store(polled.is_pending(), Ordering::Relaxed);
        let Poll::Ready(frame) = polled else {
            return self.wait(cx);
        };
        let now = clock::now();
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        let since_start = now.saturating_duration_since(self.started).as_millis();
        self.meter.progress.store(u64::try_from(since_start).unwrap_or(u64::MAX), Ordering::Relaxed);
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(self.count(frame)),
            Some(Err(error)) => Some(Err(self.meter.fail(BodyError::Broken(error.into())))),
            None => {
                self.meter.done.store(true, Ordering::Relaxed);
                None
            }
        })
    }

    fn count(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        if let Some(trailers) = frame.trailers_mut() {
            headers::clean_trailers(trailers);
            self.withheld.remove_from(trailers, true);
        }
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let before = self.meter.bytes.fetch_add(length, Ordering::Relaxed);
        if before + length > self.limit {
            return Err(self.meter.fail(BodyError::TooLarge));
        }
        // Nothing comes behind trailers, and whoever has them does not ask again.
        if frame.is_trailers() || self.incoming.is_end_stream() {
            self.meter.done.store(true, Ordering::Relaxed);
        }
        Ok(frame)
    }

    /// The client keeps us waiting: allow it what is left of its patience.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let now = clock::now();
        let new = self.waiting_since.is_none();
        let since = *self.waiting_since.get_or_insert(now);
        let idle = now.saturating_duration_since(since);
        let bytes = self.meter.bytes.load(Ordering::Relaxed);
        let Some(patience) = self.pace.patience(bytes, self.waited + idle, idle) else {
            return Poll::Pending;
        };
        if new {
            self.alarm.set(now + patience);
        }
        self.alarm.poll(cx).map(|()| Some(Err(self.meter.fail(BodyError::TooSlow))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_that_stands_still_has_its_idle_time() {
        let pace = Pace { idle: secs(30), min_rate: 0, grace: secs(5) };
        assert_eq!(pace.patience(0, secs(100), secs(10)), Some(secs(20)));
        assert_eq!(pace.patience(0, secs(100), secs(31)), Some(secs(0)));
    }

    #[test]
    fn a_client_that_trickles_earns_its_time_with_bytes() {
        let pace = Pace { idle: secs(30), min_rate: 1024, grace: secs(5) };
        assert_eq!(pace.patience(1, secs(4), secs(0)), Some(secs(1)));
        assert_eq!(pace.patience(1, secs(6), secs(0)), Some(secs(0)));
        assert_eq!(pace.patience(1024 * 20, secs(6), secs(0)), Some(secs(14)));
    }

    #[test]
    fn without_limits_patience_has_no_end() {
        let pace = Pace { idle: secs(0), min_rate: 0, grace: secs(5) };
        assert_eq!(pace.patience(0, secs(1000), secs(1000)), None);
    }
}
