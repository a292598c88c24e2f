//! Dashboards and rules, held against the metrics that there are, and against what Grafana needs of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use tollgate::telemetry::names::{self, Kind};

use crate::promql::Asked;
use crate::{read, root};

/// Labels that Prometheus adds, and the one of buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// Metrics that Prometheus itself has of a target.
const TARGETS: [&str; 3] = ["up", "scrape_samples_scraped", "scrape_duration_seconds"];

/// The dashboards, by file.
fn dashboards() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("grafana/dashboards")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = read(&format!("grafana/dashboards/{name}"));
        found.insert(name, serde_json::from_str(&text).unwrap());
    }
    assert_eq!(found.len(), 4);
    found
}

/// Every text under a key that is one of `keys`.
fn texts<'a>(value: &'a Value, keys: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if keys.contains(&key.as_str()) => found.push(text),
                    _ => texts(value, keys, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts(value, keys, found)),
        _ => {}
    }
}

/// The expressions of the rules, and the names that they record.
fn rules() -> (Vec<String>, BTreeSet<String>) {
    let (mut expressions, mut recorded) = (Vec::new(), BTreeSet::new());
    for file in ["recording", "alerts"] {
        let text = read(&format!("grafana/prometheus/rules/{file}.yml"));
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let line = line.trim().trim_start_matches("- ");
            if let Some(name) = line.strip_prefix("record: ") {
                recorded.insert(name.to_owned());
            }
            let Some(expression) = line.strip_prefix("expr: ") else { continue };
            let mut expression = expression.to_owned();
            if expression == "|" {
                expression.clear();
                let goes_on =
                    |line: &&str| !line.trim_start().split(' ').next().is_some_and(|word| word.ends_with(':'));
                while let Some(line) = lines.next_if(|line| goes_on(line) && !line.contains("- ")) {
                    expression.push_str(line);
                }
            }
            expressions.push(expression);
        }
    }
    assert!(expressions.len() > 20 && recorded.len() == 10, "{expressions:?} {recorded:?}");
    (expressions, recorded)
}

fn family(metric: &str) -> Option<&'static names::Name> {
    names::ALL.iter().find(|name| {
        let end = metric.strip_prefix(name.id);
        match name.kind {
            Kind::Histogram => matches!(end, Some("_bucket" | "_sum" | "_count")),
            Kind::Counter | Kind::Gauge => end == Some(""),
        }
    })
}

/// What is wrong with an expression.
fn check(expression: &str, recorded: &BTreeSet<String>) -> Result<(), String> {
    let asked = Asked::of(expression);
    let mut known: BTreeSet<&str> = ADDED.into();
    let mut foreign = false;
    for (metric, labels) in &asked.selectors {
        if recorded.contains(metric) {
            known.extend(metric.split(':').next().unwrap_or_default().split('_'));
            continue;
        }
        if TARGETS.contains(&metric.as_str()) || metric.starts_with("process_") {
            foreign = true;
            continue;
        }
        let family = family(metric).ok_or_else(|| format!("there is no metric {metric}"))?;
        let own: BTreeSet<&str> = family.labels.iter().copied().chain(ADDED).collect();
        if let Some(label) = labels.iter().find(|label| !own.contains(label.as_str())) {
            return Err(format!("{metric} has no label {label}"));
        }
        known.extend(own);
    }
    if asked.selectors.is_empty() {
        return Err("it asks for nothing".to_owned());
    }
    let made = |label: &String| asked.texts.contains(label);
    match asked.groupings.iter().find(|label| !known.contains(label.as_str()) && !made(label)) {
        Some(label) if !foreign => Err(format!("nothing in it has the label {label}")),
        _ => Ok(()),
    }
}

#[test]
fn every_expression_asks_for_metrics_and_labels_that_exist() {
    let (expressions, recorded) = rules();
    for expression in &expressions {
        check(expression, &recorded).unwrap_or_else(|problem| panic!("{problem}: {expression}"));
    }
    for (file, dashboard) in dashboards() {
        let mut expressions = Vec::new();
        texts(&dashboard, &["expr"], &mut expressions);
        assert!(expressions.len() > 10, "{file}");
        for expression in expressions {
            check(expression, &recorded).unwrap_or_else(|problem| panic!("{file}: {problem}: {expression}"));
        }
        let mut queries = Vec::new();
        texts(&dashboard["templating"], &["definition"], &mut queries);
        for query in queries {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            check(selector, &recorded).unwrap_or_else(|problem| panic!("{file}: {problem}: {query}"));
            let family = family(selector.split('{').next().unwrap()).unwrap();
            assert!(family.labels.contains(&label) || ADDED.contains(&label), "{file}: {query}");
        }
    }
}

