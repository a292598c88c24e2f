//! A strict reader of the Prometheus text format: what it takes, every scraper takes. Only what the format allows, each
//! family once and in one piece, with its help and its type, and no series twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::load::ask;

type Labels = BTreeMap<String, String>;

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) families: BTreeMap<String, Family>,
}

/// A family of metrics.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) help: Option<String>,
    pub(crate) kind: Option<String>,
    samples: Vec<(String, Labels, f64)>,
}

/// Gets the page of a gateway's operators, and reads it.
pub(crate) async fn scrape(admin: SocketAddr) -> Page {
    let answer = ask(admin, "/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    Page::parse(&answer.body).unwrap_or_else(|problem| panic!("{problem} in\n{}", answer.body))
}

impl Page {
    /// Reads a page, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        let (mut current, mut series) = (String::new(), BTreeSet::new());
        if !text.ends_with('\n') {
            return Err("the last line does not end".to_owned());
        }
        for line in text.lines().filter(|line| !line.is_empty()) {
            let told = if let Some(rest) = line.strip_prefix("# HELP ") {
                page.describe(rest, &mut current, |family| &mut family.help)
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                page.describe(rest, &mut current, |family| &mut family.kind)
            } else if line.starts_with('#') {
                Ok(())
            } else {
                page.add(line, &current, &mut series)
            };
            told.map_err(|problem| format!("{problem}: {line}"))?;
        }
        match page.families.iter().find(|(_, family)| family.samples.is_empty()) {
            Some((name, _)) => Err(format!("the family {name} has no samples")),
            None => Ok(page),
        }
    }

    fn describe(
        &mut self,
        rest: &str,
        current: &mut String,
        slot: impl Fn(&mut Family) -> &mut Option<String>,
    ) -> Result<(), String> {
        let (name, text) = rest.split_once(' ').ok_or("nothing is said")?;
        if current != name && self.families.contains_key(name) {
            return Err("the family was there before".to_owned());
        }
        name.clone_into(current);
        let family = self.families.entry(name.to_owned()).or_default();
        if !family.samples.is_empty() {
            return Err("it comes after the samples".to_owned());
        }
        match slot(family).replace(text.to_owned()) {
            Some(_) => Err("it is said twice".to_owned()),
            None => Ok(()),
        }
    }

    fn add(&mut self, line: &str, current: &str, series: &mut BTreeSet<(String, Labels)>) -> Result<(), String> {
        let (name, labels, value) = sample(line)?;
        let family = self.families.get_mut(current).ok_or("no family was begun")?;
        let suffixes: &[&str] = match family.kind.as_deref() {
            Some("histogram") => &["_bucket", "_sum", "_count"],
            Some("counter" | "gauge") => &[""],
            _ => return Err("the type is not known".to_owned()),
        };
        if !suffixes.iter().any(|suffix| name == format!("{current}{suffix}")) {
            return Err(format!("it does not belong to {current}"));
        }
        if family.kind.as_deref() == Some("counter") && value < 0.0 {
            return Err("a counter below zero".to_owned());
        }
        if !series.insert((name.clone(), labels.clone())) {
            return Err("the series was there before".to_owned());
        }
        family.samples.push((name, labels, value));
        Ok(())
    }

    /// The sum of the samples called `name` that have these labels; none if there is no such sample.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        let has = |own: &Labels| labels.iter().all(|(key, value)| own.get(*key).is_some_and(|own| own == value));
        let found: Vec<f64> =
            samples.filter(|(own, its, _)| own == name && has(its)).map(|(_, _, value)| *value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// The values of one label of a metric.
    pub(crate) fn labels(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.filter(|(own, _, _)| own == name).filter_map(|(_, labels, _)| labels.get(label).cloned()).collect()
    }
}

fn sample(line: &str) -> Result<(String, Labels, f64), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    let valid =
        |first: bool, char: char| char.is_ascii_alphabetic() || "_:".contains(char) || !first && char.is_ascii_digit();
    if name.is_empty() || !name.char_indices().all(|(at, char)| valid(at == 0, char)) {
        return Err("not a name".to_owned());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.parse().map_err(|_| "not a number".to_owned())?;
    Ok((name.to_owned(), labels, value))
}

/// Reads `a="b",c="d"}` and returns what follows.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut found = Labels::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((found, after));
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if name.is_empty() || !name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') {
            return Err("not a label".to_owned());
        }
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a value that does not end")? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, char @ ('\\' | '"'))) => char,
                    _ => return Err("an escape that is none".to_owned()),
                }),
                (_, char) => value.push(char),
            }
        };
        if found.insert(name.to_owned(), value).is_some() {
            return Err("a label twice".to_owned());
        }
        rest = &after[end..];
        rest = match rest.strip_prefix(',') {
            Some(next) if !next.starts_with('}') => next,
            Some(_) => return Err("a comma before the end".to_owned()),
            None if rest.starts_with('}') => rest,
            None => return Err("no comma between labels".to_owned()),
        };
    }
}

#[test]
fn the_reader_is_strict() {
    let head = "# HELP a A.\n# TYPE a counter\n";
    let good = Page::parse(&format!("{head}a{{b=\"x\\\"\\\\\\n\",c=\"\"}} 1\na 2\n")).unwrap();
    assert_eq!(good.value("a", &[("b", "x\"\\\n")]), Some(1.0));
    assert_eq!((good.value("a", &[]), good.value("b", &[])), (Some(3.0), None));
    for bad in [
        "a 1\na 1\n",
        "a 1",
        "a -1\n",
        "a{b=\"\\x\"} 1\n",
        "a{b=\"1\",} 1\n",
        "a{b=\"1\"c=\"2\"} 1\n",
        "a{b=\"1\",b=\"2\"} 1\n",
        "a_sum 1\n",
        "a one\n",
        "1a 1\n",
        "",
        "a 1\n# TYPE a counter\n",
        "a 1\n# HELP b B.\n# TYPE b gauge\nb 1\na{c=\"1\"} 1\n",
        "a 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\n",
    ] {
        assert!(Page::parse(&format!("{head}{bad}")).is_err(), "{bad}");
    }
}
