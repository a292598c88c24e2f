//! One TOML file: its values for figment, the span of each for messages, and what in it no message may show.

use std::ops::Range;

use figment::value::{Dict, Value};
use toml_edit::{Document, Item, TableLike};

use crate::config::key::KeyPath;
use crate::config::problem::{Place, Problem};
use crate::config::schema;
use crate::config::source::{Mark, Source, Sources};
use crate::config::text::{Fault, looks_secret};

/// The list that files add to; any other list replaces what earlier files said.
pub(super) const APPENDED: &str = "routes";

/// Reads a file; `routes` is the number of routes in earlier files. `None` means that its syntax is wrong.
pub(super) fn read(
    name: &str,
    bytes: &[u8],
    routes: usize,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Option<Dict> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let file = sources.add(Source::new(name, text.as_str()));
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        hide_unread(&text, file, sources);
        problems.push(syntax("the file is not UTF-8".to_owned(), sources.in_file(file, at..at)));
        return None;
    }
    match Document::parse(text.as_str()) {
        Ok(document) => {
            let mut reader = Reader { file, routes, sources, problems };
            Some(reader.table(&KeyPath::root(), document.as_table()))
        }
        Err(error) => {
            hide_unread(&text, file, sources);
            let span = error.span().unwrap_or(0..0);
            let hint = way_out(error.message(), text.get(..span.start).unwrap_or_default(), &text);
            let mut problem = syntax(error.message().replace('\n', "; "), sources.in_file(file, span));
            problem.fault = problem.fault.maybe_hint(hint.map(str::to_owned));
            problems.push(problem);
            None
        }
    }
}

/// A value that stands alone, such as `[1, 2]` in a variable of the environment.
pub(super) fn plain(value: &toml_edit::Value) -> Option<Value> {
    Some(match value {
        toml_edit::Value::String(text) => text.value().clone().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(truth) => (*truth.value()).into(),
        toml_edit::Value::Datetime(_) => return None,
        toml_edit::Value::Array(list) => list.iter().map(plain).collect::<Option<Vec<_>>>()?.into(),
        toml_edit::Value::InlineTable(table) => {
            let pairs = table.iter().map(|(key, value)| Some((key.to_owned(), plain(value)?)));
            pairs.collect::<Option<Dict>>()?.into()
        }
    })
}

struct Reader<'a> {
    file: usize,
    routes: usize,
    sources: &'a mut Sources,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, path: &KeyPath, table: &dyn TableLike) -> Dict {
        let mut dict = Dict::new();
        for (name, item) in table.iter() {
            let path = path.key(name);
            let key = table.key(name).and_then(toml_edit::Key::span).unwrap_or_default();
            if let Some(value) = self.item(&path, key, item, looks_secret(name, schema::secret_keys())) {
                dict.insert(name.to_owned(), value);
            }
        }
        dict
    }

    fn item(&mut self, path: &KeyPath, key: Range<usize>, item: &Item, secret: bool) -> Option<Value> {
        let value = item.span().unwrap_or_else(|| key.clone());
        let appended = *path == KeyPath::dotted(APPENDED);
        let mark = Mark::File { file: self.file, key: key.clone(), value: value.clone() };
        self.sources.mark(path.clone(), mark, !item.is_table_like() && !appended);
        let first = if appended { self.routes } else { 0 };
        if let Some(table) = item.as_table_like() {
            return Some(self.table(path, table).into());
        }
        if let Some(tables) = item.as_array_of_tables() {
            let items = tables.iter().map(|table| Item::Table(table.clone()));
            return self.list(path, first, items, secret);
        }
        if let Some(array) = item.as_array() {
            let items = array.iter().map(|value| Item::Value(value.clone()));
            return self.list(path, first, items, secret);
        }
        if secret || item.as_str().is_some_and(has_password) {
            self.hide_value(item, value.clone());
        }
        let plain = item.as_value().and_then(plain);
        if plain.is_none() {
            let fault =
                Fault::new("no value here is a date or a time").hint("put it in quotes if it is meant as a text");
            let place = self.sources.in_file(self.file, value);
            self.problems.push(Problem::error(path.clone(), fault, place));
        }
        plain
    }

    fn list(&mut self, path: &KeyPath, first: usize, items: impl Iterator<Item = Item>, secret: bool) -> Option<Value> {
        let mut list = Vec::new();
        for (at, item) in items.enumerate() {
            let span = item.span().unwrap_or_default();
            list.extend(self.item(&path.index(first + at), span, &item, secret));
        }
        Some(list.into())
    }

    /// A reference to a secret may be shown, and so may a flag that speaks of secrets; the secret may not.
    fn hide_value(&mut self, item: &Item, span: Range<usize>) {
        let reference = |text: &str| text.starts_with("env:") || text.starts_with("file:");
        if !item.as_str().is_some_and(reference) && !item.is_bool() {
            self.sources.hide(self.file, span);
        }
    }
}

/// What to do about a mistake in the syntax. Repeats nothing of the text, which may be a secret.
fn way_out(message: &str, before: &str, text: &str) -> Option<&'static str> {
    if before.ends_with(':') || text.trim_start().starts_with('{') {
        Some("the configuration is TOML: `key = value` below `[table]`")
    } else if message.contains("must be quoted") {
        Some("put it in quotes")
    } else if message.contains("invalid basic string, expected `\"`") {
        Some("a text ends with a quote, on the line where it began")
    } else {
        None
    }
}

fn syntax(what: String, place: Place) -> Problem {
    Problem::error(KeyPath::root(), Fault::new(what), place)
}

/// Whether a URL in the text has user information.
fn has_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// Hides what seems to be a secret in a text that cannot be read: from the `=` behind a key that sounds like one to
/// the end of the line, or of the text where the value may span lines.
fn hide_unread(text: &str, file: usize, sources: &mut Sources) {
    for (at, _) in text.match_indices('=') {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = text[line..at].trim_end().trim_end_matches(['"', '\'']);
        let of_a_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let key = before.rsplit(|c| !of_a_key(c)).next().unwrap_or_default();
        let value = &text[at + 1..];
        let start = at + 1 + (value.len() - value.trim_start_matches(' ').len());
        let end = match value.trim_start().starts_with("\"\"\"") || value.trim_start().starts_with("'''") {
            true => text.len(),
            false => at + 1 + value.find('\n').unwrap_or(value.len()),
        };
        if looks_secret(key, schema::secret_keys()) || has_password(&text[start.min(end)..end]) {
            sources.hide(file, start.min(end)..end);
        }
    }
}
