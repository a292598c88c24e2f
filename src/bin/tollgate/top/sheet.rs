//! What is shown, as tables of texts: each view makes one of a model. Knows neither terminals nor colours.

use std::cmp::Ordering;
use std::fmt::Write;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::Value;

use super::model::{Model, addresses};

/// What there is to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// Traffic by route
    #[default]
    Routes,
    /// Upstreams and their addresses
    Addresses,
    /// Limits
    Limits,
    /// Listeners, names, keys, the cache, the last reload
    More,
}

/// How a row stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should.
    #[default]
    Plain,
    /// Not quite.
    Odd,
    /// Badly.
    Bad,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// A column, by which rows can be sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Numbers stand on the right, and the greatest come first.
    pub(super) is_number: bool,
}

/// A row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    pub(super) tone: Tone,
}

/// A text, and what it is sorted by where that is a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    number: f64,
}

impl View {
    /// All of them, in the order of their keys.
    pub(super) const ALL: [Self; 4] = [Self::Routes, Self::Addresses, Self::Limits, Self::More];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Addresses => "addresses",
            Self::Limits => "limits",
            Self::More => "more",
        }
    }

    /// The columns, without the model.
    pub(super) fn columns(self) -> Vec<Column> {
        let names: &[&str] = match self {
            Self::Routes => &["ROUTE", "#REQ/S", "#4XX", "#5XX", "#P50", "#P99"],
            Self::Addresses => {
                &["UPSTREAM", "ADDRESS", "STATE", "#REQ/S", "#SHARE", "#BUSY", "#CONNS", "#FAILED", "WHY"]
            }
            Self::Limits => &["LIMIT", "STORE", "MODE", "#KEYS", "#ALLOWED", "#REFUSED"],
            Self::More => &["KIND", "NAME", "STATE"],
        };
        let column =
            |name: &&'static str| Column { name: name.trim_start_matches('#'), is_number: name.starts_with('#') };
        names.iter().map(column).collect()
    }

    /// What the model has of it.
    pub(super) fn sheet(self, model: &Model, now: Instant) -> Sheet {
        let rows = match self {
            Self::Routes => routes(model),
            Self::Addresses => of_addresses(model),
            Self::Limits => limits(model),
            Self::More => more(model, now),
        };
        Sheet { columns: self.columns(), rows }
    }
}

impl Sheet {
    /// Sorts rows by a column; those that are equal there stay as they are.
    pub(super) fn sort(&mut self, column: usize, reversed: bool) {
        let Some(Column { is_number, .. }) = self.columns.get(column).copied() else { return };
        self.rows.sort_by(|one, other| {
            let (Some(one), Some(other)) = (one.cells.get(column), other.cells.get(column)) else {
                return Ordering::Equal;
            };
            let order = match is_number {
                true => other.number.total_cmp(&one.number),
                false => one.text.cmp(&other.text),
            };
            if reversed { order.reverse() } else { order }
        });
    }

