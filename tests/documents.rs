//! The documents, held against the code. The references are generated: `UPDATE=1 cargo test --test documents` writes
//! them anew, and without it a difference fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "documents/examples.rs"]
mod examples;
#[path = "documents/grafana.rs"]
mod grafana;
#[path = "documents/promql.rs"]
mod promql;
#[path = "documents/reference.rs"]
mod reference;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tollgate::base::reject::Reason;
use tollgate::telemetry::names::{self, Kind};

/// Words that begin like metrics and are none: services of the sample stack.
const NO_METRICS: &[&str] = &["tollgate_app", "tollgate_gateway", "tollgate_default", "tollgate_inside"];

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The document must be this text; with UPDATE=1 it becomes it.
fn is_up_to_date(path: &str, text: &str) {
    if std::env::vars().any(|(name, _)| name == "UPDATE") {
        fs::write(root().join(path), text).unwrap();
    }
    let written = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(written == text, "{path} is out of date: UPDATE=1 cargo test --test documents");
}

/// Everything that people read, by path.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut paths: Vec<PathBuf> = ["docs", "deploy", "grafana"].map(PathBuf::from).to_vec();
    paths.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from));
    while let Some(path) = paths.pop() {
        let full = root().join(&path);
        if full.is_dir() {
            paths.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        } else if let Ok(text) = fs::read_to_string(&full) {
            found.push((path.display().to_string(), text));
        }
    }
    found
}

#[test]
fn the_reference_of_metrics_is_up_to_date() {
    let mut text = String::from(
        "# Metrics\n\n<!-- Generated from src/telemetry/names.rs: UPDATE=1 cargo test --test documents -->\n\n\
         `/metrics` on the operators' listener, in Prometheus' text format, or in OpenMetrics 1.0 where the scraper's\n\
         `Accept` asks for that; then the buckets of histograms show the trace of a request that fell into them. Base\n\
         units are seconds and bytes. The usual `process_*` metrics are there too.\n\n\
         Labels are closed sets: configured names; methods of a fixed list, `OTHER` for the rest; statuses as sent where\n\
         they are registered, their class (`4xx`) where they are not, `none` where a client left before there was one.\n\
         Requests that no route takes are those of the route `none`. `tollgate check` prints how many series a\n\
         configuration can make at most. What a reload removes leaves the page when its last request is over.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for name in names::ALL {
        let kind = match name.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = name.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(text, "| `{}` | {kind} | {} | {} |", name.id, labels.join(" "), name.help).unwrap();
    }
    is_up_to_date("docs/metrics.md", &text);
}

#[test]
fn the_reference_of_the_configuration_is_up_to_date() {
    is_up_to_date("docs/configuration.md", &reference::text());
}

#[test]
fn what_examples_of_commands_print_is_what_they_say() {
    is_up_to_date("docs/explain.md", &examples::with_output("docs/explain.md"));
}

#[test]
fn no_document_names_a_metric_that_does_not_exist() {
    for (path, text) in documents() {
        for (at, _) in text.match_indices("tollgate_") {
            let of_a_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
            let word: String = text[at..].chars().take_while(of_a_name).collect();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let exists = names::ALL
                .iter()
                .any(|name| name.id == word || name.kind == Kind::Histogram && family == Some(name.id));
            assert!(exists || NO_METRICS.contains(&&*word), "{path}: there is no metric {word}");
        }
    }
}

#[test]
fn every_error_is_explained_as_it_is() {
    let text = read("docs/errors.md");
    let rows: BTreeSet<String> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').take(4).collect::<Vec<_>>().join("|").trim_end().to_owned())
        .collect();
    let row = |reason: &Reason| {
        let facts = reason.facts();
        format!("| `{}` | {} | {}", facts.code, facts.status.as_u16(), facts.title)
    };
    assert_eq!(rows, Reason::ALL.iter().map(row).collect());
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (path, text) in documents().iter().filter(|(path, _)| path.ends_with(".md")) {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            let full = root().join(path).with_file_name(file);
            assert!(target.contains("://") || file.is_empty() || full.exists(), "{path}: no {target}");
        }
    }
}
