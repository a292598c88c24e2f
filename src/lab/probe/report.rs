//! What a probe saw, and how that is printed. Knows nothing of sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::StatusCode;

use super::Options;

/// Different backends and different errors that are told apart; the rest is counted under [`OTHERS`].
const MAX_NAMES: usize = 256;
/// The name of whatever came after [`MAX_NAMES`] others.
const OTHERS: &str = "(others)";
/// Columns of the longest bar.
const BAR: u64 = 40;

/// What one connection saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Connections opened, the first included.
    pub(super) connections: u64,
    statuses: BTreeMap<u16, u64>,
    backends: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    latencies: Vec<Duration>,
}

impl Tally {
    /// Counts an answer.
    pub(super) fn answered(&mut self, status: StatusCode, backend: String, latency: Duration) {
        add(&mut self.backends, backend, 1);
        *self.statuses.entry(status.as_u16()).or_default() += 1;
        self.latencies.push(latency);
    }

    /// Counts a request that got no whole answer.
    pub(super) fn failed(&mut self, error: String) {
        add(&mut self.errors, error, 1);
    }

    fn merge(&mut self, other: Self) {
        other.statuses.into_iter().for_each(|(status, count)| *self.statuses.entry(status).or_default() += count);
        other.backends.into_iter().for_each(|(name, count)| add(&mut self.backends, name, count));
        other.errors.into_iter().for_each(|(error, count)| add(&mut self.errors, error, count));
        self.latencies.extend(other.latencies);
    }
}

/// What a probe saw; printing it is its purpose.
#[derive(Debug)]
pub struct Report {
    url: String,
    lanes: usize,
    reconnects: u64,
    took: Duration,
    seen: Tally,
}

impl Report {
    pub(super) fn new(options: &Options, took: Duration, tallies: Vec<Tally>) -> Self {
        let lanes = tallies.len();
        let reconnects = tallies.iter().map(|tally| tally.connections.saturating_sub(1)).sum();
        let mut seen = Tally::default();
        tallies.into_iter().for_each(|tally| seen.merge(tally));
        seen.latencies.sort_unstable();
        Self { url: options.target.url().to_string(), lanes, reconnects, took, seen }
    }

    /// Requests sent, answered or not.
    pub fn requests(&self) -> u64 {
        self.seen.latencies.len() as u64 + self.seen.errors.values().sum::<u64>()
    }

    /// Requests that got no answer, or one that is neither 2xx nor 3xx.
    pub fn failed(&self) -> u64 {
        let refused = self.seen.statuses.iter().filter(|(status, _)| !(200..400).contains(*status));
        refused.map(|(_, count)| count).sum::<u64>() + self.seen.errors.values().sum::<u64>()
    }

    /// Answers by backend.
    pub fn backends(&self) -> &BTreeMap<String, u64> {
        &self.seen.backends
    }

    /// Answers by status.
    pub fn statuses(&self) -> &BTreeMap<u16, u64> {
        &self.seen.statuses
    }

    /// Requests without an answer, by reason.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.seen.errors
    }

    /// Connections opened beyond the first of each lane, because the server closed or an exchange failed.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// The latency that this share of the answers did not exceed: 0.5 is the median, 1.0 the worst.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        let last = self.seen.latencies.len().checked_sub(1)?;
        // Nearest rank: the smallest answer that covers the share.
        let rank = (share.clamp(0.0, 1.0) * (last + 1) as f64).ceil() as usize;
        self.seen.latencies.get(rank.saturating_sub(1).min(last)).copied()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, lanes, took) = (self.requests(), self.lanes, self.took.as_secs_f64());
        let (a, b) = (if requests == 1 { "" } else { "s" }, if lanes == 1 { "" } else { "s" });
        writeln!(f, "{requests} request{a} to {} over {lanes} connection{b} in {took:.2} s\n", self.url)?;
        self.bars(f)?;
        write!(f, "  status   ")?;
        list(f, self.statuses().iter().map(|(status, count)| format!("{status} × {count}")))?;
        if let (Some(min), Some(p50)) = (self.latency(0.0), self.latency(0.5))
            && let (Some(p99), Some(max)) = (self.latency(0.99), self.latency(1.0))
        {
            let (min, p50, p99, max) = (millis(min), millis(p50), millis(p99), millis(max));
            writeln!(f, "  latency  min {min} · p50 {p50} · p99 {p99} · max {max} ms")?;
        }
        if self.reconnects() > 0 {
            writeln!(f, "  again    connected {} more times", self.reconnects())?;
        }
        write!(f, "  errors   ")?;
        list(f, self.errors().iter().map(|(error, count)| format!("{error} × {count}")))
    }
}

