//! The trace of each request: that of a trusted peer goes on, otherwise one begins, and the upstream is told of it. What
//! is recorded is decided at the head: by the peer's word, or by a share of the traces that begin here; where errors are
//! wanted in any case, everything is noted and only they are kept. `spans` makes of the notes what a collector reads.
//!
//! A route has this layer where traces have somewhere to go. Otherwise `traceparent` passes as it came, for the price of
//! a comparison.

mod spans;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::gate::Gate;
use crate::base::clock;
use crate::base::exchange::{End, Exchange, Observer};
use crate::base::headers::{TRACEPARENT, TRACESTATE};
use crate::base::reject::Reject;
use crate::base::request::{Outcome, Request};
use crate::base::trace::{RANDOM, SAMPLED, Trace as Place};
use crate::telemetry::otlp::Exporter;

/// Bits of a trace's id that decide whether it is recorded: those that are random in every id that has any (W3C Trace
/// Context level 2 §3.2.2.3.1), so that gateways with one share agree.
const DECIDING: u32 = 56;

/// Makes ids, and has what is recorded sent.
#[derive(Debug)]
pub struct Tracer {
    /// Random bits, from one generator per worker.
    randomness: Box<[Mutex<fastrand::Rng>]>,
    /// Of 2⁵⁶ traces that begin here, so many are recorded.
    share: AtomicU64,
    /// Whether requests that fail are recorded in any case.
    errors: bool,
    exporter: Exporter,
}

impl Tracer {
    /// For as many workers as there are seeds.
    pub fn new(seeds: impl IntoIterator<Item = u64>, sample: f64, errors: bool, exporter: Exporter) -> Self {
        let randomness = seeds.into_iter().map(|seed| Mutex::new(fastrand::Rng::with_seed(seed))).collect();
        let share = (sample.clamp(0.0, 1.0) * (1_u64 << DECIDING) as f64) as u64;
        Self { randomness, share: AtomicU64::new(share), errors, exporter }
    }

    /// A trace and a span in it.
    fn ids(&self, worker: usize) -> (u128, u64) {
        let Some(slot) = self.randomness.get(worker).or(self.randomness.first()) else { return (1, 1) };
        let mut random = slot.lock().unwrap_or_else(PoisonError::into_inner);
        (random.u128(1..), random.u64(1..))
    }

    fn begin(&self, brought: Option<Place>, worker: usize) -> Place {
        let (id, span) = self.ids(worker);
        let mut place = brought.map_or_else(
            || {
                let decided = (id as u64) & ((1 << DECIDING) - 1) < self.share.load(Ordering::Relaxed);
                Place { id, span, parent: 0, flags: RANDOM | if decided { SAMPLED } else { 0 }, record: None }
            },
            |brought| Place { span, ..brought },
        );
        if place.is_sampled() || self.errors {
            place.record = Some(Box::default());
        }
        place
    }

    /// Whether what was noted of a request is sent.
    fn wants(&self, exchange: &Exchange, place: &Place) -> bool {
        place.is_sampled() || self.errors && failed(exchange)
    }
}

/// Whether a request failed, and not because of the client.
fn failed(exchange: &Exchange) -> bool {
    let broken = matches!(exchange.answer.end, End::UpstreamReset | End::Timeout | End::Panic);
    exchange.answer.status >= 500 || broken
}

/// The traces of one route.
#[derive(Debug)]
pub struct Trace {
    tracer: Arc<Tracer>,
    /// The paths that it takes, as one text: `/orders/*`.
    path: Option<Box<str>>,
}

impl Trace {
    /// For a route that takes these paths, or for what no route takes.
    pub fn new(tracer: Arc<Tracer>, path: Option<Box<str>>) -> Arc<Self> {
        Arc::new(Self { tracer, path })
    }
}

/// The gate of all routes with one tracer.
#[derive(Debug)]
pub struct TraceGate(pub Arc<Trace>);

impl Gate for TraceGate {
    type Pass = ();

