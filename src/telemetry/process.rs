//! `process_*`: what the system says of the process, as every Prometheus client tells it.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::page::Form;

/// Series that there are of a process.
pub const SERIES: usize = 8;

/// Asks the system when somebody scrapes. What is measured through the `metrics` facade comes here as well.
pub(super) struct Process {
    facade: PrometheusRecorder,
    handle: PrometheusHandle,
    collector: metrics_process::Collector,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Process")
    }
}

impl Default for Process {
    fn default() -> Self {
        let facade = PrometheusBuilder::new().build_recorder();
        let handle = facade.handle();
        let collector = metrics_process::Collector::default();
        metrics::with_local_recorder(&facade, || collector.describe());
        Self { facade, handle, collector }
    }
}

impl Process {
    /// Writes the families.
    pub(super) fn render(&self, form: Form, page: &mut String) {
        metrics::with_local_recorder(&self.facade, || self.collector.collect());
        self.handle.run_upkeep();
        translate(&self.handle.render(), form, page);
    }
}

/// What ends in `_total` only grows; it comes as a gauge because the facade's counters have no fractions.
fn translate(text: &str, form: Form, page: &mut String) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        let comment = ["# HELP ", "# TYPE "].into_iter().find_map(|begin| Some((begin, line.strip_prefix(begin)?)));
        let Some((begin, (id, rest))) = comment.and_then(|(begin, line)| Some((begin, line.split_once(' ')?))) else {
            page.push_str(line);
            page.push('\n');
            continue;
        };
        let counted = id.strip_suffix("_total");
        let family = counted.filter(|_| form.is_open()).unwrap_or(id);
        let is_type = begin == "# TYPE ";
        let rest = if is_type && counted.is_some() { "counter" } else { rest };
        page.extend([begin, family, " ", rest, "\n"]);
        let unit = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(unit));
        if let Some(unit) = unit.filter(|_| is_type && form.is_open()) {
            page.extend(["# UNIT ", family, " ", unit, "\n"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_size_and_time() {
        let process = Process::default();
        for form in [Form::Text, Form::OpenMetrics { final_name: true }] {
            let mut page = String::new();
            process.render(form, &mut page);
            let family = if form.is_open() { "process_cpu_seconds" } else { "process_cpu_seconds_total" };
            assert!(page.contains(&format!("# TYPE {family} counter\n")), "{page}");
            assert!(page.contains("\nprocess_cpu_seconds_total "), "{page}");
            assert!(page.contains("# TYPE process_resident_memory_bytes gauge\n"), "{page}");
            assert!(!page.contains("# UNIT process_open_fds"), "{page}");
            assert_eq!(page.contains("# UNIT process_resident_memory_bytes bytes\n"), form.is_open(), "{page}");
            assert!(page.lines().filter(|line| !line.starts_with('#')).count() <= SERIES, "{page}");
            assert!(!page.contains("\n\n"), "OpenMetrics has no empty lines: {page}");
        }
    }
}
