//! The structure, read from the sources: which floor may know which, how long things are, and what is spelled in one
//! place only. Says what ARCHITECTURE.md says, so that it stays true.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "architecture/sources.rs"]
mod sources;

use std::collections::BTreeSet;

use sources::{Source, files, rust, text};

/// The floors, lowest first. Modules of one floor are siblings: neither knows the other.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["telemetry"],
    &["layers", "upstream"],
    &["config"],
    &["runtime"],
    &["admin", "lab", "reload", "serve"],
    &["app"],
    &["bin"],
];

/// Who may know less than its floor allows: the module, and all that it may import.
const NARROW: &[(&str, &[&str])] = &[
    ("lab", &["base"]), // what surrounds a gateway in a trial shares nothing with it
];

/// What `config` may know of the floor of the services: how they are set, never what they are. The rules of tokens are
/// pure, as the arithmetic of buckets is, and keys are read when the configuration is, so that a wrong file is found then.
const SETTINGS: &[&str] = &[
    "upstream::policy",
    "layers::auth::policy",
    "layers::cache::policy",
    "layers::auth::algorithm",
    "layers::auth::claims",
    "layers::auth::keys",
    "layers::auth::verify",
    "layers::auth::key_list",
    "layers::auth::users",
    "layers::auth::watched",
    "layers::cors::policy",
    "layers::rate_limit::policy",
    "layers::rate_limit::bucket",
    "layers::redis::policy",
];

/// Longest file, in lines.
const FILE: usize = 400;
/// Longest function, in lines.
const FUNCTION: usize = 60;

/// The statics there are, each with why it may be one.
const STATICS: &[(&str, &str)] = &[
    ("src/config/schema.rs ROOT", "made from the types alone: the same for everybody"),
    ("src/config/schema.rs NAMES", "likewise"),
];

/// Who writes the media type of a refusal, each with why.
const REFUSERS: &[(&str, &str)] = &[
    ("src/runtime/problem.rs", "renders refusals"),
    ("src/serve/socket.rs", "writes a head where the codec has refused one"),
    ("src/serve/overload.rs", "answers without a codec"),
];

/// Who takes connections.
const LISTENERS: &[&str] = &["admin", "app", "bin", "lab", "serve"];

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| panic!("the module `{module}` has no floor: give it one in FLOORS and in ARCHITECTURE.md"))
}

fn own() -> Vec<Source> {
    rust(&["src"])
}

fn everything() -> Vec<Source> {
    rust(&["src", "tests", "benches", "examples", "fuzz"])
}

/// Fails with all complaints at once.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let modules: BTreeSet<String> = own().iter().map(Source::module).filter(|name| name != "lib").collect();
    let floors: BTreeSet<String> = FLOORS.concat().iter().map(|&name| name.to_owned()).collect();
    assert_eq!(modules, floors);
}

#[test]
fn modules_only_look_down() {
    let mut complaints = Vec::new();
    for source in own().iter().filter(|source| !["lib", "bin"].contains(&&*source.module())) {
        let from = source.module();
        for (line, path) in source.imports() {
            let to = path.split("::").next().unwrap_or_default().to_owned();
            let narrow = NARROW.iter().find(|(module, _)| *module == from);
            let allowed = narrow.is_none_or(|(_, modules)| modules.contains(&&*to));
            if to != from && (floor(&to) >= floor(&from) || !allowed) {
                complaints.push(format!("{}:{line}: `{from}` may not know `{to}`", source.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_configuration_knows_settings_and_no_services() {
    let mut complaints = Vec::new();
    for source in own().iter().filter(|source| source.module() == "config") {
        for (line, path) in source.imports() {
            let of_services = ["layers", "upstream"].iter().any(|module| path.starts_with(module));
            if of_services && !SETTINGS.iter().any(|settings| path.starts_with(settings)) {
                complaints.push(format!("{}:{line}: `config` may not know `{path}`", source.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn only_the_top_floors_take_connections() {
    let taking = |source: &&Source| source.code.contains("TcpListener") && !LISTENERS.contains(&&*source.module());
    none(&own().iter().filter(taking).map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut complaints = Vec::new();
    for source in everything() {
        let lines = source.text.lines().count();
        if lines > FILE {
            complaints.push(format!("{}: {lines} lines, at most {FILE}", source.path));
        }
        if !source.text.starts_with("//! ") {
            complaints.push(format!("{}: does not open with `//!`", source.path));
        }
    }
    none(&complaints);
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    for source in everything() {
        for (line, name, length) in source.functions() {
            if length > FUNCTION {
                complaints.push(format!("{}:{line}: `{name}` has {length} lines, at most {FUNCTION}", source.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn only_one_place_renders_refusals() {
    let rendering = |source: &&Source| source.uncommented.contains("application/problem+json");
    let found: BTreeSet<String> = own().iter().filter(rendering).map(|source| source.path.clone()).collect();
    let allowed = REFUSERS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, allowed);
}

#[test]
fn only_one_place_spells_metrics() {
    let spelling =
        |source: &&Source| source.path != "src/telemetry/names.rs" && source.uncommented.contains("\"tollgate_");
    none(&own().iter().filter(spelling).map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_global() {
    let found: BTreeSet<String> = own()
        .iter()
        .flat_map(|source| source.statics().into_iter().map(|name| format!("{} {name}", source.path)))
        .collect();
    let allowed = STATICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, allowed);
}

#[test]
fn every_floor_is_in_the_documents() {
    let architecture = text("ARCHITECTURE.md");
    let missing = FLOORS.concat().into_iter().filter(|module| !architecture.contains(*module));
    none(&missing.map(|module| format!("ARCHITECTURE.md does not name `{module}`")).collect::<Vec<_>>());
}

#[test]
fn no_word_is_left_that_does_not_belong() {
    // In two parts, so that this file does not have them.
    let words = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("/wo", "rk/"), ("/ho", "me/"), ("dbg", "!(")];
    let words: Vec<String> = words.iter().map(|(one, two)| format!("{one}{two}")).collect();
    let mut complaints = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            let found = words.iter().filter(|word| line.contains(*word));
            complaints.extend(found.map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    none(&complaints);
}
