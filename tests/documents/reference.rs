//! The reference of the configuration, made from its JSON Schema. The schema sorts by name; the order of tables and keys
//! is that of the commented sample, which a test keeps complete.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::read;

/// What a text of a format looks like, for people.
const FORMATS: &[(&str, &str)] = &[
    ("access-target", "`stdout`, `stderr`, `off` or a file"),
    ("admin-listen", "`ip:port` or `off`"),
    ("byte-rate", "size per second"),
    ("cookie-name", "name"),
    ("dns-target", "`name:port`"),
    ("duration", "duration"),
    ("file-path", "file"),
    ("hash-key", "`ip`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`"),
    ("header-value", "text"),
    ("host-header", "`client`, `upstream` or a name"),
    ("label", "name"),
    ("limit-key", "`ip`, `subject`, `claim:NAME`, `header:NAME`, `route` or `global`"),
    ("method", "method"),
    ("moment", "`2026-01-31T12:00:00Z`"),
    ("name-server", "`ip` or `ip:port`"),
    ("network", "`ip/bits`"),
    ("origin", "`https://host`, `https://*.domain`, `*` or `null`"),
    ("path-and-query", "path"),
    ("path-prefix", "path"),
    ("plan-claim", "`claim:NAME`"),
    ("rate", "rate"),
    ("redis-url", "URL"),
    ("retry-condition", "`connect`, `reset`, `timeout` or a status"),
    ("rewrite", "path"),
    ("secret", "secret"),
    ("service-name", "`_service._proto.name`"),
    ("size", "size"),
    ("socket-address", "`ip:port`"),
    ("token-place", "`header:NAME`, `cookie:NAME` or `query:NAME`"),
    ("upstream", "name or URL"),
    ("web-url", "URL"),
];

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the JSON Schema: UPDATE=1 cargo test --test documents -->

Every key there is. [`config/gateway.toml`](../config/gateway.toml) shows them all in place, with comments.

- **Durations** read `250ms`, `5s`, `10min`, `1h`; **sizes** `64KiB`, `10MiB`, in powers of 1024, a bare number is bytes.
- **Rates** read `100/s`, `600/min`, `1000/h`, `10000/day`.
- A **secret** is `\"env:NAME\"` or `\"file:PATH\"`, and is never printed.
- What is read later wins: defaults, the file, `conf.d/*.toml` beside it in name order, the environment, `--set`. Tables
  merge; routes are added.
- Outside of `[[routes]]` the environment sets any value: `TOLLGATE__SERVER__WORKERS=2` is `workers` of `[server]`.
- Unknown keys are errors. `tollgate check` reports all problems at once, `tollgate config` prints what is in force, and
  `tollgate schema > gateway.schema.json` is for editors.
";

/// A table of the configuration, as the reference shows it.
struct Table {
    title: String,
    schema: Value,
    description: String,
}

/// The whole document.
pub(crate) fn text() -> String {
    let root: Value = serde_json::from_str(&tollgate::config::schema::to_json()).unwrap();
    let sample = read("config/gateway.toml");
    let mut tables = Vec::new();
    collect(&root, &root, "", &mut tables);
    tables.sort_by_key(|table| place_of_table(&sample, &table.title));
    let mut out = INTRODUCTION.to_owned();
    for table in &tables {
        let place = place_of_table(&sample, &table.title);
        write!(out, "\n## `{}`\n\n{}\n\n", table.title, table.description).unwrap();
        out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        let properties = properties(&table.schema);
        let mut keys: Vec<_> = properties
            .iter()
            .map(|(key, shape)| (key, resolved(shape, &root)))
            .filter(|(_, shape)| !is_table(shape, &root))
            .collect();
        keys.sort_by_key(|(key, _)| place_of_key(&sample, place, key));
        for (key, shape) in keys {
            let default = shape.get("default").map_or_else(String::new, |value| format!("`{value}`"));
            let meaning = text_of(&shape, "description").replace('|', "\\|");
            writeln!(out, "| `{key}` | {} | {default} | {meaning} |", value(&shape, &root)).unwrap();
        }
    }
    out
}

