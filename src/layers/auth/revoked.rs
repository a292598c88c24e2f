//! Tokens that were taken back before their time: a file of their ids, one `jti` a line, watched. A file that cannot be
//! read any more takes nothing back and gives nothing back: the last list stays.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::watch::{self, Stamp};
use crate::base::tasks::{self, Task};

/// Largest file, in bytes.
const LARGEST: u64 = 64 << 20;

type Ids = HashSet<Box<str>, foldhash::fast::RandomState>;

/// The ids of a watched file.
#[derive(Debug)]
pub struct Revoked {
    ids: Arc<ArcSwap<Ids>>,
    _watching: Task,
}

impl Revoked {
    /// Reads the file now, and again whenever it changes.
    pub fn start(path: PathBuf, control: &Handle) -> Self {
        let (ids, seen) = match load(&path) {
            Ok((ids, stamp)) => (ids, Some(stamp)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the revoked tokens cannot be read");
                (Ids::default(), None)
            }
        };
        let ids = Arc::new(ArcSwap::from_pointee(ids));
        let watching = tasks::spawn_on(control, watch(path, seen, ids.clone()));
        Self { ids, _watching: watching }
    }

    /// Whether the token of this id counts no more.
    pub fn has(&self, id: &str) -> bool {
        self.ids.load().contains(id)
    }
}

/// The ids in a text: one a line, without empty lines and comments.
fn parse(text: &str) -> Ids {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Into::into).collect()
}

fn load(path: &Path) -> std::io::Result<(Ids, Stamp)> {
    // The stamp first: what is written between the two is then read again.
    let stamp = watch::stamp(path)?;
    let bytes = watch::read(path, LARGEST)?;
    Ok((parse(&String::from_utf8_lossy(&bytes)), stamp))
}

async fn watch(path: PathBuf, mut seen: Option<Stamp>, ids: Arc<ArcSwap<Ids>>) {
    let mut failing = seen.is_none();
    loop {
        tokio::time::sleep(watch::PERIOD).await;
        let now = watch::stamp(&path).ok();
        if now.is_some() && now == seen {
            continue;
        }
        let from = path.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&from)).await;
        match loaded.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok((list, stamp)) => {
                tracing::info!(path = %path.display(), ids = list.len(), "the revoked tokens were read again");
                ids.store(Arc::new(list));
                (seen, failing) = (Some(stamp), false);
            }
            Err(error) => {
                if !failing {
                    tracing::error!(path = %path.display(), %error, "the revoked tokens cannot be read: the last list stays");
                }
                (seen, failing) = (None, true);
            }
        }
    }
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
