//! Files that are looked at again and again: by their stamp, which costs a system call, and read only when that has
//! changed. Works on mounted volumes, where notifications do not.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How often files are looked at.
pub const PERIOD: Duration = Duration::from_secs(1);

/// What changes when a file does: which one it is, when it was written, how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// The stamp of a file, links followed.
///
/// # Errors
/// When it is not there or may not be looked at.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = std::fs::metadata(path)?;
    Ok(Stamp {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        written: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

/// A file of at most this many bytes.
///
/// # Errors
/// When it cannot be read, or is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_or_replaced_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        assert!(stamp(&path).is_err());
        std::fs::write(&path, "one").unwrap();
        let first = stamp(&path).unwrap();
        assert_eq!(stamp(&path).unwrap(), first);
        std::fs::write(&path, "one more").unwrap();
        assert_ne!(stamp(&path).unwrap(), first);
        std::fs::write(&other, "one").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(stamp(&path).unwrap(), first);
        assert_eq!(read(&path, 3).unwrap(), b"one");
        assert!(read(&path, 2).is_err());
    }
}
