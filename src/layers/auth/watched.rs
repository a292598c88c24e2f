//! A file whose content counts while the gateway runs: read at the start, and again whenever it changes. What cannot be
//! read changes nothing: the last good content stays, and the log says what is wrong, once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::Handle;

use super::watch::{self, Stamp};
use crate::base::tasks::{self, Task};

/// Largest file, in bytes.
const LARGEST: u64 = 64 << 20;

/// What a watched file holds.
pub struct Watched<T> {
    current: Arc<ArcSwap<Content<T>>>,
    _watching: Task,
}

/// What it held at one time.
#[derive(Debug)]
pub struct Content<T> {
    /// The content.
    pub value: T,
    /// Grows when it changes.
    pub generation: u64,
}

/// How bytes become content. What is wrong with them is said without anything of what is in them.
pub type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// The file, and what is known of it.
struct File<T> {
    path: PathBuf,
    /// What the log calls it.
    what: &'static str,
    parse: Parse<T>,
    /// What it looked like when it was last read, well or not.
    seen: Option<Stamp>,
    /// What was wrong with it then.
    wrong: Option<String>,
}

impl<T: Default + Send + Sync + 'static> Watched<T> {
    /// Reads the file now, and again on the runtime behind `control` whenever it changes. `what` is what the log calls
    /// its content.
    pub fn start(path: PathBuf, what: &'static str, parse: Parse<T>, control: &Handle) -> Self {
        let mut file = File { path, what, parse, seen: None, wrong: None };
        let value = file.read().unwrap_or_default();
        let current = Arc::new(ArcSwap::from_pointee(Content { value, generation: 1 }));
        let watching = tasks::spawn_on(control, watch(file, current.clone()));
        Self { current, _watching: watching }
    }

    /// What counts now.
    pub fn now(&self) -> Guard<Arc<Content<T>>> {
        self.current.load()
    }
}

impl<T> File<T> {
    /// Reads it. What is wrong is logged when it is wrong in another way than before.
    fn read(&mut self) -> Option<T> {
        let (path, what) = (self.path.display(), self.what);
        // The stamp first: what is written between the two is then read again.
        let read = watch::stamp(&self.path).and_then(|stamp| Ok((stamp, watch::read(&self.path, LARGEST)?)));
        let (seen, parsed) = match read {
            Ok((stamp, bytes)) => (Some(stamp), (self.parse)(&bytes)),
            Err(error) => (None, Err(error.to_string())),
        };
        self.seen = seen;
        match parsed {
            Ok(value) => {
                if self.wrong.take().is_some() {
                    tracing::info!(%path, "{what} can be read again");
                }
                Some(value)
            }
            Err(error) => {
                if self.wrong.as_ref() != Some(&error) {
                    tracing::error!(%path, %error, "{what} cannot be read: the last ones stay");
                }
                self.wrong = Some(error);
                None
            }
        }
    }

    fn has_changed(&self) -> bool {
        watch::stamp(&self.path).ok() != self.seen || self.seen.is_none()
    }
}

async fn watch<T: Send + Sync + 'static>(mut file: File<T>, current: Arc<ArcSwap<Content<T>>>) {
    loop {
        tokio::time::sleep(watch::PERIOD).await;
        if !file.has_changed() {
            continue;
        }
        let read = tokio::task::spawn_blocking(move || {
            let value = file.read();
            (file, value)
        });
        // Only a panic ends this, and then the last content stays.
        let Ok((back, value)) = read.await else { return };
        file = back;
        if let Some(value) = value {
            let generation = current.load().generation + 1;
            tracing::info!(path = %file.path.display(), "{} were read again", file.what);
            current.store(Arc::new(Content { value, generation }));
        }
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

/// Why a line of a file cannot be used. Nothing of the line is in it: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub what: String,
}

impl BadLine {
    /// All of them in one line of the log: the first, and how many more.
    pub fn summary(lines: &[Self]) -> String {
        match lines {
            [] => "it has no good line".to_owned(),
            [only] => format!("line {}: {}", only.number, only.what),
            [first, rest @ ..] => format!("line {}: {}, and {} more", first.number, first.what, rest.len()),
        }
    }
}

/// The lines of a file that say something, with their numbers: neither empty nor a comment. A line that is not UTF-8 is
/// a bad one.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<&str, BadLine>)> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
    said.map(|(at, line)| {
        let number = at + 1;
        let bad = |_| BadLine { number, what: "it is not UTF-8".to_owned() };
        (number, std::str::from_utf8(line).map_err(bad))
    })
}

/// The content of a file, for those who look at it once.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    watch::read(path, LARGEST)
}
