//! The sources that are not files, environment and flags, and the figment provider that any source becomes. Values
//! come as text here; what they are meant to be, the schema says: a string stays one even if it looks like a number.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::{Environment, Override, PREFIX, mark, toml};
use crate::config::key::KeyPath;
use crate::config::problem::{Place, Problem};
use crate::config::schema;
use crate::config::source::{Mark, Sources};
use crate::config::text::Fault;

/// One source of values.
pub(super) struct Layer {
    name: String,
    values: Dict,
}

impl Layer {
    pub(super) fn new(name: &str, values: Dict) -> Self {
        Self { name: name.to_owned(), values }
    }

    fn set(&mut self, path: &KeyPath, text: &str) {
        let Some(keys) = path.keys() else { return };
        let value = typed(path, text);
        let Some((last, above)) = keys.split_last() else { return };
        let mut table = &mut self.values;
        for key in above {
            let inner = table.entry((*key).to_owned()).or_insert_with(|| Dict::new().into());
            if inner.as_dict().is_none() {
                *inner = Dict::new().into();
            }
            let Value::Dict(_, inner) = inner else { return };
            table = inner;
        }
        table.insert((*last).to_owned(), value);
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// `TOLLGATE__SECTION__KEY`
pub(super) fn environment(variables: &Environment, sources: &mut Sources, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::new("environment", Dict::new());
    for (name, text) in variables.iter() {
        let Some(keys) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let dotted = keys.to_ascii_lowercase().replace("__", ".");
        let path = sources.spelled(&KeyPath::dotted(&dotted));
        match forbidden(&dotted) {
            Some(fault) => problems.push(Problem::error(path, fault, Place::Environment(name.to_owned()))),
            None => {
                mark(sources, &path, Mark::Environment(name.to_owned()));
                layer.set(&path, text);
            }
        }
    }
    layer
}

/// What the command line sets.
pub(super) fn overrides(overrides: &[Override], sources: &mut Sources, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::new("command line", Dict::new());
    for Override { flag, path, value } in overrides {
        let keys = KeyPath::dotted(path);
        match forbidden(path) {
            Some(fault) => problems.push(Problem::error(keys, fault, Place::Flag(flag.clone()))),
            None => {
                mark(sources, &keys, Mark::Flag(flag.clone()));
                layer.set(&keys, value);
            }
        }
    }
    layer
}

/// What cannot be set from outside a file.
fn forbidden(dotted: &str) -> Option<Fault> {
    if dotted.split('.').any(str::is_empty) {
        return Some(
            Fault::new("a key is empty").hint(format!("write it like `{PREFIX}SERVER__WORKERS` or `server.workers`")),
        );
    }
    (dotted.split('.').next() == Some(toml::APPENDED))
        .then(|| Fault::new("routes come from files only").hint("put the route into a file in `conf.d`"))
}

/// The text as the type that the schema wants; where it is none, as the text that it is, to be refused with its place.
fn typed(path: &KeyPath, text: &str) -> Value {
    let wants = |kind| schema::at(path).is_some_and(|shape| shape.takes(kind));
    let toml = |text: &str| text.parse::<toml_edit::Value>().ok().as_ref().and_then(toml::plain);
    let trimmed = text.trim();
    let value = if wants("string") {
        None
    } else if wants("integer") {
        trimmed.parse::<i64>().ok().map(Value::from)
    } else if wants("boolean") {
        trimmed.parse::<bool>().ok().map(Value::from)
    } else if wants("array") && !trimmed.starts_with('[') {
        let items = trimmed.split(',').map(str::trim).filter(|item| !item.is_empty());
        Some(items.map(Value::from).collect::<Vec<_>>().into())
    } else if wants("array") || wants("object") || wants("number") {
        toml(trimmed)
    } else {
        None
    };
    value.unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_says_what_a_text_is() {
        let at = |path, text| typed(&KeyPath::dotted(path), text);
        assert_eq!(at("server.workers", "4").to_i128(), Some(4));
        assert_eq!(at("server.workers", "four").as_str(), Some("four"));
        assert_eq!(at("admin.token", "007").as_str(), Some("007"));
        assert_eq!(at("server.max_body", "0").as_str(), Some("0"));
        assert_eq!(at("server.listen", "a:1, b:2").as_array().map(<[Value]>::len), Some(2));
        assert_eq!(at("server.listen", "['a:1']").as_array().map(<[Value]>::len), Some(1));
        assert_eq!(at("server.listen", "").as_array().map(<[Value]>::len), Some(0));
        assert_eq!(at("upstreams.x.retry.attempts", "3").to_i128(), Some(3));
        assert_eq!(at("no.such.key", "3").as_str(), Some("3"));
    }
}
