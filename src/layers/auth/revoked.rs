//! Tokens that were taken back before their time: a file of their ids, one `jti` a line, watched. A file that cannot be
//! read any more takes nothing back and gives nothing back: the last list stays.

use std::collections::HashSet;
use std::path::PathBuf;

use tokio::runtime::Handle;

use super::watched::Watched;

type Ids = HashSet<Box<str>, foldhash::fast::RandomState>;

/// The ids of a watched file.
#[derive(Debug)]
pub struct Revoked(Watched<Ids>);

impl Revoked {
    /// Reads the file now, and again whenever it changes.
    pub fn start(path: PathBuf, control: &Handle) -> Self {
        let parse = |bytes: &[u8]| Ok(parse(&String::from_utf8_lossy(bytes)));
        Self(Watched::start(path, "the revoked tokens", Box::new(parse), control))
    }

    /// Whether the token of this id counts no more.
    pub fn has(&self, id: &str) -> bool {
        self.0.now().value.contains(id)
    }
}

/// The ids in a text: one a line, without empty lines and comments.
fn parse(text: &str) -> Ids {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lines() {
        let ids = parse("a\r\n\n  b c \n# d\n\u{e9}");
        let mut list: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
        list.sort_unstable();
        assert_eq!(list, ["a", "b c", "é"]);
    }
}
