//! Counts requests. Everything is counted when an exchange is over, however it ended, by handles that were fetched when
//! the route was built.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use metrics::{Counter, Gauge};

use super::gate::Gate;
use crate::base::exchange::{Exchange, Observer};
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::telemetry::histogram::{BOUNDS, Histogram};
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// Methods with a label of their own; whatever else clients invent is `OTHER`.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "OTHER"];
/// Statuses whose handles are kept; the others are looked up when they occur.
const STATUSES: [u16; 32] = [
    101, 200, 201, 202, 203, 204, 206, 207, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 412,
    413, 415, 422, 429, 431, 500, 502, 503, 504,
];

/// The errors that a route's clients got. The registry's counters cannot be read, and only errors come here, so that
/// the others cost nothing.
#[derive(Debug, Default)]
pub struct Errors {
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
    requests: [OnceLock<Box<[OnceLock<Counter>; STATUSES.len()]>>; METHODS.len()],
    duration: Arc<Histogram>,
    in_flight: Gauge,
    errors: Arc<Errors>,
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RouteMetrics({})", self.route)
    }
}

impl RouteMetrics {
    /// Fetches the handles of a route, which goes on with these errors.
    pub fn new(route: &Arc<str>, recorder: &Arc<Recorder>, errors: Arc<Errors>) -> Self {
        Self {
            route: route.clone(),
            recorder: recorder.clone(),
            requests: Default::default(),
            duration: recorder.histogram(names::REQUEST_DURATION, &[route]),
            in_flight: recorder.gauge(names::REQUESTS_IN_FLIGHT, &[route]),
            errors,
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
        let lookup = || {
            let status = if status == 0 { "none".to_owned() } else { status.to_string() };
            self.recorder.counter(names::REQUESTS, &[&self.route, METHODS[method], &status])
        };
        match STATUSES.binary_search(&status) {
            Ok(index) => self.requests[method].get_or_init(Default::default)[index].get_or_init(lookup).increment(1),
            Err(_) => lookup().increment(1),
        }
    }
}

impl Observer for RouteMetrics {
    fn ended(&self, exchange: &Exchange) {
        let took = exchange.ended.saturating_duration_since(exchange.started);
        self.count(&exchange.method, exchange.answer.status, took);
        if let Some(reason) = exchange.answer.reason {
            self.recorder.counter(names::REFUSALS, &[&self.route, reason.facts().code, "enforce"]).increment(1);
        }
    }
}

/// Counts the requests of one route.
#[derive(Debug)]
pub struct Metrics(pub Arc<RouteMetrics>);

impl Gate for Metrics {
    type Pass = ();

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
    }

    #[test]
    fn requests_are_counted_by_method_and_status() {
        let recorder = Arc::new(Recorder::default());
        let metrics = RouteMetrics::new(&"r".into(), &recorder, Arc::default());
        for status in [200, 200, 418, 0] {
            metrics.in_flight.increment(1.0);
            metrics.count(&Method::GET, status, Duration::from_millis(1));
        }
        metrics.in_flight.increment(2.0);
        metrics.count(&Method::from_bytes(b"BREW").unwrap(), 200, Duration::from_millis(1));
        let page = recorder.render();
        for line in [
            "tollgate_requests_total{route=\"r\",method=\"GET\",status=\"200\"} 2",
            "tollgate_requests_total{route=\"r\",method=\"GET\",status=\"418\"} 1",
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
