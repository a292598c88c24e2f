//! The last good key set on disk, so that a gateway that starts while the issuer is away still knows its keys. One file
//! per policy, written whole and renamed; it is believed only for the source and the time that it was fetched from.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Largest file, in bytes: a set and what is written around it.
const LARGEST: u64 = 8 << 20;

/// A key set as it is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Where it came from.
    pub source: String,
    /// When, in seconds since the epoch.
    pub fetched: u64,
    /// The set as it came.
    pub jwks: String,
}

/// The file of a policy.
pub fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jwks.json"))
}

/// What is kept there of this source, and how old it is. Nothing that is older than `oldest`, or from the future.
pub fn load(path: &Path, source: &str, now: u64, oldest: Duration) -> Option<(Stored, Duration)> {
    let stored: Stored = serde_json::from_slice(&super::watch::read(path, LARGEST).ok()?).ok()?;
    let age = Duration::from_secs(now.checked_sub(stored.fetched)?);
    (stored.source == source && age <= oldest).then_some((stored, age))
}

/// Keeps a set.
///
/// # Errors
/// When the file cannot be written.
pub fn save(path: &Path, stored: &Stored) -> io::Result<()> {
    let written = path.with_extension("new");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&written, serde_json::to_vec(stored)?)?;
    std::fs::rename(&written, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_believed_for_its_source_and_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("made"), "main");
        let stored = || Stored { source: "https://a/".to_owned(), fetched: 1000, jwks: "{}".to_owned() };
        save(&path, &stored()).unwrap();
        save(&path, &stored()).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(load(&path, "https://a/", 1060, hour), Some((stored(), Duration::from_secs(60))));
        assert_eq!(load(&path, "https://b/", 1060, hour), None);
        assert_eq!(load(&path, "https://a/", 1000 + 3601, hour), None);
        assert_eq!(load(&path, "https://a/", 999, hour), None);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(load(&path, "https://a/", 1060, hour), None);
    }
}