#[test]
fn every_metric_is_on_a_dashboard() {
    let mut shown = BTreeSet::new();
    for dashboard in dashboards().values() {
        let mut expressions = Vec::new();
        texts(dashboard, &["expr"], &mut expressions);
        let asked = expressions.iter().flat_map(|expression| Asked::of(expression).selectors);
        shown.extend(asked.filter_map(|(metric, _)| Some(family(&metric)?.id)));
    }
    let missing: Vec<&str> = names::ALL.iter().map(|name| name.id).filter(|id| !shown.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_expression_that_asks_for_nothing_that_exists_is_found() {
    let recorded = BTreeSet::from(["job_route:tollgate:x:y".to_owned()]);
    for good in ["sum by (route) (tollgate_requests_total)", "sum by (route) (job_route:tollgate:x:y)"] {
        assert_eq!(check(good, &recorded), Ok(()), "{good}");
    }
    for bad in [
        "rate(tollgate_requests[5m])",
        "tollgate_request_duration_seconds",
        "tollgate_requests_total{code=\"x\"}",
        "sum by (upstream) (tollgate_requests_total)",
        "sum by (upstream) (job_route:tollgate:x:y)",
        "1 + 1",
    ] {
        assert!(check(bad, &recorded).is_err(), "{bad}");
    }
}

#[test]
fn dashboards_have_what_grafana_and_people_need() {
    let mut ids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(ids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{file}");
        assert_eq!((&dashboard["schemaVersion"], &dashboard["id"]), (&39.into(), &Value::Null), "{file}");
        assert!(dashboard["tags"].as_array().unwrap().contains(&"tollgate".into()), "{file}");
        assert_eq!(dashboard["links"][0]["tags"], serde_json::json!(["tollgate"]), "{file}");
        let variables: Vec<&str> = dashboard["templating"]["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(variables[..3], ["datasource", "job", "instance"], "{file}");
        assert_eq!(dashboard["annotations"]["list"].as_array().unwrap().len(), 3, "{file}");
        let mut panels = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(panels.insert(panel["id"].as_u64().unwrap()), "{file}: an id twice");
            check_panel(panel, &variables).unwrap_or_else(|problem| panic!("{file}: {}: {problem}", panel["title"]));
        }
        check_places(&file, dashboard["panels"].as_array().unwrap());
    }
    let mut links = Vec::new();
    let all = dashboards();
    all.values().for_each(|dashboard| texts(dashboard, &["url"], &mut links));
    let links: Vec<&str> = links.into_iter().filter(|link| !link.is_empty()).collect();
    assert!(links.len() > 4);
    for link in links {
        let id = link.strip_prefix("/d/").and_then(|rest| rest.split('?').next()).unwrap();
        assert!(ids.contains(id), "{link}");
    }
}

fn check_panel(panel: &Value, variables: &[&str]) -> Result<(), String> {
    if panel["type"] == "row" {
        return Ok(());
    }
    let kinds = ["timeseries", "stat", "heatmap", "table"];
    if !kinds.contains(&panel["type"].as_str().unwrap_or_default()) {
        return Err("a kind of panel that is not everywhere".to_owned());
    }
    let is_text = |value: &Value| value.as_str().is_some_and(|text| text.len() > 2);
    if !is_text(&panel["title"]) || !panel["description"].as_str().is_some_and(|text| text.ends_with('.')) {
        return Err("no title, or no description".to_owned());
    }
    let unit = &panel["fieldConfig"]["defaults"]["unit"];
    let own_units = panel["type"] == "heatmap" || panel["type"] == "table";
    if !own_units && unit.as_str().is_none_or(str::is_empty) {
        return Err("no unit".to_owned());
    }
    let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty()).ok_or("no query")?;
    for target in targets {
        if target["datasource"]["uid"] != "${datasource}" || target["datasource"]["type"] != "prometheus" {
            return Err("a query to no data source of the dashboard".to_owned());
        }
        let expression = target["expr"].as_str().unwrap_or_default();
        for (at, _) in expression.match_indices('$') {
            let name: String =
                expression[at + 1..].chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            let replaced = expression[at..].starts_with("${1}");
            if !variables.contains(&name.as_str()) && name != "__rate_interval" && !replaced {
                return Err(format!("there is no variable {name}"));
            }
        }
    }
    Ok(())
}

/// No two panels at one place, none beside the grid.
fn check_places(file: &str, panels: &[Value]) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let number = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
        assert!(x + w <= 24 && w > 0 && h > 0, "{file}: {}", panel["title"]);
        for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{file}: {} lies on another panel", panel["title"]);
        }
    }
}

#[test]
fn every_alert_is_explained() {
    let guide = read("docs/observability.md").to_lowercase();
    let rules = read("grafana/prometheus/rules/alerts.yml");
    let tests = read("grafana/prometheus/tests/alerts.yml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15);
    for alert in &alerts {
        assert!(tests.contains(alert), "{alert} has no test");
    }
    let books: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(books.len(), alerts.len());
    for book in books {
        let title = book.strip_prefix("docs/observability.md#").unwrap();
        assert!(guide.contains(&format!("### {title}")), "{book} is not there");
    }
}
