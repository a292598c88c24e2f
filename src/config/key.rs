//! The place of a value in the configuration, such as `routes[3].upstream`. Knows no files.

use std::fmt;

/// The steps from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Step>);

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    /// The whole configuration.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path from dotted keys, without indexes and quotes: `server.listen`.
    pub fn dotted(text: &str) -> Self {
        Self(text.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    /// The value behind a key of this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// An element of this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// What this one is in.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// What this one is in, and its key there, where that is no index.
    pub fn split_last(&self) -> Option<(Self, &str)> {
        match self.0.split_last()? {
            (Step::Key(key), above) => Some((Self(above.to_vec()), key)),
            (Step::Index(_), _) => None,
        }
    }

    /// The number of steps.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether this one is `other` or in it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The keys, where no step is an index.
    pub fn keys(&self) -> Option<Vec<&str>> {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        steps.collect()
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare =
            |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    f.write_str(if at == 0 { "" } else { "." })?;
                    match bare(key) {
                        true => f.write_str(key)?,
                        false => write!(f, "{key:?}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_toml() {
        let path = KeyPath::root().key("routes").index(3).key("headers").key("a b");
        assert_eq!(path.to_string(), "routes[3].headers.\"a b\"");
        assert!(path.is_within(&KeyPath::dotted("routes")) && !path.is_within(&KeyPath::dotted("route")));
        assert_eq!(KeyPath::dotted("a.b").keys(), Some(vec!["a", "b"]));
        assert_eq!(path.keys(), None);
    }
}
