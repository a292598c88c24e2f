//! Compares the merged values with the schema: types, bounds, forms and unknown keys, all of them at once. What is
//! wrong is reported and left out, so that the rest can be read and checked as well.

use figment::value::{Dict, Num, Value};

use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::schema::Shape;
use crate::config::text::{Fault, Format, did_you_mean, nearest, not_among};

/// JSON's types, as people call them.
const KINDS: &[(&str, &str)] = &[
    ("string", "a string"),
    ("integer", "a whole number"),
    ("number", "a decimal number"),
    ("boolean", "true or false"),
    ("array", "a list"),
    ("object", "a table"),
];

/// The value without what is wrong in it; `None` if nothing is left that could be read.
pub(super) fn check(value: Value, shape: Shape, path: &KeyPath, findings: &mut Findings) -> Option<Value> {
    let kind = kind_of(&value)?;
    let alternatives = shape.alternatives();
    let chosen = alternatives.iter().copied().find(|one| one.takes(kind) || (one.takes("number") && kind == "integer"));
    let checked = match (chosen, value) {
        (None, value) => Err(wrong_type(&alternatives, kind, &value)),
        (Some(shape), Value::Dict(_, dict)) => return table(dict, shape, path, findings),
        (Some(shape), Value::Array(_, list)) => return elements(list, shape, path, findings),
        (Some(shape), Value::String(tag, text)) => form(&text, shape).map(|()| Value::String(tag, text)),
        (Some(shape), Value::Num(tag, number)) => bounds(number, shape).map(|()| Value::Num(tag, number)),
        (Some(_), other) => Ok(other),
    };
    match checked {
        Ok(value) => Some(value),
        Err(fault) => {
            findings.value(path, fault);
            findings.mark_broken(path);
            None
        }
    }
}

fn table(dict: Dict, shape: Shape, path: &KeyPath, findings: &mut Findings) -> Option<Value> {
    let mut kept = Dict::new();
    for (name, value) in dict {
        let path = path.key(&name);
        match shape.property(&name).or_else(|| shape.any_property()) {
            None => unknown_key(&name, shape, &path, findings),
            Some(inner) => {
                let format = shape.key_format().and_then(Format::named);
                if let Some(Err(fault)) = format.map(|format| format.check(&name)) {
                    findings.key(&path, fault);
                    findings.mark_broken(&path);
                } else if let Some(value) = check(value, inner, &path, findings) {
                    kept.insert(name, value);
                }
            }
        }
    }
    let missing: Vec<_> = shape.required().into_iter().filter(|key| !kept.contains_key(*key)).collect();
    for key in &missing {
        findings.value(&path.key(key), Fault::new(format!("`{key}` is missing")));
    }
    if !missing.is_empty() {
        findings.mark_broken(path);
        return None;
    }
    Some(kept.into())
}

/// A list with a bad element is left out as a whole: the others would get wrong numbers.
fn elements(list: Vec<Value>, shape: Shape, path: &KeyPath, findings: &mut Findings) -> Option<Value> {
    let least = shape.number("minItems").unwrap_or(0);
    if i128::try_from(list.len()).is_ok_and(|length| length < least) {
        findings.value(path, Fault::new("the list is empty").hint("leave the key out, or put something into it"));
        findings.mark_broken(path);
        return None;
    }
    let length = list.len();
    let Some(inner) = shape.items() else {
        return Some(list.into());
    };
    let checked = list.into_iter().enumerate();
    let kept: Vec<_> = checked.filter_map(|(at, value)| check(value, inner, &path.index(at), findings)).collect();
    if kept.len() < length {
        findings.mark_broken(path);
        return None;
    }
    Some(kept.into())
}

fn unknown_key(name: &str, shape: Shape, path: &KeyPath, findings: &mut Findings) {
    const FEW: usize = 12;
    let keys = shape.keys();
    let hint = did_you_mean(name, keys.iter().copied());
    let list = (keys.len() <= FEW).then(|| format!("the keys here are {}", keys.join(", ")));
    let mut fault = Fault::new(format!("unknown key `{name}`"));
    fault.hint = hint.or(list);
    findings.key(path, fault);
    // Who misspells a key does not also forget it.
    if let (Some(meant), Some((table, _))) = (nearest(name, keys), path.split_last()) {
        findings.mark_broken(&table.key(meant));
    }
}

