//! What PromQL expressions ask for: metrics with the labels that they are selected by, and labels that results are
//! grouped by. Not a parser: it reads what dashboards and rules here are written in.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// What an expression asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Metrics, each with the labels of its matchers.
    pub(crate) selectors: Vec<(String, BTreeSet<String>)>,
    /// Labels in `by`, `on` and the like.
    pub(crate) groupings: BTreeSet<String>,
    /// Texts, of which some are the names of labels that a function makes.
    pub(crate) texts: BTreeSet<String>,
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

impl Asked {
    /// Reads an expression.
    pub(crate) fn of(expression: &str) -> Self {
        let mut asked = Self::default();
        let mut rest = expression.chars().peekable();
        while let Some(&char) = rest.peek() {
            match char {
                '"' => drop(asked.texts.insert(text(&mut rest))),
                '[' => drop(until(&mut rest, ']')),
                '0'..='9' | '$' => drop(word(&mut rest)),
                'a'..='z' | 'A'..='Z' | '_' => asked.word(&mut rest),
                _ => drop(rest.next()),
            }
        }
        asked
    }

    fn word(&mut self, rest: &mut Peekable<Chars<'_>>) {
        let name = word(rest);
        while rest.next_if(|char| char.is_whitespace()).is_some() {}
        match rest.peek().copied() {
            _ if WORDS.contains(&&*name) => {}
            Some('(') if GROUPING.contains(&&*name) => {
                rest.next();
                let list = until(rest, ')');
                let labels = list.split(',').map(str::trim).filter(|label| !label.is_empty());
                self.groupings.extend(labels.map(str::to_owned));
            }
            Some('(') => {}
            // An aggregation that says first what it groups by.
            _ if ["by", "without"].contains(&&*word(&mut rest.clone())) => {}
            Some('{') => {
                let labels = self.matchers(rest);
                self.selectors.push((name, labels));
            }
            _ => self.selectors.push((name, BTreeSet::new())),
        }
    }

    fn matchers(&mut self, rest: &mut Peekable<Chars<'_>>) -> BTreeSet<String> {
        let mut labels = BTreeSet::new();
        rest.next();
        while let Some(&char) = rest.peek() {
            match char {
                '}' => {
                    rest.next();
                    break;
                }
                '"' => drop(text(rest)),
                'a'..='z' | 'A'..='Z' | '_' => drop(labels.insert(word(rest))),
                _ => drop(rest.next()),
            }
        }
        labels
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(char) = rest.next_if(|char| char.is_ascii_alphanumeric() || "_:$.".contains(*char)) {
        word.push(char);
    }
    word
}

fn text(rest: &mut Peekable<Chars<'_>>) -> String {
    rest.next();
    let mut text = String::new();
    while let Some(char) = rest.next() {
        match char {
            '"' => break,
            '\\' => text.extend(rest.next()),
            char => text.push(char),
        }
    }
    text
}

fn until(rest: &mut Peekable<Chars<'_>>, end: char) -> String {
    let mut found = String::new();
    while let Some(char) = rest.next().filter(|char| *char != end) {
        found.push(char);
    }
    found
}

#[test]
fn expressions_are_read() {
    let asked = Asked::of(
        "histogram_quantile(0.99, sum by (le, route) (rate(a_bucket{job=~\"$job\",x!=\"}\"}[$__rate_interval]))) \
         and on (route) group_left () job:b:c > 14.4 * 1e3 or label_replace(d, \"class\", \"$1\", \"e\", \"f.*\")",
    );
    let labels = |list: &[&str]| list.iter().map(|&label| label.to_owned()).collect::<BTreeSet<_>>();
    let selectors = [("a_bucket", labels(&["job", "x"])), ("job:b:c", labels(&[])), ("d", labels(&[]))];
    assert_eq!(asked.selectors, selectors.map(|(name, labels)| (name.to_owned(), labels)));
    assert_eq!(asked.groupings, labels(&["le", "route"]));
    assert_eq!(asked.texts, labels(&["class", "$1", "e", "f.*"]));
}