    fn finishes(&self, (): &()) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        let Request { head, exchange, .. } = request;
        let tracer = &self.0.tracer;
        // What a trusted peer brought has been read with its request's id.
        let brought = exchange.trace.take();
        let place = match brought {
            Some(brought) => tracer.begin(Some(brought), exchange.origin.worker),
            None => {
                let stranger = exchange.survey.trace.then(|| head.headers.get(TRACEPARENT)).flatten();
                let linked = stranger.and_then(|field| Place::parse(field.as_bytes()));
                let mut place = tracer.begin(None, exchange.origin.worker);
                if let (Some(record), Some(linked)) = (&mut place.record, linked) {
                    record.linked = Some((linked.id, linked.parent));
                }
                if exchange.survey.trace {
                    head.headers.remove(TRACESTATE);
                }
                place
            }
        };
        if exchange.survey.trace {
            head.headers.remove(TRACEPARENT);
        }
        if place.record.is_some() {
            exchange.observe(self.0.clone());
        }
        exchange.trace = Some(place);
        Ok(())
    }
}

impl Observer for Trace {
    fn ended(&self, exchange: &Exchange) {
        let Some(place) = exchange.trace.as_ref().filter(|place| self.tracer.wants(exchange, place)) else { return };
        let Some(record) = &place.record else { return };
        let now = (clock::now(), clock::since_1970());
        self.tracer.exporter.send(spans::of(exchange, place, record, self.path.as_deref(), now));
    }
}

/// Whether a step was noted.
#[derive(Clone, Copy, Debug)]
pub struct Noted(bool);

/// Notes how long something takes that a request passes: from here until the next step begins, or until the outcome comes
/// back.
#[derive(Debug)]
pub struct Step(pub &'static str);

impl Gate for Step {
    type Pass = Noted;

    fn check(&self, request: &mut Request) -> Result<Noted, Reject> {
        let Some(place) = request.exchange.trace.as_mut().filter(|place| place.record.is_some()) else {
            return Ok(Noted(false));
        };
        place.begin(self.0, clock::now(), None);
        Ok(Noted(true))
    }

    fn finishes(&self, noted: &Noted) -> bool {
        noted.0
    }

    fn finish(&self, _: Noted, outcome: &mut Outcome) {
        let (exchange, failure) = match outcome {
            Ok(response) => (&mut response.exchange, None),
            Err(refused) => (&mut refused.exchange, Some(refused.reject.reason.facts().code)),
        };
        if let Some(place) = exchange.trace.as_mut().filter(|place| place.record.is_some()) {
            place.end(clock::now(), failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::{Collector, Exports};
    use crate::telemetry::recorder::Recorder;

    fn tracer(sample: f64, errors: bool) -> (Tracer, tokio::runtime::Runtime) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let collector = Collector { url: "http://127.0.0.1:9".to_owned(), headers: Vec::new(), resource: Vec::new() };
        let exporter = Exporter::start(collector, &Exports::new(&Recorder::default()), runtime.handle());
        (Tracer::new([1, 2], sample, errors, exporter), runtime)
    }

    #[test]
    fn a_share_of_the_traces_that_begin_is_recorded() {
        let (half, _runtime) = tracer(0.5, false);
        let places: Vec<Place> = (0..1000).map(|number| half.begin(None, number % 2)).collect();
        let sampled = places.iter().filter(|place| place.is_sampled()).count();
        assert!((400..600).contains(&sampled), "{sampled}");
        assert!(places.iter().all(|place| place.is_sampled() == place.record.is_some() && place.takes_part()));
        let mut ids: Vec<u128> = places.iter().map(|place| place.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1000);
        let (none, _runtime) = tracer(0.0, false);
        assert!((0..100).all(|_| !none.begin(None, 0).is_sampled()));
        let (all, _runtime) = tracer(1.0, false);
        assert!((0..100).all(|_| all.begin(None, 0).is_sampled()));
    }

    #[test]
    fn the_word_of_who_began_a_trace_counts() {
        let brought =
            |flags: &str| Place::parse(format!("00-{}-{}-{flags}", "a".repeat(32), "b".repeat(16)).as_bytes());
        let (all, _runtime) = tracer(1.0, false);
        let place = all.begin(brought("00"), 0);
        assert!(!place.is_sampled() && place.record.is_none() && place.takes_part());
        assert_eq!((place.id, place.parent), (u128::MAX / 15 * 10, u64::MAX / 15 * 11));
        let (none, _runtime) = tracer(0.0, false);
        assert!(none.begin(brought("01"), 0).record.is_some());
        let (errors, _runtime) = tracer(0.0, true);
        let place = errors.begin(brought("00"), 0);
        assert!(place.record.is_some() && !place.is_sampled(), "noted, in case it fails");
    }
}
