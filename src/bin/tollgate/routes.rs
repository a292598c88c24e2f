//! `tollgate routes`

use std::fmt::Write;

use clap::Args;
use tollgate::config::order::{Entry, entries};
use tollgate::config::text::Syntax;
use tollgate::config::{Config, PathMatch, RouteConfig};

use crate::source::Source;
use crate::{Exit, io};

/// Print the route table, in the order in which it is matched.
#[derive(Args, Debug)]
pub(crate) struct Routes {
    #[command(flatten)]
    source: Source,
}

/// What is printed where a route does not say.
const ANY: &str = "*";

impl Routes {
    pub(crate) fn run(&self) -> Exit {
        match self.source.load() {
            Ok(loaded) => io::print(&table(&loaded.config)),
            Err(exit) => exit,
        }
    }
}

/// One line per route and host: of several hosts, each has its own place in the order.
fn table(config: &Config) -> String {
    let mut rows = vec![["PATH", "HOST", "METHODS", "CONDITIONS", "ROUTE", "UPSTREAM"].map(str::to_owned)];
    rows.extend(entries(&config.routes).iter().map(|entry| row(entry, &config.routes[entry.route])));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn row(entry: &Entry, route: &RouteConfig) -> [String; 6] {
    let path = match &route.path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(prefix) => format!("{}/{ANY}", prefix.trim_end_matches('/')),
    };
    let headers = route.headers.iter().map(|(name, value)| format!("{name}: {}", value.print()));
    let query = route.query.iter().map(|(name, value)| format!("?{name}={value}"));
    let conditions: Vec<String> = headers.chain(query).collect();
    let methods: Vec<String> = route.methods.iter().map(ToString::to_string).collect();
    [
        path,
        entry.host.map_or_else(|| ANY.to_owned(), Syntax::print),
        or_any(&methods, ","),
        or_any(&conditions, ", "),
        route.name.clone(),
        route.upstream.clone(),
    ]
}

fn or_any(parts: &[String], separator: &str) -> String {
    match parts.is_empty() {
        true => ANY.to_owned(),
        false => parts.join(separator),
    }
}
