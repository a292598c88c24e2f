//! Gives each request an id: the one that a trusted proxy brought, or a new UUID (version 7, RFC 9562 §5.7), shown to
//! the upstream and to the client. Reads which trace it belongs to, where a trusted proxy says so.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::response::Parts;
use uuid::fmt::Hyphenated;

use super::gate::Gate;
use crate::base::exchange::Exchange;
use crate::base::headers::{TRACEPARENT, X_REQUEST_ID};
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::base::trace::Trace;

/// Longest id that is taken over from a trusted proxy, in bytes.
const LONGEST: usize = 128;
/// Bytes of a block of ids: few enough to be held by a request that lasts.
const BLOCK: usize = 1024;

/// The policy: there is only one.
#[derive(Debug)]
pub struct RequestId {
    slots: Box<[Mutex<Slot>]>,
    /// One moment on both clocks: the time of an id then costs no reading of a clock.
    anchor: (Instant, Duration),
}

/// What a worker keeps.
#[derive(Debug)]
struct Slot {
    random: fastrand::Rng,
    /// Ids lie side by side in one block: each in its own was two allocations a request, since an id is shared by head,
    /// log and answer.
    block: BytesMut,
}

impl Slot {
    fn id(&mut self, now: Duration) -> Bytes {
        let mut bits = [0; 10];
        self.random.fill(&mut bits);
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid();
        if self.block.capacity() < Hyphenated::LENGTH {
            self.block.reserve(BLOCK);
        }
        self.block.extend_from_slice(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
        self.block.split().freeze()
    }
}

impl RequestId {
    /// Ids for the requests of as many workers as there are seeds. `anchor` is one moment, as the monotonic clock says
    /// it and as time since the epoch.
    pub fn new(seeds: impl IntoIterator<Item = u64>, anchor: (Instant, Duration)) -> Self {
        let slot = |seed| Slot { random: fastrand::Rng::with_seed(seed), block: BytesMut::new() };
        Self { anchor, slots: seeds.into_iter().map(|seed| Mutex::new(slot(seed))).collect() }
    }

    /// A new id.
    pub fn generate(&self, worker: usize, now: Duration) -> Option<HeaderValue> {
        let slot = self.slots.get(worker).or(self.slots.first())?;
        let id = slot.lock().unwrap_or_else(PoisonError::into_inner).id(now);
        HeaderValue::from_maybe_shared(id).ok()
    }
}

impl Gate for RequestId {
    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        let present = request.exchange.survey.request_id;
        let believed = present && request.exchange.origin.trusted;
        let brought = believed.then(|| request.head.headers.get(X_REQUEST_ID)).flatten();
        let brought = brought.filter(|id| is_sound(id)).cloned();
        let id = brought.or_else(|| {
            let (moment, epoch) = self.anchor;
            let now = epoch + request.exchange.started.saturating_duration_since(moment);
            self.generate(request.exchange.origin.worker, now)
        });
        if request.exchange.survey.trace && request.exchange.origin.trusted {
            let mut fields = request.head.headers.get_all(TRACEPARENT).iter();
            let only = fields.next().filter(|_| fields.next().is_none());
            request.exchange.trace = only.and_then(|field| Trace::parse(field.as_bytes()));
        }
        if let Some(id) = id {
            if present {
                request.head.headers.insert(X_REQUEST_ID, id.clone()); // otherwise it is added on the way out
            }
            request.exchange.id = Some(id);
        }
        Ok(())
    }
}

/// Tells the client the id of its request. A refusal tells it by itself.
pub fn tell(head: &mut Parts, exchange: &Exchange) {
    if let Some(id) = &exchange.id {
        head.headers.insert(X_REQUEST_ID, id.clone());
    }
}

fn is_sound(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn ids_are_version_7_and_differ() {
        let ids = RequestId::new([1, 2], (clock::now(), Duration::ZERO));
        let now = Duration::from_millis(0x0123_4567_89ab);
        let one = ids.generate(0, now).unwrap();
        let text = one.to_str().unwrap();
        assert!(text.starts_with("01234567-89ab-7") && text.len() == 36, "{text}");
        assert_ne!(one, ids.generate(0, now).unwrap());
        assert_ne!(ids.generate(1, now), ids.generate(9, now));
    }

    #[test]
    fn an_id_that_could_break_a_log_is_not_taken_over() {
        for (id, sound) in [("abc-1", true), ("a b", false), ("a\"b", false), ("a\\b", false), ("", false)] {
            assert_eq!(is_sound(&HeaderValue::from_str(id).unwrap()), sound, "{id}");
        }
        assert!(!is_sound(&HeaderValue::from_str(&"x".repeat(129)).unwrap()));
    }
}