/// Whether a text has the form that the schema wants.
fn form(text: &str, shape: Shape) -> Result<(), Fault> {
    let choices = shape.choices();
    if !choices.is_empty() && !choices.contains(&text) {
        return Err(not_among(text, &choices));
    }
    let Some(format) = shape.text("format").and_then(Format::named) else {
        return Ok(());
    };
    let measure = |text| format.check(text).ok().flatten();
    let Some(size) = format.check(text)? else { return Ok(()) };
    if let Some(least) = shape.text("x-minimum").filter(|least| measure(least).is_some_and(|least| size < least)) {
        return Err(Fault::new(format!("`{text}` is too small")).hint(format!("the least is `{least}`")));
    }
    if let Some(most) = shape.text("x-maximum").filter(|most| measure(most).is_some_and(|most| size > most)) {
        return Err(Fault::new(format!("`{text}` is too large")).hint(format!("the most is `{most}`")));
    }
    Ok(())
}

/// Whether a number is within bounds. Where the schema wants a size, a bare number is a number of bytes.
fn bounds(number: Num, shape: Shape) -> Result<(), Fault> {
    if shape.takes("number") {
        return decimal_bounds(number, shape);
    }
    let Some(number) = integer(number) else { return Ok(()) };
    if shape.takes("string") && number >= 0 {
        return form(&number.to_string(), shape);
    }
    let least = shape.number("minimum").or(shape.takes("string").then_some(0));
    match (least, shape.number("maximum")) {
        (Some(least), _) if number < least => {
            Err(Fault::new(format!("{number} is too small")).hint(format!("the least is {least}")))
        }
        (_, Some(most)) if number > most => {
            Err(Fault::new(format!("{number} is too large")).hint(format!("the most is {most}")))
        }
        _ => Ok(()),
    }
}

/// The same for a number that need not be whole.
fn decimal_bounds(number: Num, shape: Shape) -> Result<(), Fault> {
    let number = number.to_f64().or_else(|| integer(number).map(|number| number as f64)).unwrap_or(f64::NAN);
    match (shape.decimal("minimum"), shape.decimal("maximum")) {
        _ if !number.is_finite() => Err(Fault::new(format!("{number} is not a number that can be used"))),
        (Some(least), _) if number < least => {
            Err(Fault::new(format!("{number} is too small")).hint(format!("the least is {least}")))
        }
        (_, Some(most)) if number > most => {
            Err(Fault::new(format!("{number} is too large")).hint(format!("the most is {most}")))
        }
        _ => Ok(()),
    }
}

fn wrong_type(alternatives: &[Shape], kind: &str, value: &Value) -> Fault {
    let wanted = |kind: &&(&str, &str)| alternatives.iter().any(|shape| shape.takes(kind.0));
    let wanted: Vec<&str> = KINDS.iter().filter(wanted).map(|(_, name)| *name).collect();
    let found = KINDS.iter().find(|(name, _)| *name == kind).map_or(kind, |(_, name)| name);
    let fault = Fault::new(format!("expected {}, found {found}", wanted.join(" or ")));
    let takes = |kind| alternatives.iter().any(|shape| shape.takes(kind));
    let format = |name| alternatives.iter().any(|shape| shape.text("format") == Some(name));
    let hint = match value {
        Value::Num(..) if format("duration") => Some("write it with its unit, such as `\"30s\"`"),
        Value::Num(..) | Value::Bool(..) if takes("string") => Some("put it in quotes"),
        Value::String(_, text) if takes("integer") && text.parse::<i64>().is_ok() => Some("leave the quotes out"),
        Value::String(_, text) if takes("boolean") && text.parse::<bool>().is_ok() => Some("leave the quotes out"),
        Value::String(..) if takes("array") => Some("put it in brackets, such as `[\"…\"]`"),
        Value::Dict(..) if takes("array") => {
            Some("a table of a list is written with two brackets, such as `[[routes]]`")
        }
        Value::Array(..) if takes("object") => {
            Some("one table is written with single brackets, such as `[upstreams.orders]`")
        }
        _ => None,
    };
    fault.maybe_hint(hint.map(str::to_owned))
}

fn kind_of(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::String(..) | Value::Char(..) => "string",
        Value::Bool(..) => "boolean",
        Value::Num(_, number) if integer(*number).is_some() => "integer",
        Value::Num(..) => "number",
        Value::Dict(..) => "object",
        Value::Array(..) => "array",
        Value::Empty(..) => return None,
    })
}

/// The number, where it is a whole one.
fn integer(number: Num) -> Option<i128> {
    number.to_i128().or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
}
