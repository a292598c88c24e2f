//! The metrics of one gateway, owned rather than global, so that two gateways in one process never meet. Handles are
//! fetched when something is built; a request only adds to them (4 ns, against 150 ns for a lookup by labels).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::histogram::Histogram;
use super::names::{self, Kind, Name};

/// Where a gateway's metrics are registered and rendered.
pub struct Recorder {
    registry: PrometheusRecorder,
    handle: PrometheusHandle,
    histograms: Mutex<BTreeMap<(&'static str, String), Weak<Histogram>>>,
    /// `process_*`: what the system says of the process.
    process: metrics_process::Collector,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Default for Recorder {
    fn default() -> Self {
        let registry = PrometheusBuilder::new().build_recorder();
        let handle = registry.handle();
        let process = metrics_process::Collector::default();
        metrics::with_local_recorder(&registry, || process.describe());
        for name in names::ALL {
            let (id, help) = (KeyName::from_const_str(name.id), name.help.into());
            match name.kind {
                Kind::Counter => registry.describe_counter(id, None, help),
                Kind::Gauge => registry.describe_gauge(id, None, help),
                Kind::Histogram => {}
            }
        }
        Self { registry, handle, histograms: Mutex::default(), process }
    }
}

impl Recorder {
    /// The counter of a family with these label values.
    pub fn counter(&self, name: Name, values: &[&str]) -> Counter {
        self.registry.register_counter(&key(name, values), &METADATA)
    }

    /// The gauge of a family with these label values.
    pub fn gauge(&self, name: Name, values: &[&str]) -> Gauge {
        self.registry.register_gauge(&key(name, values), &METADATA)
    }

    /// The histogram of a family with these label values; the same one as long as somebody holds it.
    pub fn histogram(&self, name: Name, values: &[&str]) -> Arc<Histogram> {
        let mut all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = all.entry((name.id, label_text(name, values))).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Histogram::default());
            *slot = Arc::downgrade(&new);
            new
        })
    }

    /// The whole page in the Prometheus text format.
    pub fn render(&self) -> String {
        metrics::with_local_recorder(&self.registry, || self.process.collect());
        self.handle.run_upkeep();
        let mut page = self.handle.render();
        let mut all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, histogram| histogram.strong_count() > 0);
        let mut family = "";
        for ((id, labels), histogram) in all.iter() {
            if family != *id {
                family = id;
                open_family(&mut page, find(id));
            }
            if let Some(histogram) = histogram.upgrade() {
                histogram.render(id, labels, &mut page);
            }
        }
        page
    }
}

/// Writes `# HELP` and `# TYPE`.
pub fn open_family(page: &mut String, name: Name) {
    let kind = match name.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let _ = writeln!(page, "# HELP {} {}\n# TYPE {} {kind}", name.id, name.help, name.id);
}

/// Writes one sample of a family that is computed when it is scraped.
pub fn sample(page: &mut String, name: Name, values: &[&str], value: u64) {
    let labels = label_text(name, values);
    let _ = writeln!(page, "{}{{{}}} {value}", name.id, labels.trim_end_matches(','));
}

const METADATA: Metadata<'static> = Metadata::new("tollgate", Level::INFO, None);

fn find(id: &str) -> Name {
    names::ALL.iter().copied().find(|name| name.id == id).unwrap_or(names::REQUEST_DURATION)
}

fn key(name: Name, values: &[&str]) -> Key {
    debug_assert_eq!(name.labels.len(), values.len(), "{}", name.id);
    let labels: Vec<Label> =
        name.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned())).collect();
    Key::from_parts(name.id, labels)
}

fn label_text(name: Name, values: &[&str]) -> String {
    let mut text = String::new();
    for (label, value) in name.labels.iter().zip(values) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{label}=\"{value}\",");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_page_holds_what_was_recorded_with_help_and_type() {
        let recorder = Recorder::default();
        recorder.counter(names::REQUESTS, &["a\"b", "GET", "200"]).increment(3);
        recorder.gauge(names::CONNECTIONS, &["x"]).set(2.0);
        let histogram = recorder.histogram(names::REQUEST_DURATION, &["a"]);
        histogram.record(Duration::from_millis(3));
        let page = recorder.render();
        assert!(page.contains("tollgate_requests_total{route=\"a\\\"b\",method=\"GET\",status=\"200\"} 3"), "{page}");
        assert!(page.contains("# TYPE tollgate_request_duration_seconds histogram"), "{page}");
        assert!(page.contains("tollgate_request_duration_seconds_count{route=\"a\"} 1"), "{page}");
        assert!(page.contains("# HELP tollgate_connections Client connections that are open."), "{page}");
        assert!(page.contains("tollgate_connections{listener=\"x\"} 2"), "{page}");
    }

    #[test]
    fn a_histogram_is_shared_while_it_is_held_and_forgotten_after() {
        let recorder = Recorder::default();
        let one = recorder.histogram(names::REQUEST_DURATION, &["a"]);
        one.record(Duration::ZERO);
        assert!(Arc::ptr_eq(&one, &recorder.histogram(names::REQUEST_DURATION, &["a"])));
        drop(one);
        assert!(!recorder.render().contains("request_duration"));
    }
}
