//! How numbers are written for those who scrape: the Prometheus text format, or OpenMetrics 1.0 where it is asked for.
//! Families stand in the order of `names`, each in one piece, those without a sample not at all.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use super::names::{Kind, Name};

/// A format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0, or what was called so before it was one (0.0.1), which reads the same.
    OpenMetrics {
        /// Whether the reader knows the name of version 1.0.0.
        final_name: bool,
    },
}

impl Form {
    /// The one that a scraper likes best, by its `Accept` (RFC 9110 §12.5.1). Text for those who do not say.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (0.0, Self::Text);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            let weight = value("q").map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            let form = match (kind, value("version")) {
                ("application/openmetrics-text", Some("1.0.0") | None) => Self::OpenMetrics { final_name: true },
                ("application/openmetrics-text", Some("0.0.1")) => Self::OpenMetrics { final_name: false },
                ("text/plain" | "text/*" | "*/*", None | Some("0.0.4")) => Self::Text,
                _ => continue,
            };
            if weight > best.0 {
                best = (weight, form);
            }
        }
        best.1
    }

    /// The `Content-Type` of the page.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics { final_name: true } => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::OpenMetrics { final_name: false } => "application/openmetrics-text; version=0.0.1; charset=utf-8",
        }
    }

    /// Whether it has examples, units and an end.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::OpenMetrics { .. })
    }

    /// Begins a family.
    pub fn open_family(self, page: &mut String, name: Name) {
        let kind = match name.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let id = if self.is_open() { name.family() } else { name.id };
        let _ = writeln!(page, "# HELP {id} {}\n# TYPE {id} {kind}", name.help);
        if let Some(unit) = name.unit().filter(|_| self.is_open()) {
            let _ = writeln!(page, "# UNIT {id} {unit}");
        }
    }

    /// Ends the page.
    pub fn close(self, page: &mut String) {
        if self.is_open() {
            page.push_str("# EOF\n");
        }
    }
}

/// Samples that are found out when somebody scrapes: they are there as long as what they tell of.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, String>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, name: Name, values: &[&str], value: impl Number) {
        let lines = self.0.entry(name.id).or_default();
        lines.push_str(name.id);
        if !values.is_empty() {
            lines.push('{');
            push_labels(lines, name, values);
            lines.pop();
            lines.push('}');
        }
        push_value(lines, value);
    }

    /// The same for a family with two labels, of which the second is an address: of these there may be many.
    pub fn add_address(&mut self, name: Name, first: &str, address: SocketAddr, value: impl Number) {
        let [label, of_address] = name.labels else { return };
        let lines = self.0.entry(name.id).or_default();
        lines.extend([name.id, "{"]);
        push_label(lines, label, first);
        lines.extend([*of_address, "=\""]);
        match address {
            SocketAddr::V4(v4) => {
                for (index, octet) in v4.ip().octets().into_iter().enumerate() {
                    lines.push_str(if index > 0 { "." } else { "" });
                    u64::from(octet).push(lines);
                }
                lines.push(':');
                u64::from(v4.port()).push(lines);
            }
            SocketAddr::V6(v6) => drop(write!(lines, "{v6}")),
        }
        lines.push_str("\"}");
        push_value(lines, value);
    }

    /// The lines of a family.
    pub(super) fn of(&self, name: Name) -> &str {
        self.0.get(name.id).map_or("", String::as_str)
    }
}

/// What has numbers that a scrape asks for.
pub trait Measured: Send + Sync + std::fmt::Debug {
    /// Adds its samples.
    fn measure(&self, samples: &mut Samples);
}

/// What a sample can be: written without the machinery of formatting, which would be most of a page's time.
pub trait Number {
    /// Appends it.
    fn push(self, text: &mut String);
}

impl Number for u64 {
    fn push(self, text: &mut String) {
        text.push_str(itoa::Buffer::new().format(self));
    }
}

impl Number for usize {
    fn push(self, text: &mut String) {
        (self as u64).push(text);
    }
}

