//! The JSON Schema of the configuration file, made from the structs of `file`. Editors read it, and so does the
//! loader: what it knows of keys, types and bounds comes from here, so the two can never disagree.

use std::sync::LazyLock;

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::file::ConfigFile;
use super::key::KeyPath;

static ROOT: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<ConfigFile>();
    RecursiveTransform(tidy).transform(&mut schema);
    schema.to_value()
});

/// A schema and what it refers to.
#[derive(Clone, Copy, Debug)]
pub struct Shape(&'static Value);

/// The schema as JSON.
pub fn to_json() -> String {
    // A `Value` has string keys only, so this cannot fail.
    serde_json::to_string_pretty(&*ROOT).unwrap_or_default() + "\n"
}

/// The shape of the whole configuration.
pub fn root() -> Shape {
    Shape(&ROOT)
}

/// The shape of the value at this path, which goes through tables only.
pub fn at(path: &KeyPath) -> Option<Shape> {
    path.keys()?.into_iter().try_fold(root(), |shape, key| shape.property(key).or_else(|| shape.any_property()))
}

/// The names of all keys that hold secrets.
pub fn secret_keys() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut names = Vec::new();
        collect_secrets(&ROOT, &mut names);
        names
    });
    &NAMES
}

impl Shape {
    /// Whether a value of this JSON type will do.
    pub fn takes(self, kind: &str) -> bool {
        match self.0.get("type") {
            Some(Value::String(only)) => only == kind,
            Some(Value::Array(any)) => any.iter().any(|one| one == kind),
            _ => false,
        }
    }

    /// The shapes among which the value chooses by its type; just this one, mostly.
    pub fn alternatives(self) -> Vec<Self> {
        match self.list("anyOf").or_else(|| self.list("oneOf")) {
            Some(shapes) => shapes.iter().flat_map(|shape| Self(shape).resolved().alternatives()).collect(),
            None => vec![self],
        }
    }

    /// The shape of a key of this table.
    pub fn property(self, key: &str) -> Option<Self> {
        Some(Self(self.0.get("properties")?.get(key)?).resolved())
    }

    /// The shape of every other key of this table, where any may stand.
    pub fn any_property(self) -> Option<Self> {
        let shape = self.0.get("additionalProperties")?;
        shape.is_object().then(|| Self(shape).resolved())
    }

    /// The format of such keys.
    pub fn key_format(self) -> Option<&'static str> {
        self.0.get("propertyNames")?.get("format")?.as_str()
    }

    /// The keys of this table.
    pub fn keys(self) -> Vec<&'static str> {
        let properties = self.0.get("properties").and_then(Value::as_object);
        properties.map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// The keys that must be there.
    pub fn required(self) -> Vec<&'static str> {
        self.texts("required")
    }

    /// The texts that may stand here, where there are few.
    pub fn choices(self) -> Vec<&'static str> {
        self.texts("enum")
    }

    /// The shape of the elements of this list.
    pub fn items(self) -> Option<Self> {
        self.0.get("items").map(|items| Self(items).resolved())
    }

    /// A text of the schema, such as `format`.
    pub fn text(self, name: &str) -> Option<&'static str> {
        self.0.get(name)?.as_str()
    }

    /// A whole number of the schema, such as `maximum`.
    pub fn number(self, name: &str) -> Option<i128> {
        self.0.get(name)?.as_i64().map(i128::from)
    }

    /// A bound of the schema that need not be whole.
    pub fn decimal(self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// What a reference leads to.
    fn resolved(self) -> Self {
        let target = |reference: &'static str| ROOT.pointer(reference.strip_prefix('#')?);
        self.text("$ref").and_then(target).map_or(self, Self)
    }

    fn list(self, name: &str) -> Option<&'static Vec<Value>> {
        self.0.get(name)?.as_array()
    }

    fn texts(self, name: &str) -> Vec<&'static str> {
        self.list(name).map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }
}

/// TOML has no null: what may be absent is left out. A description is a sentence, wherever its comment was broken.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(shapes)) = object.get_mut("anyOf") {
        shapes.retain(|shape| shape.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = shapes.as_slice()
            && let Some(reference) = only.get("$ref").cloned()
        {
            object.remove("anyOf");
            object.insert("$ref".to_owned(), reference);
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
}

fn collect_secrets(schema: &Value, names: &mut Vec<String>) {
    let Some(object) = schema.as_object() else { return };
    if let Some(Value::Object(properties)) = object.get("properties") {
        let secret = properties.iter().filter(|(_, shape)| shape.get("writeOnly").is_some());
        names.extend(secret.map(|(name, _)| name.clone()));
    }
    for part in object.values() {
        collect_secrets(part, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::text::Format;

    /// Calls `look` with every schema in `schema`.
    fn each(schema: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
        match schema {
            Value::Object(object) => {
                look(object);
                object.values().for_each(|part| each(part, look));
            }
            Value::Array(list) => list.iter().for_each(|part| each(part, look)),
            _ => {}
        }
    }

    #[test]
    fn every_text_has_a_known_format_and_every_number_has_bounds() {
        each(&ROOT, &mut |object| {
            let shown = serde_json::to_string(object).unwrap();
            match object.get("type").and_then(Value::as_str) {
                Some("integer") => assert!(object.contains_key("minimum") && object.contains_key("maximum"), "{shown}"),
                Some("string") => {
                    if let Some(Value::String(format)) = object.get("format") {
                        assert!(Format::named(format).is_some(), "{shown}");
                    }
                }
                Some("object") if object.contains_key("properties") => {
                    assert_eq!(object.get("additionalProperties"), Some(&Value::Bool(false)), "{shown}");
                }
                _ => {}
            }
        });
    }

    #[test]
    fn every_key_is_documented() {
        each(&ROOT, &mut |object| {
            let Some(Value::Object(properties)) = object.get("properties") else {
                return;
            };
            for (key, shape) in properties {
                assert!(shape.get("description").is_some(), "{key}");
            }
        });
    }

    #[test]
    fn nothing_is_null_and_the_secrets_are_known() {
        let ends = |line: &str| ["null", "\"null\""].iter().any(|end| line.trim_end_matches(',').ends_with(end));
        assert!(!to_json().lines().any(ends), "neither a value nor a type");
        assert_eq!(secret_keys(), ["token", "secret", "password", "sentinel_password", "secret"]);
    }

    #[test]
    fn shapes_are_found_by_path() {
        assert!(at(&KeyPath::dotted("server.workers")).unwrap().takes("integer"));
        assert!(at(&KeyPath::dotted("upstreams.orders.retry.attempts")).unwrap().takes("integer"));
        assert!(at(&KeyPath::dotted("server.wrkers")).is_none());
    }
}
