//! A problem of a configuration and how it looks: what is wrong, where, and the way out. The text is the same on
//! every machine; colour is the terminal's business. Knows nothing of keys.

use std::fmt;

use super::key::KeyPath;
use super::text::Fault;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but it probably does not do what was meant.
    Warning,
}

/// Something wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The rule, where it is a lint's.
    pub rule: Option<&'static str>,
    /// Which value.
    pub path: KeyPath,
    /// What is wrong, and the way out.
    pub fault: Fault,
    /// Where it is written.
    pub place: Place,
    /// Another place that has to do with it, and what it is.
    pub related: Option<(String, Place)>,
}

/// Where something is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is missing, or a default.
    #[default]
    Nowhere,
    /// In a file.
    File {
        /// Index of the file and offset in it, to sort by.
        order: (usize, usize),
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// The line itself.
        excerpt: Excerpt,
    },
    /// In a variable of the environment.
    Environment(String),
    /// On the command line.
    Flag(String),
}

/// A line, fit to be printed, and which characters of it are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The line.
    pub text: String,
    /// The first character that is meant.
    pub start: usize,
    /// The first behind.
    pub end: usize,
}

/// All problems of a configuration, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<Problem>);

/// Whether a report is printed in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences.
    Plain,
    /// For a terminal.
    Colour,
}

impl Report {
    /// Sorts the problems.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.place.rank());
        Self(problems)
    }

    /// The problems.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    /// How many problems have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|problem| problem.severity == severity).count()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The report for people.
    pub fn render(&self, style: Style) -> String {
        let texts: Vec<String> = self.0.iter().map(|problem| problem.render(style)).collect();
        texts.join("\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}

impl Problem {
    /// An error at this place.
    pub fn error(path: KeyPath, fault: Fault, place: Place) -> Self {
        Self { severity: Severity::Error, rule: None, path, fault, place, related: None }
    }

    /// The problem for people: some lines, the last of them ended.
    pub fn render(&self, style: Style) -> String {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", "31"),
            Severity::Warning => ("warning", "33"),
        };
        let rule = self.rule.map(|rule| format!("[{rule}]")).unwrap_or_default();
        let title = style.paint(&format!("1;{colour}"), &format!("{word}{rule}"));
        let mut out = format!("{title}: {}\n", style.paint("1", &visible(&self.fault.what)));
        let margin = self.margin();
        self.place.render(&mut out, style, margin, colour, &self.path.to_string());
        if let Some((what, place)) = &self.related {
            place.render(&mut out, style, margin, "34", what);
        }
        if let Some(hint) = &self.fault.hint {
            let bar = style.paint("34", "=");
            out.push_str(&format!("{:margin$} {bar} help: {}\n", "", visible(hint)));
        }
        out
    }

    /// The width of the line numbers.
    fn margin(&self) -> usize {
        let related = self.related.as_ref().map(|(_, place)| place);
        let lines = [Some(&self.place), related].into_iter().flatten();
        lines.map(|place| place.line().to_string().len()).max().unwrap_or(1)
    }
}

impl Place {
    fn line(&self) -> usize {
        match self {
            Self::File { line, .. } => *line,
            _ => 0,
        }
    }

    /// Files in the order of reading, then the rest.
    fn rank(&self) -> (u8, usize, usize) {
        match self {
            Self::File { order, .. } => (0, order.0, order.1),
            Self::Environment(_) => (1, 0, 0),
            Self::Flag(_) => (2, 0, 0),
            Self::Nowhere => (3, 0, 0),
        }
    }

    fn render(&self, out: &mut String, style: Style, margin: usize, colour: &str, label: &str) {
        let arrow = style.paint("34", "-->");
        let bar = style.paint("34", "|");
        let head = match self {
            Self::Nowhere if label.is_empty() => return,
            Self::Nowhere => visible(label),
            Self::Environment(name) => format!("variable {}: {label}", visible(name)),
            Self::Flag(name) => format!("flag {}: {label}", visible(name)),
            Self::File { file, line, column, .. } => format!("{}:{line}:{column}", visible(file)),
        };
        out.push_str(&format!("{:margin$}{arrow} {head}\n", ""));
        if let Self::File { line, excerpt, .. } = self {
            let number = style.paint("34", &format!("{line:>margin$}"));
            let carets = "^".repeat(excerpt.end - excerpt.start);
            let under = style.paint(&format!("1;{colour}"), format!("{carets} {}", visible(label)).trim_end());
            out.push_str(&format!("{:margin$} {bar}\n", ""));
            out.push_str(format!("{number} {bar} {}", excerpt.text).trim_end());
            out.push_str(&format!("\n{:margin$} {bar} {:start$}{under}\n", "", "", start = excerpt.start));
        }
    }
}

impl Excerpt {
    /// At most a screen's width, with what is meant in it.
    #[must_use]
    pub fn shortened(self) -> Self {
        const WIDTH: usize = 100;
        const LEAD: usize = 40;
        let length = self.text.chars().count();
        if length <= WIDTH {
            return self;
        }
        let from = self.start.saturating_sub(LEAD).min(length - WIDTH);
        let text: String = self.text.chars().skip(from).take(WIDTH).collect();
        let start = self.start - from;
        Self { text, start, end: (self.end - from).clamp(start + 1, WIDTH.max(start + 1)) }
    }
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// The character as it may be shown: nothing that a terminal obeys, nothing that turns the direction of writing.
pub(super) fn visible_char(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

fn visible(text: &str) -> String {
    text.chars().map(visible_char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_around_what_is_meant() {
        let excerpt = Excerpt { text: "x".repeat(1000), start: 500, end: 900 };
        let short = excerpt.shortened();
        assert_eq!((short.text.len(), short.start, short.end), (100, 40, 100));
    }

    #[test]
    fn nothing_that_was_written_reaches_the_terminal_as_a_command() {
        let problem = Problem {
            severity: Severity::Warning,
            rule: Some("a-rule"),
            path: KeyPath::dotted("a.b"),
            fault: Fault::new("`\u{1b}[2J` is bad").hint("do\nnot"),
            place: Place::Environment("A\rB".to_owned()),
            related: None,
        };
        assert_eq!(
            problem.render(Style::Plain),
            "warning[a-rule]: `\u{fffd}[2J` is bad\n --> variable A\u{fffd}B: a.b\n  = help: do\u{fffd}not\n"
        );
        assert!(problem.render(Style::Colour).starts_with("\u{1b}[1;33mwarning[a-rule]\u{1b}[0m: "));
    }
}
