//! Reads sources well enough to judge them: comments and literals are told from code, tests from the rest. No parser:
//! the sources are formatted, which makes them regular.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file, without its tests except for `text`.
pub(crate) struct Source {
    /// Its path in the repository.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Comments are blank; as long as the text.
    pub(crate) uncommented: String,
    /// Comments and the insides of literals are blank; as long as the text.
    pub(crate) code: String,
    /// `code` with its tests.
    tested: String,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let (uncommented, code) = (blank(&text, true), blank(&text, false));
        let tests = tests(&path, &code);
        let without = |text: &str| {
            let kept = text.char_indices().map(|(at, char)| match tests.iter().any(|test| test.contains(&at)) {
                true if char != '\n' => ' ',
                _ => char,
            });
            kept.collect::<String>()
        };
        Self { uncommented: without(&uncommented), tested: code.clone(), code: without(&code), path, text }
    }

    /// The module at the top of the crate that it belongs to.
    pub(crate) fn module(&self) -> String {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').next().unwrap_or_default().to_owned()
    }

    /// What it names in the crate outside of itself, as paths from the crate's root, each with its line.
    pub(crate) fn imports(&self) -> Vec<(usize, String)> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<&str> = path.split('/').collect();
        if module.last() == Some(&"mod") {
            module.pop();
        }
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            found.push((at, self.code[at + "crate::".len()..].to_owned()));
        }
        let climbing = "super::".repeat(module.len());
        for (at, _) in self.code.match_indices(&climbing) {
            found.push((at, self.code[at + climbing.len()..].to_owned()));
        }
        let lines = |at: usize| self.code[..at].matches('\n').count() + 1;
        let roots = |(at, rest): (usize, String)| names(&rest).into_iter().map(move |name| (lines(at), name));
        found.into_iter().flat_map(roots).collect()
    }

    /// Its functions, tests included: line, name, number of lines.
    pub(crate) fn functions(&self) -> Vec<(usize, String, usize)> {
        let code = &self.tested;
        let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let mut found = Vec::new();
        for (at, _) in code.match_indices("fn ").filter(|(at, _)| begins(*at)) {
            let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let (false, Some(end)) = (name.is_empty(), end_of_block(code, at)) {
                let length = code[at..end].matches('\n').count() + 1;
                found.push((code[..at].matches('\n').count() + 1, name, length));
            }
        }
        found
    }

    /// The names of its statics.
    pub(crate) fn statics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for line in self.code.lines().map(str::trim_start) {
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let line = line.split_once(") ").filter(|_| line.starts_with("pub(")).map_or(line, |(_, rest)| rest);
            if let Some(rest) = line.strip_prefix("static ") {
                found.push(rest.split(':').next().unwrap_or_default().to_owned());
            }
            found.extend(
                ["thread_local!", "lazy_static!"].iter().filter(|word| line.contains(*word)).map(|&w| w.into()),
            );
        }
        found
    }
}

/// The Rust files in these folders.
pub(crate) fn rust(folders: &[&str]) -> Vec<Source> {
    let sources = files().into_iter().filter(|(path, _)| {
        path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(&format!("{folder}/")))
    });
    sources.map(|(path, text)| Source::new(path, text)).collect()
}

/// A text of the repository.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text of the repository, by path: not what is built, and not what other tools keep.
pub(crate) fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path().strip_prefix(root()).unwrap().display().to_string();
            if [".git", "target", "dist", "Cargo.lock"].contains(&path.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The first names of a path, or of each path in braces.
fn names(rest: &str) -> Vec<String> {
    let of_a_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let path = |text: &str| text.chars().take_while(|c| of_a_path(*c)).collect::<String>();
    let Some(inner) = rest.strip_prefix('{') else {
        return vec![path(rest)];
    };
    let (mut depth, mut begins, mut found) = (0, true, Vec::new());
    for (at, char) in inner.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && of_a_path(char) => {
                found.push(path(&inner[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    found
}

/// Where the block ends that follows; none if a semicolon comes first.
fn end_of_block(code: &str, from: usize) -> Option<usize> {
    let (mut round, mut curly) = (0, 0);
    for (at, char) in code[from..].char_indices() {
        match char {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if round == 0 && curly == 0 => return None,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 {
                    return Some(from + at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where tests stand in the code.
fn tests(path: &str, code: &str) -> Vec<std::ops::Range<usize>> {
    if path.ends_with("tests.rs") {
        return std::iter::once(0..code.len()).collect();
    }
    let marked = code.match_indices("#[cfg(test)]");
    marked.filter_map(|(at, _)| Some(at..end_of_block(code, at)? + 1)).collect()
}

/// Replaces comments by blanks, and what is inside of literals unless they are kept. Every character that is not ASCII
/// becomes as many blanks as it has bytes, so that places stay the same.
fn blank(text: &str, keep_literals: bool) -> String {
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = bytes.iter().map(|byte| if byte.is_ascii() { *byte } else { b' ' }).collect();
    let mut at = 0;
    while at < bytes.len() {
        let (end, inside) = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => (find(bytes, at, b"\n"), Some(at)),
            b'/' if bytes[at..].starts_with(b"/*") => (find(bytes, at, b"*/") + 2, Some(at)),
            b'r' if raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).unwrap_or_default();
                let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
                let begin = at + hashes + 2;
                (find(bytes, begin, &close), (!keep_literals).then_some(begin))
            }
            b'"' => (end_of_string(bytes, at + 1), (!keep_literals).then_some(at + 1)),
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => {
                (find(bytes, at + 3, b"'") + 1, (!keep_literals).then_some(at + 1))
            }
            b'\'' if text.get(at + 1..).is_some_and(is_char) => {
                (find(bytes, at + 2, b"'") + 1, (!keep_literals).then_some(at + 1))
            }
            _ => (at + 1, None),
        };
        let end = end.min(bytes.len());
        for byte in inside.map(|begin| &mut out[begin.min(end)..end]).into_iter().flatten() {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = if bytes[at] == b'"' || raw_hashes(bytes, at).is_some() { end + 1 } else { end };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.windows(what.len()).position(|window| window == what).map_or(bytes.len(), |at| from + at)
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// How many hashes a raw string has that begins here.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    if bytes[at] != b'r' || before.is_some_and(|byte| byte.is_ascii_alphanumeric() && byte != b'b' || byte == b'_') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// Whether a character literal goes on here: a lifetime has no second quote.
fn is_char(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next().is_some() && chars.next() == Some('\'')
}

#[test]
fn code_is_told_from_what_only_looks_like_it() {
    let text = "fn a<'x>() { let b = \"} // \\\"\"; /* } */ let c = '}'; r#\"} \"\"#; } // }\nfn d();\n#[cfg(test)]\nmod t { fn e() {\n} }\n";
    let source = Source::new("src/serve/x.rs".to_owned(), text.to_owned());
    assert_eq!(source.code.len(), text.len());
    assert_eq!(source.functions(), [(1, "a".to_owned(), 1), (4, "e".to_owned(), 2)]);
    assert!(!source.code.contains("mod t"), "{}", source.code);
    assert_eq!(source.module(), "serve");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::base::a;\nuse crate::{config::{b, c}, app};\nuse super::super::runtime::Live;\nuse super::d;\n// crate::lab\n";
    let source = Source::new("src/serve/x.rs".to_owned(), text.to_owned());
    let found: Vec<String> = source.imports().into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["base::a", "config::", "app", "runtime::Live"]);
}
