//! Where each value was written: the files as text, the spans of their keys and values, what a later source
//! overrode, and which stretches no message may show.

use std::collections::BTreeMap;
use std::ops::Range;

use super::key::KeyPath;
use super::problem::{Excerpt, Place, visible_char};

/// A file that was read. Not to be printed: there may be secrets in it.
pub(super) struct Source {
    /// How messages call it.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// What stays hidden.
    pub hidden: Vec<Range<usize>>,
}

/// Every source, and where in them each value is.
#[derive(Default)]
pub(super) struct Sources {
    files: Vec<Source>,
    marks: BTreeMap<KeyPath, Mark>,
}

/// Where one value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// In a file.
    File {
        /// Index of the file.
        file: usize,
        /// Its key.
        key: Range<usize>,
        /// Its value; of a table with a header of its own, the header.
        value: Range<usize>,
    },
    /// In a variable of the environment.
    Environment(String),
    /// On the command line.
    Flag(String),
}

/// Which side of `key = value` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl Sources {
    /// Takes a file in.
    pub(super) fn add(&mut self, source: Source) -> usize {
        self.files.push(source);
        self.files.len() - 1
    }

    /// Hides a stretch of a file from every message.
    pub(super) fn hide(&mut self, file: usize, span: Range<usize>) {
        if let Some(source) = self.files.get_mut(file) {
            source.hidden.push(span);
        }
    }

    /// Notes where a value is. `whole` says that nothing of an earlier source is left in it.
    pub(super) fn mark(&mut self, path: KeyPath, mark: Mark, whole: bool) {
        if whole {
            let stale: Vec<KeyPath> = self.within(&path).cloned().collect();
            stale.iter().for_each(|path| drop(self.marks.remove(path)));
        }
        self.marks.insert(path, mark);
    }

    /// The path as the files spell it: variables of the environment are in upper case and have no `-`, names may
    /// be in lower case and have some.
    pub(super) fn spelled(&self, path: &KeyPath) -> KeyPath {
        let plain = |path: &KeyPath| path.keys().map(|keys| keys.iter().map(|key| plain(key)).collect::<Vec<_>>());
        let mut known = self.marks.keys().filter(|known| known.depth() == path.depth());
        match known.find(|known| plain(known) == plain(path)) {
            Some(known) => known.clone(),
            None => match path.split_last() {
                Some((above, key)) => self.spelled(&above).key(key),
                None => KeyPath::root(),
            },
        }
    }

    /// Where the value is; or else something in it, for variables of the environment set no tables; or else what it
    /// is in.
    pub(super) fn place(&self, path: &KeyPath, part: Part) -> Place {
        let inside = self.within(path).next().cloned();
        let mut at = inside.or_else(|| path.parent());
        while let Some(here) = at {
            match self.marks.get(&here) {
                Some(Mark::File { file, key, value }) => {
                    let span = match part {
                        Part::Key if here == *path => key,
                        _ => value,
                    };
                    return self.in_file(*file, span.clone());
                }
                Some(Mark::Environment(name)) => return Place::Environment(name.clone()),
                Some(Mark::Flag(name)) => return Place::Flag(name.clone()),
                None => at = here.parent(),
            }
        }
        Place::Nowhere
    }

    /// Whether anybody has written the value, or something in it.
    pub(super) fn has(&self, path: &KeyPath) -> bool {
        self.within(path).next().is_some()
    }

    /// The marks of a value and of everything in it: they follow one another, the value's own first.
    fn within(&self, path: &KeyPath) -> impl Iterator<Item = &KeyPath> {
        let rest = self.marks.range(path.clone()..).map(|(known, _)| known);
        rest.take_while(move |known| known.is_within(path))
    }

    /// A stretch of a file.
    pub(super) fn in_file(&self, file: usize, span: Range<usize>) -> Place {
        let Some(source) = self.files.get(file) else {
            return Place::Nowhere;
        };
        let before = source.text.get(..span.start).unwrap_or(&source.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File {
            order: (file, span.start),
            file: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            excerpt: source.excerpt(line_start, span),
        }
    }
}

impl Source {
    /// A file of this name and text.
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), hidden: Vec::new() }
    }

    /// The line that begins at `start`, fit to be printed, and where in it the span is.
    fn excerpt(&self, start: usize, span: Range<usize>) -> Excerpt {
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        let mut shown = Excerpt::default();
        let mut in_hidden = false;
        for (offset, c) in line.trim_end_matches('\r').char_indices() {
            let at = start + offset;
            if at == span.start {
                shown.start = shown.text.chars().count();
            }
            let hidden = self.hidden.iter().any(|range| range.contains(&at));
            match (hidden, in_hidden) {
                (true, true) => {}
                (true, false) => shown.text.push_str("***"),
                (false, _) => shown.text.push(visible_char(c)),
            }
            in_hidden = hidden;
            if at < span.end {
                shown.end = shown.text.chars().count();
            }
        }
        if span.start >= start + line.len() {
            shown.start = shown.text.chars().count();
        }
        shown.end = shown.end.max(shown.start + 1);
        shown.shortened()
    }
}

/// A key such as a variable of the environment could spell it.
fn plain(key: &str) -> String {
    let lower = key.to_ascii_lowercase();
    lower.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, span: Range<usize>, hidden: Range<usize>) -> (usize, usize, Excerpt) {
        let mut sources = Sources::default();
        let file = sources.add(Source::new("a.toml", text));
        sources.hide(file, hidden);
        match sources.in_file(file, span) {
            Place::File { line, column, excerpt, .. } => (line, column, excerpt),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_caret_stands_under_the_value() {
        let (line, column, excerpt) = excerpt("a = 1\n\té = 23\n", 12..14, 0..0);
        assert_eq!((line, column), (2, 6));
        assert_eq!((excerpt.text.as_str(), excerpt.start, excerpt.end), (" é = 23", 5, 7));
    }

    #[test]
    fn what_is_hidden_stays_hidden() {
        let (_, _, excerpt) = excerpt("{ token = 'hunter2', x = 1 }", 21..22, 10..19);
        assert_eq!((excerpt.text.as_str(), excerpt.start, excerpt.end), ("{ token = ***, x = 1 }", 15, 16));
    }

    #[test]
    fn the_end_of_a_file_is_a_place() {
        let (line, column, excerpt) = excerpt("a = \"x", 6..6, 0..0);
        assert_eq!((line, column, excerpt.start, excerpt.end), (1, 7, 6, 7));
    }
}
