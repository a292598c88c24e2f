//! What a route asks: policies that there are and that go together, and conditions that they can meet.

use serde_json::Value;

use crate::config::file::{ClaimSettings, ClaimValue, ConfigFile, NamesSettings, RouteAuthSettings, RouteAuthTable};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{AuthKind, Fault, did_you_mean};
use crate::layers::auth::policy::{ClaimRule, RouteAuth};

/// Checks what a route asks.
pub(in crate::config::check) fn route(
    settings: &RouteAuthSettings,
    path: &KeyPath,
    file: &ConfigFile,
    findings: &mut Findings,
) -> RouteAuth {
    let (names, place) = match settings {
        RouteAuthSettings::One(name) => (vec![name.clone()], path.clone()),
        RouteAuthSettings::Several(names) => (names.clone(), path.clone()),
        RouteAuthSettings::Table(table) => match &table.r#use {
            NamesSettings::One(name) => (vec![name.clone()], path.key("use")),
            NamesSettings::Several(names) => (names.clone(), path.key("use")),
        },
    };
    let one = matches!(settings, RouteAuthSettings::One(_))
        || matches!(settings, RouteAuthSettings::Table(table) if matches!(table.r#use, NamesSettings::One(_)));
    for (at, name) in names.iter().enumerate() {
        let place = if one { place.clone() } else { place.index(at) };
        if names[..at].contains(name) {
            findings.value(&place, Fault::new(format!("`{name}` is listed twice")));
        }
        if !file.auth.contains_key(name) && !findings.is_broken(&KeyPath::dotted("auth").key(name)) {
            let close = did_you_mean(name, file.auth.keys().map(String::as_str));
            let hint = close.unwrap_or_else(|| format!("add a table `[auth.{name}]`"));
            findings.value(&place, Fault::new(format!("no `[auth.*]` is named `{name}`")).hint(hint));
        }
    }
    go_together(&names, &place, one, file, findings);
    let mut checked = RouteAuth::new(names);
    if let RouteAuthSettings::Table(table) = settings {
        checked.optional = table.optional;
        checked.mode = table.mode.0;
        checked.scopes.clone_from(&table.scopes);
        checked.claims = table.claims.iter().map(|(path, wanted)| claim(path, wanted)).collect();
        scopes(&table.scopes, &path.key("scopes"), findings);
        conditions(table, path, &checked.policies, file, findings);
    }
    checked
}

fn claim(path: &str, wanted: &ClaimSettings) -> ClaimRule {
    let value = |value: &ClaimValue| match value {
        ClaimValue::Text(text) => Value::from(text.as_str()),
        ClaimValue::Number(number) => Value::from(*number),
        ClaimValue::Flag(flag) => Value::from(*flag),
    };
    let any_of = match wanted {
        ClaimSettings::One(one) => vec![value(one)],
        ClaimSettings::Several(list) => list.iter().map(value).collect(),
    };
    ClaimRule { path: path.to_owned(), any_of }
}

/// A scope is one word of printable ASCII without quotes and backslashes (RFC 6749 §3.3).
fn scopes(list: &[String], path: &KeyPath, findings: &mut Findings) {
    for (at, scope) in list.iter().enumerate() {
        if scope.is_empty() || !scope.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~')) {
            let fault = Fault::new(format!("`{}` is not a scope", scope.escape_debug()));
            let hint = scope.contains(' ').then(|| "write several scopes as several texts".to_owned());
            findings.value(&path.index(at), fault.maybe_hint(hint));
        }
    }
}

/// The policies of a route must be told apart by what a request brings: tokens, API keys and one list of passwords. A
/// service takes whatever there is.
fn go_together(names: &[String], path: &KeyPath, one: bool, file: &ConfigFile, findings: &mut Findings) {
    let kind = |name: &String| file.auth.get(name).map(|settings| settings.kind.0);
    let place = |at: usize| if one { path.clone() } else { path.index(at) };
    let of_kind = |wanted: AuthKind| names.iter().position(|name| kind(name) == Some(wanted));
    if let Some(service) = of_kind(AuthKind::Forward).filter(|_| names.len() > 1) {
        let fault = Fault::new(format!(
            "`{}` asks a service about every request: nobody else is asked beside it",
            names[service]
        ));
        findings.value(&place(service), fault.hint("leave it alone, or have the service judge the others too"));
    }
    let mut basic = names.iter().enumerate().filter(|(_, name)| kind(name) == Some(AuthKind::Basic));
    if let (Some((first, _)), Some((second, _))) = (basic.next(), basic.next()) {
        let fault = Fault::new("nothing tells the passwords of one list of users from those of another");
        findings.clash(&place(second), fault.hint("put all users into one file"), &place(first), "the other list");
    }
    for (at, name) in names.iter().enumerate().filter(|(_, name)| kind(name) == Some(AuthKind::ApiKey)) {
        let Some(from) = file.auth.get(name).map(|settings| &settings.from.0) else { continue };
        let other = names.iter().position(|other| {
            let settings = file.auth.get(other).filter(|settings| settings.kind.0 == AuthKind::Jwt);
            settings.is_some_and(|settings| settings.token_from.iter().any(|place| place.0 == *from))
        });
        if let Some(other) = other {
            let fault = Fault::new(format!("nothing tells the keys of `{name}` from the tokens of `{}`", names[other]));
            let fault = fault.hint("have them in different places: `from` and `token_from`");
            findings.clash(&place(at), fault, &place(other), "looks there too");
        }
    }
}

/// What only tokens have can be asked of nobody else.
fn conditions(table: &RouteAuthTable, path: &KeyPath, names: &[String], file: &ConfigFile, findings: &mut Findings) {
    let of = |name: &String| file.auth.get(name).map(|settings| settings.kind.0);
    let other = names.iter().find(|name| of(name).is_some_and(|kind| kind != AuthKind::Jwt));
    if let Some(other) = other.filter(|_| !table.scopes.is_empty()) {
        let fault = Fault::new(format!("only tokens have scopes, and `{other}` is for something else"));
        findings.value(&path.key("scopes"), fault.hint("make a route of its own for it, or use `claims`"));
    }
    let service = names.iter().find(|name| of(name) == Some(AuthKind::Forward));
    if let Some(service) = service.filter(|_| table.optional) {
        let fault = Fault::new(format!("`{service}` is asked about every request: nothing is optional"));
        findings.value(&path.key("optional"), fault.hint("have the service say yes to those who bring nothing"));
    }
}
