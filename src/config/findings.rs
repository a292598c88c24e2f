//! The list that every check writes to. What is already known to be broken is not reported twice: a route whose
//! `upstream` has a bad form is not also missing one.

use std::collections::BTreeSet;

use super::key::KeyPath;
use super::problem::{Place, Problem, Report, Severity};
use super::source::{Part, Sources};
use super::text::Fault;

/// Problems found so far.
pub(super) struct Findings<'a> {
    sources: &'a Sources,
    problems: Vec<Problem>,
    broken: BTreeSet<KeyPath>,
}

impl<'a> Findings<'a> {
    /// Those that were found while reading, to begin with.
    pub(super) fn new(sources: &'a Sources, problems: Vec<Problem>) -> Self {
        Self { sources, problems, broken: BTreeSet::new() }
    }

    /// Reports a value.
    pub(super) fn value(&mut self, path: &KeyPath, fault: Fault) {
        self.push(path, Part::Value, fault, None);
    }

    /// Reports a key.
    pub(super) fn key(&mut self, path: &KeyPath, fault: Fault) {
        self.push(path, Part::Key, fault, None);
    }

    /// Reports a value that does not go together with another one.
    pub(super) fn clash(&mut self, path: &KeyPath, fault: Fault, other: &KeyPath, label: &str) {
        self.push(path, Part::Value, fault, Some((other, label)));
    }

    /// Warns of a value.
    pub(super) fn warn(&mut self, rule: &'static str, path: &KeyPath, fault: Fault, other: Option<(&KeyPath, &str)>) {
        let mut problem = self.problem(path, Part::Value, fault, other);
        problem.severity = Severity::Warning;
        problem.rule = Some(rule);
        self.problems.push(problem);
    }

    /// Says that the value at this path could not be read and was left out.
    pub(super) fn mark_broken(&mut self, path: &KeyPath) {
        self.broken.insert(path.clone());
    }

    /// Whether the value, something that it is in, or something in it could not be read.
    pub(super) fn is_broken(&self, path: &KeyPath) -> bool {
        self.broken.iter().any(|broken| broken.is_within(path) || path.is_within(broken))
    }

    /// Whether anybody has written the value.
    pub(super) fn is_written(&self, path: &KeyPath) -> bool {
        self.sources.has(path)
    }

    /// Whether the environment sets the value.
    pub(super) fn is_from_environment(&self, path: &KeyPath) -> bool {
        matches!(self.sources.place(path, Part::Value), Place::Environment(_))
    }

    /// Everything found, in order.
    pub(super) fn report(self) -> Report {
        Report::new(self.problems)
    }

    /// Whether anything found forbids the configuration.
    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn push(&mut self, path: &KeyPath, part: Part, fault: Fault, other: Option<(&KeyPath, &str)>) {
        if !self.broken.iter().any(|broken| path.is_within(broken)) {
            let problem = self.problem(path, part, fault, other);
            self.problems.push(problem);
        }
    }

    fn problem(&self, path: &KeyPath, part: Part, fault: Fault, other: Option<(&KeyPath, &str)>) -> Problem {
        let mut problem = Problem::error(path.clone(), fault, self.sources.place(path, part));
        problem.related = other.map(|(other, label)| (label.to_owned(), self.sources.place(other, Part::Value)));
        problem
    }
}
