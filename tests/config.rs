//! Golden configurations: each file in `tests/config/` holds an input and what must come of it. `UPDATE_CASES=1`
//! writes what comes of it now. Besides, every sample that is shipped or shown must load.
//!
//! ```text
//! #! env NAME=value          a variable of the environment; lines like this come first
//! [[routes]] …               the input
//! -------- file conf.d/a.toml
//! …                          another file beside it
//! -------- error             or `warning`, or `effective TABLE…`: what must come out
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tollgate::config::effective::to_toml;
use tollgate::config::load::{Environment, Input, LoadError, Loaded, from_text, load};
use tollgate::config::problem::Style;

const RULER: &str = "-------- ";

struct Case {
    environment: Environment,
    files: Vec<(String, String)>,
    input: String,
    kind: String,
    expected: String,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut sections = vec![("gateway.toml".to_owned(), String::new())];
        for line in text.split_inclusive('\n') {
            match line.strip_prefix(RULER) {
                Some(title) => sections.push((title.trim().to_owned(), String::new())),
                None => sections.last_mut().unwrap().1.push_str(line),
            }
        }
        let (kind, expected) = sections.pop().unwrap();
        let variables = sections[0].1.lines().filter_map(|line| line.strip_prefix("#! env ")?.split_once('='));
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let name = |title: String| title.strip_prefix("file ").unwrap_or(&title).to_owned();
        Self {
            environment,
            files: sections.into_iter().map(|(title, text)| (name(title), text)).collect(),
            input: text[..text.rfind(&format!("{RULER}{kind}")).unwrap()].to_owned(),
            kind,
            expected,
        }
    }

    fn run(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let input = Input {
            file: folder.path().join("gateway.toml"),
            environment: self.environment.clone(),
            overrides: Vec::new(),
        };
        let outcome = match (load(&input), self.kind.split_once(' ')) {
            (Ok(loaded), Some(("effective", tables))) => only(&to_toml(&loaded.config), tables),
            (Ok(loaded), _) if self.kind == "effective" => to_toml(&loaded.config),
            (Ok(loaded), _) => loaded.warnings.to_string(),
            (Err(LoadError::Invalid(report)), _) => report.to_string(),
            (Err(error), _) => error.to_string(),
        };
        outcome.replace(&format!("{}/", folder.path().display()), "")
    }
}

/// The tables of a TOML text that begin with one of these names.
fn only(toml: &str, tables: &str) -> String {
    let wanted = |part: &&str| {
        let name = part.trim_start_matches(['[', '\n']);
        tables.split(' ').any(|table| name.starts_with(table))
    };
    let parts: Vec<&str> = toml.split("\n\n").filter(wanted).map(str::trim_end).collect();
    parts.join("\n\n") + "\n"
}

fn difference(expected: &str, found: &str) -> String {
    let mut out = String::new();
    let (mut expected, mut found) = (expected.lines(), found.lines());
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return out,
            (Some(left), Some(right)) if left == right => writeln!(out, "    {left}").unwrap(),
            (left, right) => {
                left.iter().for_each(|line| writeln!(out, "  - {line}").unwrap());
                right.iter().for_each(|line| writeln!(out, "  + {line}").unwrap());
            }
        }
    }
}