    /// How wide each column has to be.
    pub(super) fn widths(&self) -> Vec<usize> {
        let widest = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or_default()
        };
        self.columns.iter().enumerate().map(|(at, column)| widest(at).max(column.name.len())).collect()
    }

    /// The whole of it as lines.
    pub(super) fn text(&self) -> String {
        let (widths, mut text) = (self.widths(), String::new());
        let heading: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let rows = self.rows.iter().map(|row| row.cells.iter().map(|cell| cell.text.as_str()).collect());
        for cells in std::iter::once(heading).chain(rows) {
            let mut line = String::new();
            for ((cell, width), column) in cells.iter().zip(&widths).zip(&self.columns) {
                // Writing to a string cannot fail.
                let _ = match column.is_number {
                    true => write!(line, "{cell:>width$}  "),
                    false => write!(line, "{cell:width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Cell {
    /// A text, in which nothing is left that a terminal would act on.
    fn text(text: impl AsRef<str>) -> Self {
        let turns =
            |char: char| matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let safe = |char: char| if char.is_control() || turns(char) { '\u{fffd}' } else { char };
        Self { text: text.as_ref().chars().map(safe).collect(), number: 0.0 }
    }

    fn number(number: f64, show: impl FnOnce(f64) -> String) -> Self {
        Self { text: show(number), number }
    }

    /// The text of a member, or its number.
    fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::text(text),
            Value::Number(number) => Self::number(number.as_f64().unwrap_or_default(), |_| number.to_string()),
            _ => Self::text("-"),
        }
    }
}

fn routes(model: &Model) -> Vec<Row> {
    let row = |name: String| {
        let recent = model.recent(Some(&name));
        let share = |value: f64| match recent.requests {
            0 => Cell::text("-"),
            _ => Cell::number(value, percent),
        };
        let time = |value: Option<f64>| value.map_or_else(|| Cell::text("-"), |value| Cell::number(value, latency));
        let cells = vec![
            Cell::text(&name),
            Cell::number(recent.rate, rate),
            share(recent.client),
            share(recent.server),
            time(recent.p50),
            time(recent.p99),
        ];
        Row { cells, tone: if recent.server > 0.0 { Tone::Bad } else { Tone::Plain } }
    };
    model.routes().into_iter().map(row).collect()
}

fn of_addresses(model: &Model) -> Vec<Row> {
    let upstreams = model.status()["upstreams"].as_array().into_iter().flatten();
    let row = |(upstream, one): (&Value, &Value)| {
        let (per_second, share) = model.traffic(upstream, one);
        let tone = match one["state"].as_str() {
            Some("healthy") => Tone::Plain,
            Some("ejected" | "unhealthy") => Tone::Bad,
            _ => Tone::Odd,
        };
        let cells = vec![
            Cell::of(&upstream["name"]),
            Cell::of(&one["address"]),
            Cell::of(&one["state"]),
            Cell::number(per_second, rate),
            Cell::number(share, percent),
            Cell::of(&one["in_flight"]),
            Cell::of(&one["connections"]),
            Cell::of(&one["failures"]),
            Cell::text(one["why"].as_str().unwrap_or_default()),
        ];
        Row { cells, tone }
    };
    upstreams.flat_map(|upstream| addresses(upstream).map(move |one| (upstream, one))).map(row).collect()
}

fn limits(model: &Model) -> Vec<Row> {
    let row = |limit: &Value| {
        let decisions = &limit["decisions"];
        let members = [
            &limit["name"],
            &limit["store"],
            &limit["mode"],
            &limit["keys"],
            &decisions["allowed"],
            &decisions["refused"],
        ];
        Row { cells: members.into_iter().map(Cell::of).collect(), tone: Tone::Plain }
    };
    model.status()["limits"].as_array().into_iter().flatten().map(row).collect()
}

/// Whatever else has a state.
fn more(model: &Model, now: Instant) -> Vec<Row> {
    let status = model.status();
    let mut rows = Vec::new();
    let mut add = |kind: &str, name: &Value, state: String, tone: Tone| {
        rows.push(Row { cells: vec![Cell::text(kind), Cell::of(name), Cell::text(state)], tone });
    };
    add("gateway", &status["version"], format!("up {}", span(model.uptime(now).as_secs_f64())), Tone::Plain);
    for listener in list(&status["listeners"]) {
        add("listener", &listener["address"], format!("{} connections", listener["connections"]), Tone::Plain);
    }
    for upstream in list(&status["upstreams"]) {
        if let Some(circuit) = upstream["circuit"]["state"].as_str() {
            add(
                "circuit",
                &upstream["name"],
                circuit.to_owned(),
                if circuit == "closed" { Tone::Plain } else { Tone::Bad },
            );
        }
        for name in [&upstream["dns"], &upstream["srv"]].into_iter().filter(|name| name.is_object()) {
            let state = name["state"].as_str().unwrap_or_default();
            let (error, tone) = troubled(name);
            add("name", &name["name"], format!("{state}{error}"), tone);
        }
    }
    for keys in list(&status["keys"]) {
        let (error, tone) = troubled(keys);
        add("keys", &keys["name"], format!("{} keys{error}", keys["keys"]), tone);
    }
    if let Some(cache) = status.get("cache").filter(|cache| cache.is_object()) {
        let size = |name: &str| bytes(cache[name].as_f64().unwrap_or_default());
        let state = format!("{} entries, {} of {}", cache["entries"], size("bytes"), size("memory"));
        add("cache", &Value::Null, state, Tone::Plain);
    }
    if let Some(redis) = status.get("redis").filter(|redis| redis.is_object()) {
        let (error, tone) = troubled(redis);
        add("redis", &Value::Null, format!("{}{error}", if redis["up"] == true { "up" } else { "down" }), tone);
    }
    if let Some(reload) = status.get("last_reload").filter(|reload| reload.is_object()) {
        let result = reload["result"].as_str().unwrap_or_default();
        add("reload", &reload["at"], result.to_owned(), if result == "ok" { Tone::Plain } else { Tone::Bad });
    }
    rows
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What was wrong last.
fn troubled(value: &Value) -> (String, Tone) {
    value["last_error"].as_str().map_or((String::new(), Tone::Plain), |error| (format!(": {error}"), Tone::Bad))
}

/// A rate: as many digits as are worth reading.
pub(super) fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 0.1 => "<0.1".to_owned(),
        value if value < 10.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A share.
pub(super) fn percent(value: f64) -> String {
    match value * 100.0 {
        0.0 => "0%".to_owned(),
        points if points < 0.1 => "<0.1%".to_owned(),
        points if points < 10.0 && points.fract() != 0.0 => format!("{points:.1}%"),
        points => format!("{points:.0}%"),
    }
}

/// A duration in seconds, as latency.
pub(super) fn latency(seconds: f64) -> String {
    match seconds * 1000.0 {
        millis if millis < 10.0 => format!("{millis:.1}ms"),
        millis if millis < 1000.0 => format!("{millis:.0}ms"),
        _ => format!("{seconds:.1}s"),
    }
}

/// A duration in seconds, as a span of time.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        seconds if seconds < 172_800.0 => format!("{:.0} h", (seconds / 3600.0).floor()),
        seconds => format!("{:.0} days", (seconds / 86_400.0).floor()),
    }
}

fn bytes(value: f64) -> String {
    match value {
        value if value < 1024.0 => format!("{value:.0} B"),
        value if value < 1_048_576.0 => format!("{:.0} KiB", value / 1024.0),
        value => format!("{:.1} MiB", value / 1_048_576.0),
    }
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