/// The tables below one, and itself if it has keys of its own.
fn collect(schema: &Value, root: &Value, path: &str, tables: &mut Vec<Table>) {
    for (key, shape) in properties(schema) {
        let shape = resolved(&shape, root);
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let (title, path, inner) = if let Some(items) = shape.get("items") {
            (format!("[[{path}]]"), path, resolved(items, root))
        } else if let Some(any) = shape.get("additionalProperties").filter(|any| any.is_object()) {
            let path = format!("{path}.NAME");
            (format!("[{path}]"), path, resolved(any, root))
        } else {
            (format!("[{path}]"), path, shape.clone())
        };
        if is_table(&shape, root) {
            collect(&inner, root, &path, tables);
            let description = text_of(&shape, "description").to_owned();
            tables.push(Table { title, schema: inner, description });
        }
    }
}

/// Whether the reference gives it a section of its own: a table with keys of its own, by name or in a list.
fn is_table(shape: &Value, root: &Value) -> bool {
    let inner = shape.get("items").or_else(|| shape.get("additionalProperties").filter(|any| any.is_object()));
    inner.map_or_else(|| !properties(shape).is_empty(), |inner| !properties(&resolved(inner, root)).is_empty())
}

/// What may stand there.
fn value(shape: &Value, root: &Value) -> String {
    let shape = &resolved(shape, root);
    if let Some(choices) = shape.get("enum").and_then(Value::as_array) {
        return choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(" ");
    }
    if let Some(shapes) = ["anyOf", "oneOf"].iter().find_map(|key| shape.get(key)?.as_array()) {
        return shapes.iter().map(|shape| value(shape, root)).collect::<Vec<_>>().join(" or ");
    }
    let format = text_of(shape, "format");
    if let Some((_, words)) = FORMATS.iter().find(|(name, _)| *name == format) {
        return (*words).to_owned() + &bounds(shape, "x-minimum", "x-maximum");
    }
    let kind = shape.get("type").map_or("", |kind| kind.as_str().or_else(|| kind[0].as_str()).unwrap_or_default());
    match kind {
        "array" => format!("list of {}", value(&shape["items"], root)),
        "object" if !properties(shape).is_empty() => {
            let keys: Vec<String> = properties(shape).keys().map(|key| format!("`{key}`")).collect();
            format!("table of {}", keys.join(", "))
        }
        "object" => "table of texts".to_owned(),
        "integer" => "number".to_owned() + &bounds(shape, "minimum", "maximum"),
        "number" => "decimal number".to_owned() + &bounds(shape, "minimum", "maximum"),
        "boolean" => "`true` or `false`".to_owned(),
        "string" if format.is_empty() => "text".to_owned(),
        "string" => format.replace('-', " "),
        other => other.to_owned(),
    }
}

fn bounds(shape: &Value, least: &str, most: &str) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (shape.get(least).map(plain), shape.get(most).map(plain)) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    }
}

/// What a reference leads to; what stands beside the reference wins.
fn resolved(shape: &Value, root: &Value) -> Value {
    let reference = shape.get("$ref").and_then(Value::as_str);
    let Some(target) = reference.and_then(|path| root.pointer(path.trim_start_matches('#'))) else {
        return shape.clone();
    };
    let mut merged = target.as_object().cloned().unwrap_or_default();
    let beside = shape.as_object().into_iter().flatten();
    merged.extend(beside.map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(merged)
}

fn properties(shape: &Value) -> Map<String, Value> {
    shape.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn text_of<'a>(shape: &'a Value, key: &str) -> &'a str {
    shape.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Where the sample begins a table; any name stands for NAME.
fn place_of_table(sample: &str, title: &str) -> usize {
    let fits = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default().trim().trim_start_matches("# ");
        let (wanted, found): (Vec<_>, Vec<_>) = (title.split('.').collect(), line.split('.').collect());
        wanted.len() == found.len()
            && wanted.iter().zip(&found).all(|(wanted, found)| match *wanted {
                "NAME" => !found.ends_with(']'),
                "NAME]" => found.ends_with(']'),
                wanted => wanted == *found,
            })
    };
    let mut at = 0;
    for line in sample.split_inclusive('\n') {
        if line.trim_start_matches("# ").starts_with('[') && fits(line) {
            return at;
        }
        at += line.len();
    }
    usize::MAX
}

/// Where the sample shows a key, from its table on.
fn place_of_key(sample: &str, table: usize, key: &str) -> usize {
    let from = sample.get(table..).unwrap_or_default();
    let begins = [format!("\n{key} = "), format!("\n# {key} = ")];
    begins.iter().filter_map(|begin| from.find(begin.as_str())).min().unwrap_or(usize::MAX)
}
