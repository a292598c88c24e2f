//! What is known of a gateway: its state as it was told, changed by each frame, and the numbers of the last seconds. The
//! same reckoning as the status page's. Knows nothing of how it is shown.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Time that a number is the average of, in milliseconds.
const RECENT: u64 = 10_000;

/// A gateway, as far as it has been heard of.
#[derive(Debug, Default)]
pub(super) struct Model {
    status: Value,
    frames: VecDeque<Frame>,
    /// How many requests each address has had, by upstream and time.
    counts: BTreeMap<String, VecDeque<Counts>>,
    bounds: Vec<f64>,
    period: f64,
    /// When it was heard last, and when it last told for how long it has been up.
    heard: Option<Instant>,
    told_uptime: Option<Instant>,
}

/// When, and how many requests each address had had by then.
type Counts = (u64, HashMap<String, u64>);

/// The numbers of one period.
#[derive(Debug)]
struct Frame {
    time: u64,
    routes: HashMap<String, Point>,
}

/// What happened on a route.
#[derive(Clone, Debug, Default)]
struct Point {
    client: u64,
    server: u64,
    /// Requests by the bucket of the time that they took.
    took: BTreeMap<usize, u64>,
}

/// What has happened of late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Recent {
    /// Requests.
    pub(super) requests: u64,
    /// The same, each second.
    pub(super) rate: f64,
    /// The share of client errors, and of server errors.
    pub(super) client: f64,
    pub(super) server: f64,
    /// Latency in seconds.
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