fn files_with(extension: &str, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn loads(path: &Path) -> Loaded {
    let input = Input { file: path.to_owned(), ..Input::default() };
    load(&input).unwrap_or_else(|error| panic!("{}\n{error}", path.display()))
}

#[test]
fn cases() {
    let update = std::env::vars().any(|(name, _)| name == "UPDATE_CASES");
    let cases = files_with("case", "tests/config");
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    let mut failures = String::new();
    for path in cases {
        let case = Case::parse(&fs::read_to_string(&path).unwrap());
        let found = case.run();
        if update {
            fs::write(&path, format!("{}{RULER}{}\n{found}", case.input, case.kind)).unwrap();
        } else if found != case.expected {
            writeln!(failures, "{}\n{}", path.display(), difference(&case.expected, &found)).unwrap();
        }
    }
    assert!(failures.is_empty(), "expected (-), found (+)\n\n{failures}");
}

#[test]
fn every_case_that_can_be_used_comes_back_from_its_effective_form() {
    let mut secrets = 0;
    for path in files_with("case", "tests/config") {
        let case = Case::parse(&fs::read_to_string(&path).unwrap());
        let text = &case.files[0].1;
        let Ok(first) = from_text(text) else { continue };
        if to_toml(&first.config).contains("***") {
            secrets += 1;
            continue;
        }
        let again = from_text(&to_toml(&first.config)).unwrap_or_else(|report| panic!("{}\n{report}", path.display()));
        assert_eq!(again.config, first.config, "{}", path.display());
    }
    assert!(secrets > 0, "no case has a secret");
}

#[test]
fn shipped_samples_load_without_a_warning() {
    let samples = [files_with("toml", "config"), files_with("toml", "deploy")].concat();
    assert!(!samples.is_empty());
    for path in samples {
        let loaded = loads(&path);
        // In a container the operators' listener has to be reachable from outside of it.
        let contained = |rule| rule == Some("open-admin") && path.components().any(|part| part.as_os_str() == "deploy");
        let meant = loaded.warnings.problems().iter().all(|warning| contained(warning.rule));
        assert!(meant, "{}\n{}", path.display(), loaded.warnings);
        let again = from_text(&to_toml(&loaded.config)).unwrap();
        assert_eq!(again.config, loaded.config, "{}", path.display());
    }
}

#[test]
fn samples_in_the_documentation_load() {
    let mut documents = files_with("md", "docs");
    documents.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    // They may speak of files that people have beside it.
    let folder = tempfile::tempdir().unwrap();
    for name in ["keys.txt", "users.htpasswd"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let file = folder.path().join("gateway.toml");
    for path in documents.iter().filter(|path| path.exists()) {
        let text = fs::read_to_string(path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            fs::write(&file, block).unwrap();
            let loaded = load(&Input { file: file.clone(), ..Input::default() });
            assert!(loaded.is_ok(), "{}\n{block}{}", path.display(), loaded.unwrap_err());
        }
    }
}

#[test]
fn the_big_sample_names_every_key() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/gateway.toml")).unwrap();
    let forms = |key: &str| [format!("{key} = "), format!("[{key}]"), format!("[{key}."), format!(".{key}]")];
    let schema: serde_json::Value = serde_json::from_str(&tollgate::config::schema::to_json()).unwrap();
    let mut tables: Vec<_> = schema["$defs"].as_object().unwrap().values().collect();
    tables.push(&schema);
    for (key, _) in tables.iter().filter_map(|table| table["properties"].as_object()).flatten() {
        let written = forms(key).iter().any(|form| text.contains(form));
        assert!(written, "config/gateway.toml does not show `{key}`");
    }
}

#[test]
fn the_small_sample_is_three_lines() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/minimal.toml")).unwrap();
    assert_eq!(text.lines().count(), 3);
}

/// What a slip of the keyboard, or an enemy, may put into a file.
const PIECES: &[&str] = &[
    "",
    "=",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "'",
    ",",
    ".",
    "\n",
    "#",
    "0",
    "-1",
    "1e400",
    "9223372036854775807",
    "nan",
    "true",
    "2024-01-01",
    "é",
    "\u{202e}",
    "\u{0}",
    "\r",
    "\t",
    "[routes]",
    "[[routes]]",
    "[[upstreams]]",
    "\"http://a@b\"",
    "a.b.c = 1",
    "token = \"x",
    "{path}",
    "://",
    "%2f",
    "*.",
    "::1",
    "99999999999999999999s",
    "\\u0000",
    "\\U0010FFFF",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_loader_panic(
        sample in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20usize, prop::sample::select(PIECES)), 1..8),
    ) {
        let samples = [files_with("toml", "config"), files_with("case", "tests/config")].concat();
        let mut text = fs::read_to_string(&samples[sample.index(samples.len())]).unwrap();
        for (at, length, piece) in edits {
            let boundary = |at: usize| (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            let start = boundary(at.index(text.len() + 1));
            let end = boundary((start + length).min(text.len()));
            text.replace_range(start..end, piece);
        }
        match from_text(&text) {
            Ok(loaded) => {
                let again = from_text(&to_toml(&loaded.config));
                prop_assert!(again.is_ok(), "{text}");
            }
            Err(report) => prop_assert!(!report.render(Style::Colour).is_empty()),
        }
    }
}
