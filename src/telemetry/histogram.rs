//! Latency histograms with fixed buckets: one observation is two relaxed additions (4 ns, against 22 ns and unbounded
//! memory between upkeeps for the exporter's own), and they add up across replicas. A bucket can also hold one example
//! of what fell into it: the trace of that request.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::time::Duration;

use super::page::Number;

/// Upper bounds of the buckets, in seconds: 1 ms to 10 s.
pub const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Series that one histogram is: its buckets, one without a bound, sum and count.
pub const SERIES: usize = BUCKETS + 2;
const BUCKETS: usize = BOUNDS.len() + 1;
/// The bounds as Prometheus stores them, so that both formats make the same series.
const BOUND_TEXTS: [&str; BUCKETS] =
    ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"];
const BOUND_MICROS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Durations, counted by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
    /// The latest example in each bucket; nothing is held where nobody gives any.
    examples: OnceLock<Box<[Mutex<Option<Example>>; BUCKETS]>>,
}

/// A request that fell into a bucket.
#[derive(Clone, Copy, Debug)]
struct Example {
    trace: u128,
    took: Duration,
    /// When, since 1970.
    at: Duration,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        self.buckets[bucket(duration)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many durations each bucket has by now, the last one those above all bounds.
    pub fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed))
    }

    /// Gives an example of a duration that was counted: a request whose trace can be looked up. `at` is now, since 1970.
    pub fn example(&self, duration: Duration, trace: u128, at: Duration) {
        let examples = self.examples.get_or_init(Box::default);
        match examples[bucket(duration)].try_lock() {
            Ok(mut example) => *example = Some(Example { trace, took: duration, at }),
            // Another one has just been given, or is read at this moment: as good as this one.
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => {}
        }
    }

    /// Writes the samples; `labels` is `a="b",` or empty. With `examples` in the way of OpenMetrics 1.0.
    pub fn render(&self, id: &str, labels: &str, examples: bool, page: &mut String) {
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            page.extend([id, "_bucket{", labels, "le=\"", BOUND_TEXTS[index], "\"} "]);
            count.push(page);
            if let Some(Example { trace, took, at }) = self.latest(index).filter(|_| examples) {
                let (took, at) = (took.as_secs_f64(), at.as_millis() as f64 / 1000.0);
                let _ = write!(page, " # {{trace_id=\"{trace:032x}\"}} {took} {at:.3}");
            }
            page.push('\n');
        }
        let seconds = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        for (end, value) in [("_sum", seconds), ("_count", count as f64)] {
            page.extend([id, end]);
            if let Some(labels) = labels.strip_suffix(',') {
                page.extend(["{", labels, "}"]);
            }
            page.push(' ');
            value.push(page);
            page.push('\n');
        }
    }

    fn latest(&self, bucket: usize) -> Option<Example> {
        *self.examples.get()?[bucket].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
    BOUND_MICROS.partition_point(|&bound| bound < micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(histogram: &Histogram, examples: bool) -> String {
        let mut page = String::new();
        histogram.render("x", "route=\"a\",", examples, &mut page);
        page
    }

    #[test]
    fn bounds_are_inclusive_and_cumulative() {
        let histogram = Histogram::default();
        for micros in [1, 1_000, 1_001, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let page = page(&histogram, true);
        assert!(page.contains("x_bucket{route=\"a\",le=\"0.001\"} 2\n"), "{page}");
        assert!(page.contains("x_bucket{route=\"a\",le=\"0.0025\"} 3\n"), "{page}");
        assert!(page.contains("x_bucket{route=\"a\",le=\"10.0\"} 4\n"), "{page}");
        assert!(page.contains("x_bucket{route=\"a\",le=\"+Inf\"} 5\n"), "{page}");
        assert!(page.contains("x_count{route=\"a\"} 5\n"), "{page}");
        assert!(page.contains("x_sum{route=\"a\"} 20.002003\n"), "{page}");
        assert_eq!(page.lines().count(), SERIES);
    }

    #[test]
    fn a_bucket_shows_its_latest_example_to_who_can_read_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(2));
        histogram.record(Duration::from_micros(1500));
        histogram.example(Duration::from_millis(2), 1, Duration::ZERO);
        histogram.example(Duration::from_micros(1500), 0xab, Duration::from_millis(1_700_000_000_123));
        let line = format!("le=\"0.0025\"}} 2 # {{trace_id=\"{:032x}\"}} 0.0015 1700000000.123\n", 0xab);
        assert!(page(&histogram, true).contains(&line), "{}", page(&histogram, true));
        assert!(!page(&histogram, false).contains('#'));
        assert_eq!(page(&histogram, true).matches('#').count(), 1);
    }

    #[test]
    fn the_tables_of_bounds_agree() {
        for ((seconds, micros), text) in BOUNDS.iter().zip(BOUND_MICROS).zip(BOUND_TEXTS) {
            assert_eq!(Duration::from_secs_f64(*seconds), Duration::from_micros(micros));
            assert_eq!(format!("{seconds:?}"), text);
        }
    }
}