impl Model {
    /// Takes an event of the feed; what is none is passed over.
    pub(super) fn hear(&mut self, name: &str, mut data: Value, now: Instant) {
        match name {
            "snapshot" => {
                self.bounds =
                    data["bounds_seconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
                self.period = data["period_seconds"].as_f64().unwrap_or(1.0);
                self.status = take(&mut data, "status");
                self.told_uptime = Some(now);
                self.counts.clear();
                let history = take(&mut data, "history");
                let frames = history.as_array().into_iter().flatten();
                self.frames = frames.map(Frame::read).collect();
            }
            "frame" => {
                self.frames.push_back(Frame::read(&data));
                if data["status"].get("uptime_seconds").is_some() {
                    self.told_uptime = Some(now);
                }
                merge(&mut self.status, take(&mut data, "status"));
                self.change_upstreams(&mut data);
            }
            _ => return,
        }
        self.heard = Some(now);
        let latest = data["time"].as_u64().unwrap_or_default();
        while self.frames.front().is_some_and(|frame| latest.saturating_sub(frame.time) >= RECENT) {
            self.frames.pop_front();
        }
        self.count(latest);
    }

    fn change_upstreams(&mut self, data: &mut Value) {
        let Some(upstreams) = self.status.get_mut("upstreams").and_then(Value::as_array_mut) else { return };
        for whole in take(data, "replaced").as_array_mut().into_iter().flatten() {
            match upstreams.iter_mut().find(|one| one["name"] == whole["name"]) {
                Some(old) => *old = whole.take(),
                None => upstreams.push(whole.take()),
            }
        }
        for (name, patch) in take(data, "upstreams").as_object_mut().into_iter().flatten() {
            let Some(upstream) = upstreams.iter_mut().find(|one| one["name"] == **name) else { continue };
            let addresses = patch.as_object_mut().and_then(|patch| patch.remove("addresses"));
            merge(upstream, patch.take());
            for (place, patch) in addresses.as_ref().and_then(Value::as_object).into_iter().flatten() {
                let known = place.parse::<usize>().ok().and_then(|place| upstream.get_mut("addresses")?.get_mut(place));
                known.into_iter().for_each(|known| merge(known, patch.clone()));
            }
        }
    }

    /// Remembers how many requests each address has had, to tell the rates of late from it.
    fn count(&mut self, time: u64) {
        for upstream in self.status["upstreams"].as_array().into_iter().flatten() {
            let name = upstream["name"].as_str().unwrap_or_default();
            let of = |one: &Value| (place(one), one["requests"].as_u64().unwrap_or_default());
            let counts = addresses(upstream).map(of).collect();
            let known = self.counts.entry(name.to_owned()).or_default();
            known.push_back((time, counts));
            while known.len() > 2 && time.saturating_sub(known[1].0) >= RECENT {
                known.pop_front();
            }
        }
    }

    /// The state: the members of `/api/v1/status`.
    pub(super) fn status(&self) -> &Value {
        &self.status
    }

    /// When it was heard last.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// For how long it has been up.
    pub(super) fn uptime(&self, now: Instant) -> Duration {
        let told = Duration::from_secs(self.status["uptime_seconds"].as_u64().unwrap_or_default());
        told + self.told_uptime.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The routes, in the order in which they are written; then what no route takes, if there was any.
    pub(super) fn routes(&self) -> Vec<String> {
        let named = self.status["routes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut routes: Vec<String> = named.map(str::to_owned).collect();
        if self.frames.iter().any(|frame| frame.routes.contains_key("none")) {
            routes.push("none".to_owned());
        }
        routes
    }

    /// What happened of late on a route, or on all of them.
    pub(super) fn recent(&self, route: Option<&str>) -> Recent {
        let mut sum = Point::default();
        for frame in &self.frames {
            match route {
                Some(name) => frame.routes.get(name).into_iter().for_each(|point| sum.join(point)),
                None => frame.routes.values().for_each(|point| sum.join(point)),
            }
        }
        let requests: u64 = sum.took.values().sum();
        let seconds = self.frames.len() as f64 * self.period;
        let share = |count: u64| if requests > 0 { count as f64 / requests as f64 } else { 0.0 };
        Recent {
            requests,
            rate: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
            client: share(sum.client),
            server: share(sum.server),
            p50: sum.quantile(0.5, &self.bounds),
            p99: sum.quantile(0.99, &self.bounds),
        }
    }

    /// Requests that an address of an upstream has each second, and its share of all.
    pub(super) fn traffic(&self, upstream: &Value, address: &Value) -> (f64, f64) {
        let known = self.counts.get(upstream["name"].as_str().unwrap_or_default());
        let Some((first, last)) = known.and_then(|known| known.front().zip(known.back())) else { return (0.0, 0.0) };
        let had = |place: &String| {
            let (now, before) = (last.1.get(place).copied(), first.1.get(place).copied());
            now.unwrap_or_default().saturating_sub(before.unwrap_or_default()) as f64
        };
        let (own, all) = (had(&place(address)), last.1.keys().map(had).sum::<f64>());
        let seconds = last.0.saturating_sub(first.0) as f64 / 1000.0;
        (if seconds > 0.0 { own / seconds } else { 0.0 }, if all > 0.0 { own / all } else { 0.0 })
    }
}

/// The addresses of an upstream.
pub(super) fn addresses(upstream: &Value) -> impl Iterator<Item = &Value> {
    upstream["addresses"].as_array().into_iter().flatten()
}

/// What tells an address from the others of its upstream; one that has left may have come back.
fn place(address: &Value) -> String {
    let left = if address["left"] == true { " left" } else { "" };
    format!("{}{left}", address["address"].as_str().unwrap_or_default())
}

impl Frame {
    fn read(told: &Value) -> Self {
        let routes = told["routes"].as_object().into_iter().flatten();
        let point = |(name, numbers): (&String, &Value)| (name.clone(), Point::read(numbers));
        Self { time: told["time"].as_u64().unwrap_or_default(), routes: routes.map(point).collect() }
    }
}

impl Point {
    /// Reads `[client errors, server errors, bucket, requests, bucket, requests, …]`.
    fn read(told: &Value) -> Self {
        let numbers: Vec<u64> = told.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let [client, server, pairs @ ..] = numbers.as_slice() else { return Self::default() };
        let mut point = Self { client: *client, server: *server, took: BTreeMap::new() };
        for pair in pairs.chunks_exact(2) {
            *point.took.entry(usize::try_from(pair[0]).unwrap_or(usize::MAX)).or_default() += pair[1];
        }
        point
    }

    fn join(&mut self, other: &Self) {
        self.client += other.client;
        self.server += other.server;
        other.took.iter().for_each(|(bucket, count)| *self.took.entry(*bucket).or_default() += count);
    }

    /// The duration that this share took at most, as Prometheus reckons it from buckets.
    fn quantile(&self, share: f64, bounds: &[f64]) -> Option<f64> {
        let requests: u64 = self.took.values().sum();
        let (rank, mut below) = (share * requests as f64, 0.0);
        for (&bucket, &count) in &self.took {
            let count = count as f64;
            if below + count >= rank {
                let Some(&bound) = bounds.get(bucket) else { break };
                let from = bucket.checked_sub(1).and_then(|before| bounds.get(before)).copied().unwrap_or_default();
                return Some(from + (bound - from) * ((rank - below) / count));
            }
            below += count;
        }
        bounds.last().copied().filter(|_| requests > 0)
    }
}

/// A member, where there is one.
fn take(data: &mut Value, name: &str) -> Value {
    data.get_mut(name).map(Value::take).unwrap_or_default()
}

/// Applies a merge patch (RFC 7396).
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else { return };
    for (name, value) in patch {
        match (value, target.get_mut(&name)) {
            (Value::Null, _) => drop(target.as_object_mut().and_then(|members| members.remove(&name))),
            (value @ Value::Object(_), Some(known @ Value::Object(_))) => merge(known, value),
            (value, _) => {
                if let Some(members) = target.as_object_mut() {
                    members.insert(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(super) mod tests;