impl Report {
    /// One bar a backend, the most asked first.
    fn bars(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut backends: Vec<_> = self.backends().iter().map(|(name, count)| (printable(name), *count)).collect();
        backends.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        let widest = backends.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let most = backends.first().map_or(1, |(_, count)| *count);
        for (name, count) in &backends {
            let bar = "█".repeat((count * BAR).div_ceil(most) as usize);
            writeln!(f, "  {name:<widest$}  {count:>7}  {bar}")?;
        }
        if backends.is_empty() { Ok(()) } else { writeln!(f) }
    }
}

/// Adds to a count whose names a server chooses: beyond a bound they share one.
fn add(counts: &mut BTreeMap<String, u64>, name: String, count: u64) {
    let known = counts.len() < MAX_NAMES || counts.contains_key(&name);
    *counts.entry(if known { name } else { OTHERS.to_owned() }).or_default() += count;
}

/// A server's text, harmless to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = String>) -> fmt::Result {
    let text = items.collect::<Vec<_>>().join(" · ");
    writeln!(f, "{}", if text.is_empty() { "none" } else { &text })
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tallies: Vec<Tally>) -> Report {
        let options = Options {
            target: "http://gate/".parse().unwrap(),
            requests: 0,
            connections: 1,
            headers: http::HeaderMap::new(),
            timeout: Duration::from_secs(1),
        };
        Report::new(&options, Duration::from_millis(20), tallies)
    }

    fn answers(backend: &str, status: StatusCode, millis: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally { connections: 1, ..Tally::default() };
        millis.into_iter().for_each(|ms| tally.answered(status, backend.to_owned(), Duration::from_millis(ms)));
        tally
    }

    #[test]
    fn it_prints_who_answered_how_often_and_how_fast() {
        let mut b = answers("b", StatusCode::NOT_FOUND, [4]);
        b.failed("no answer in time".to_owned());
        let report = report(vec![answers("long name", StatusCode::OK, [1, 2]), b]);
        assert_eq!((report.requests(), report.failed(), report.reconnects()), (4, 2, 0));
        assert_eq!(
            report.to_string(),
            "4 requests to http://gate/ over 2 connections in 0.02 s\n\n  \
             long name        2  ████████████████████████████████████████\n  \
             b                1  ████████████████████\n\n  \
             status   200 × 2 · 404 × 1\n  \
             latency  min 1.00 · p50 2.00 · p99 4.00 · max 4.00 ms\n  \
             errors   no answer in time × 1\n"
        );
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let report = report(vec![answers("a", StatusCode::OK, 1..=100)]);
        let at = |share| report.latency(share).unwrap().as_millis();
        assert_eq!((at(0.0), at(0.5), at(0.99), at(1.0)), (1, 50, 99, 100));
    }

    #[test]
    fn nothing_seen_is_printed_as_nothing() {
        let report = report(vec![Tally::default()]);
        assert_eq!((report.requests(), report.latency(0.5)), (0, None));
        assert!(report.to_string().ends_with("status   none\n  errors   none\n"));
    }

    #[test]
    fn names_that_a_server_chooses_are_bounded() {
        let mut tally = Tally::default();
        for n in 0..1000 {
            tally.answered(StatusCode::OK, format!("answer {n}"), Duration::ZERO);
        }
        let report = report(vec![tally]);
        assert!(report.backends().len() <= MAX_NAMES + 1 && report.backends()[OTHERS] > 700);
        assert_eq!(report.backends().values().sum::<u64>(), 1000);
    }
}