impl Number for f64 {
    fn push(self, text: &mut String) {
        if self.fract() == 0.0 && (0.0..1e15).contains(&self) {
            (self as u64).push(text);
        } else {
            let _ = write!(text, "{self}");
        }
    }
}

/// Writes a line; `labels` is `a="b",` or empty.
pub(super) fn write_sample(page: &mut String, id: &str, labels: &str, value: impl Number) {
    page.push_str(id);
    if let Some(labels) = labels.strip_suffix(',') {
        page.extend(["{", labels, "}"]);
    }
    push_value(page, value);
}

fn push_value(page: &mut String, value: impl Number) {
    page.push(' ');
    value.push(page);
    page.push('\n');
}

/// Label values as they are written, with a comma behind each.
pub(super) fn label_text(name: Name, values: &[&str]) -> String {
    let mut text = String::with_capacity(values.iter().map(|value| value.len() + 16).sum());
    push_labels(&mut text, name, values);
    text
}

fn push_labels(text: &mut String, name: Name, values: &[&str]) {
    debug_assert_eq!(name.labels.len(), values.len(), "{}", name.id);
    for (label, value) in name.labels.iter().zip(values) {
        push_label(text, label, value);
    }
}

fn push_label(text: &mut String, label: &str, value: &str) {
    text.extend([label, "=\""]);
    if value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.push_str(&value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    } else {
        text.push_str(value);
    }
    text.push_str("\",");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names;

    #[test]
    fn a_scraper_gets_the_format_that_it_likes_best() {
        const OPEN: Form = Form::OpenMetrics { final_name: true };
        for (accept, form) in [
            ("", Form::Text),
            ("*/*", Form::Text),
            ("text/html", Form::Text),
            ("application/openmetrics-text", OPEN),
            // Prometheus 2.42 and 3.x.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OPEN,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OPEN,
            ),
            ("application/openmetrics-text; version=0.0.1", Form::OpenMetrics { final_name: false }),
            ("application/openmetrics-text;version=2.0.0, */*;q=0.1", Form::Text),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.2", Form::Text),
            ("application/openmetrics-text;q=0", Form::Text),
            ("application/openmetrics-text;q=x", Form::Text),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept}");
        }
    }

    #[test]
    fn families_begin_as_each_format_wants_it() {
        let head = |form: Form, name| {
            let mut page = String::new();
            form.open_family(&mut page, name);
            page
        };
        let open = Form::OpenMetrics { final_name: true };
        assert!(head(Form::Text, names::WORKER_BUSY).contains("# TYPE tollgate_worker_busy_seconds_total counter\n"));
        assert_eq!(
            head(open, names::WORKER_BUSY).lines().skip(1).collect::<Vec<_>>(),
            ["# TYPE tollgate_worker_busy_seconds counter", "# UNIT tollgate_worker_busy_seconds seconds"]
        );
        assert!(!head(open, names::REQUESTS).contains("UNIT"));
    }

    #[test]
    fn a_value_that_somebody_chose_cannot_break_a_line() {
        assert_eq!(label_text(names::REQUESTS_IN_FLIGHT, &["a\"b\\\n"]), "route=\"a\\\"b\\\\\\n\",");
        let mut samples = Samples::default();
        samples.add(names::CACHE_BYTES, &[], 1.5);
        samples.add(names::CACHE_BYTES, &[], 7_u64);
        assert_eq!(samples.of(names::CACHE_BYTES), "tollgate_cache_bytes 1.5\ntollgate_cache_bytes 7\n");
        assert_eq!(samples.of(names::REQUESTS), "");
        for address in ["10.0.200.3:8080", "[::1]:80"] {
            let mut one = Samples::default();
            one.add_address(names::ENDPOINT_REQUESTS, "a\"", address.parse().unwrap(), u64::MAX);
            let mut other = Samples::default();
            other.add(names::ENDPOINT_REQUESTS, &["a\"", address], u64::MAX);
            assert_eq!(one.of(names::ENDPOINT_REQUESTS), other.of(names::ENDPOINT_REQUESTS));
        }
    }
}
