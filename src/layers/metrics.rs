//! Counts requests. Everything is counted when an exchange is over, however it ended, by handles that were fetched when
//! the route was built.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use metrics::{Counter, Gauge};

use super::gate::Gate;
use crate::base::clock;
use crate::base::exchange::{Exchange, Observer};
use crate::base::mode::Mode;
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::telemetry::histogram::{BOUNDS, Histogram};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;
use crate::telemetry::refusals::Refusals;

/// Methods with a label of their own; whatever else clients invent is `OTHER`.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "OTHER"];
/// Statuses with a label of their own: those that are registered (RFC 9110 §16.2) and can be a request's last.
const STATUSES: [u16; 59] = [
    101, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403,
    404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429,
    431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];
/// What stands for the others, which an upstream can invent by the hundred; the first is for those who left before any.
const CLASSES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "other"];
/// How many values the label `status` can have.
pub const STATUS_LABELS: usize = STATUSES.len() + CLASSES.len();

/// The errors that a route's clients got. The registry's counters cannot be read, and only errors come here, so that
/// the others cost nothing.
#[derive(Debug, Default)]
struct Errors {
    client: AtomicU64,
    server: AtomicU64,
}

/// The numbers of one route at one moment, each counted from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests by how long they took, as the buckets of the histogram have it.
    pub took: [u64; BOUNDS.len() + 1],
    /// Those that were answered with 400 to 499.
    pub client_errors: u64,
    /// Those that were answered with 500 or more.
    pub server_errors: u64,
}

/// The metrics of one route.
pub struct RouteMetrics {
    route: Arc<str>,
    recorder: Arc<Recorder>,
    requests: [OnceLock<Box<[OnceLock<Counter>; STATUS_LABELS]>>; METHODS.len()],
    refusals: Refusals,
    duration: Arc<Histogram>,
    in_flight: Gauge,
    errors: Errors,
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RouteMetrics({})", self.route)
    }
}

impl RouteMetrics {
    /// Fetches the handles of a route. Those of what may never happen are fetched when it does, once.
    pub fn new(route: &Arc<str>, recorder: &Arc<Recorder>) -> Self {
        Self {
            route: route.clone(),
            recorder: recorder.clone(),
            requests: Default::default(),
            refusals: Refusals::new(route, Mode::Enforce, recorder),
            duration: recorder.histogram(names::REQUEST_DURATION, &[route]),
            in_flight: recorder.gauge(names::REQUESTS_IN_FLIGHT, &[route]),
            errors: Errors::default(),
        }
    }

    /// The route's name.
    pub fn route(&self) -> &Arc<str> {
        &self.route
    }

    /// The numbers now.
    pub fn read(&self) -> Reading {
        Reading {
            took: self.duration.counts(),
            client_errors: self.errors.client.load(Ordering::Relaxed),
            server_errors: self.errors.server.load(Ordering::Relaxed),
        }
    }

    fn count(&self, method: &Method, status: u16, took: Duration) {
        self.in_flight.decrement(1.0);
        self.duration.record(took);
        match status {
            0..400 => {}
            400..500 => drop(self.errors.client.fetch_add(1, Ordering::Relaxed)),
            _ => drop(self.errors.server.fetch_add(1, Ordering::Relaxed)),
        }
        let method = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        let label = status_label(status);
        let lookup = || {
            let word = STATUSES.get(label).map_or_else(|| CLASSES[label - STATUSES.len()].to_owned(), u16::to_string);
            self.recorder.counter(names::REQUESTS, &[&self.route, METHODS[method], &word])
        };
        let of_method = self.requests[method].get_or_init(|| Box::new([const { OnceLock::new() }; STATUS_LABELS]));
        of_method[label].get_or_init(lookup).increment(1);
    }
}

/// The place of a status among the values of its label.
fn status_label(status: u16) -> usize {
    STATUSES.binary_search(&status).unwrap_or_else(|_| {
        let class = usize::from(status / 100);
        STATUSES.len() + class.min(CLASSES.len() - 1)
    })
}

impl Observer for RouteMetrics {
    fn ended(&self, exchange: &Exchange) {
        let took = exchange.ended.saturating_duration_since(exchange.started);
        self.count(&exchange.method, exchange.answer.status, took);
        if let Some(trace) = exchange.sampled_trace() {
            self.duration.example(took, trace, clock::since_1970());
        }
        if let Some(reason) = exchange.answer.reason {
            self.refusals.count(reason);
        }
    }
}

/// Counts the requests of one route.
#[derive(Debug)]
pub struct Metrics(pub Arc<RouteMetrics>);

impl Gate for Metrics {
    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        self.0.in_flight.increment(1.0);
        request.exchange.observe(self.0.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_can_be_searched() {
        assert!(STATUSES.is_sorted());
        for (status, word) in [(0, "none"), (100, "1xx"), (299, "2xx"), (520, "5xx"), (600, "other"), (999, "other")] {
            assert_eq!(CLASSES[status_label(status) - STATUSES.len()], word);
        }
        assert_eq!(STATUSES[status_label(404)], 404);
        // What the `http` crate has a name for is registered.
        let named = |status: &u16| http::StatusCode::from_u16(*status).unwrap().canonical_reason().is_some();
        assert!((200..1000).filter(named).all(|status| STATUSES.contains(&status)));
    }

    #[test]
    fn requests_are_counted_by_method_and_status() {
        let recorder = Arc::new(Recorder::default());
        let metrics = RouteMetrics::new(&"r".into(), &recorder);
        for status in [200, 200, 499, 0] {
            metrics.in_flight.increment(1.0);
            metrics.count(&Method::GET, status, Duration::from_millis(1));
        }
        metrics.in_flight.increment(2.0);
        metrics.count(&Method::from_bytes(b"BREW").unwrap(), 200, Duration::from_millis(1));
        let page = recorder.render();
        for line in [
            "tollgate_requests_total{route=\"r\",method=\"GET\",status=\"200\"} 2",
            "tollgate_requests_total{route=\"r\",method=\"GET\",status=\"4xx\"} 1",
            "tollgate_requests_total{route=\"r\",method=\"GET\",status=\"none\"} 1",
            "tollgate_requests_total{route=\"r\",method=\"OTHER\",status=\"200\"} 1",
            "tollgate_requests_in_flight{route=\"r\"} 1",
            "tollgate_request_duration_seconds_count{route=\"r\"} 5",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        let reading = metrics.read();
        assert_eq!((reading.took.iter().sum::<u64>(), reading.client_errors, reading.server_errors), (5, 1, 0));
    }
}
