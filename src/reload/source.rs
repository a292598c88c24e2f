//! The files that a configuration comes from, and whether what is in them has changed. Contents are compared, never
//! times: a file that was touched, or replaced by an equal one, is no change.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::load::{self, Input, LoadError, Loaded};

/// How often a configuration is read again because it names files that were not looked at before.
const ROUNDS: usize = 3;

/// What was in each file: a hash, or nothing where it could not be read.
type Contents = BTreeMap<PathBuf, Option<u64>>;

/// Loads a configuration again and again.
#[derive(Debug)]
pub struct Source {
    input: Input,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Files that the configuration names, such as secrets.
    named: Vec<PathBuf>,
    /// What was there when it was loaded.
    contents: Contents,
}

impl Source {
    /// What this input means. Call it before the first load, so that no change goes unnoticed in between.
    pub fn new(input: Input) -> Self {
        let source = Self { input, hasher: RandomState::new(), seen: Mutex::default() };
        let contents = source.look(&[]);
        source.seen().contents = contents;
        source
    }

    /// The first load named these files.
    pub fn names(&self, files: &[PathBuf]) {
        let contents = files.iter().map(|file| (file.clone(), self.hash(file)));
        let mut seen = self.seen();
        for (file, content) in contents {
            seen.contents.entry(file).or_insert(content);
        }
        seen.named = files.to_vec();
    }

    /// Loads what the files say now.
    ///
    /// # Errors
    /// See [`load::load`]. The same contents are not a change after that either.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let mut round = 1;
        loop {
            // Looked at before they are read: what changes meanwhile is a change after this load.
            let named = self.seen().named.clone();
            let mut contents = self.look(&named);
            let loaded = load::load(&self.input);
            let mut seen = self.seen();
            if let Ok(loaded) = &loaded {
                let known = loaded.files.iter().all(|file| contents.contains_key(file));
                contents.retain(|file, _| loaded.files.contains(file));
                seen.named = loaded.files.clone();
                if !known && round < ROUNDS {
                    round += 1;
                    continue;
                }
            }
            seen.contents = contents;
            return loaded;
        }
    }

    /// Whether the files say something else than when they were loaded last.
    pub fn is_changed(&self) -> bool {
        let (named, before) = {
            let seen = self.seen();
            (seen.named.clone(), seen.contents.clone())
        };
        self.look(&named) != before
    }

    /// What to watch: each file, the folder that it is in, and the one that it really is in; `conf.d` though it may be
    /// empty.
    pub fn places(&self) -> Vec<PathBuf> {
        let named = self.seen().named.clone();
        let mut places = Vec::new();
        for file in self.files(&named) {
            places.extend(fs::canonicalize(&file).ok().and_then(|real| real.parent().map(Path::to_owned)));
            places.push(folder_of(&file));
            places.push(file);
        }
        places.push(self.input.file.with_file_name("conf.d"));
        places.sort();
        places.dedup();
        places.retain(|place| place.exists());
        places
    }

    fn files(&self, named: &[PathBuf]) -> Vec<PathBuf> {
        let mut files = load::files(&self.input.file).unwrap_or_else(|_| vec![self.input.file.clone()]);
        // What has left `conf.d` is no file of ours any more, though the last load named it.
        let conf_d = self.input.file.with_file_name("conf.d");
        files.extend(named.iter().filter(|file| file.parent() != Some(&conf_d)).cloned());
        files
    }

    fn look(&self, named: &[PathBuf]) -> Contents {
        self.files(named).into_iter().map(|file| (file.clone(), self.hash(&file))).collect()
    }

    fn hash(&self, file: &Path) -> Option<u64> {
        fs::read(file).ok().map(|bytes| self.hasher.hash_one(bytes))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "[[routes]]\nprefix = '/'\nupstream = 'http://a'\n";

    fn source(folder: &Path) -> Source {
        let source = Source::new(Input { file: folder.join("gateway.toml"), ..Input::default() });
        source.names(&source.load().unwrap().files);
        source
    }

    #[test]
    fn only_other_contents_are_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, ROUTE).unwrap();
        let source = source(folder.path());
        assert!(!source.is_changed());
        fs::write(folder.path().join("new"), ROUTE).unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(!source.is_changed(), "an equal file in its place");
        fs::write(&file, format!("{ROUTE}# more\n")).unwrap();
        assert!(source.is_changed());
        source.load().unwrap();
        assert!(!source.is_changed());
        fs::write(&file, "no = toml = at all").unwrap();
        assert!(source.is_changed());
        assert!(source.load().is_err());
        assert!(!source.is_changed(), "what was refused once is not tried again and again");
        fs::remove_file(&file).unwrap();
        assert!(source.is_changed());
        assert!(source.load().is_err());
        assert!(!source.is_changed());
    }

    #[test]
    fn conf_d_and_the_files_of_secrets_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.toml"), ROUTE).unwrap();
        let source = source(folder.path());
        let conf_d = folder.path().join("conf.d");
        fs::create_dir(&conf_d).unwrap();
        assert!(!source.is_changed(), "an empty folder");
        fs::write(conf_d.join("notes.txt"), "x").unwrap();
        assert!(!source.is_changed(), "another kind of file");
        fs::write(folder.path().join("token"), "one").unwrap();
        fs::write(conf_d.join("admin.toml"), "[admin]\ntoken = 'file:token'\n").unwrap();
        assert!(source.is_changed());
        source.load().unwrap();
        assert!(!source.is_changed());
        assert!(source.places().contains(&folder.path().join("token")) && source.places().contains(&conf_d));
        fs::write(folder.path().join("token"), "two").unwrap();
        assert!(source.is_changed(), "the secret is another one");
        source.load().unwrap();
        assert!(!source.is_changed());
        fs::remove_file(conf_d.join("admin.toml")).unwrap();
        assert!(source.is_changed());
        source.load().unwrap();
        assert!(!source.is_changed());
        fs::write(folder.path().join("token"), "three").unwrap();
        assert!(!source.is_changed(), "nothing names it any more");
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", ROUTE.to_owned()), ("..2", format!("{ROUTE}timeout = '1s'\n"))] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("gateway.toml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/gateway.toml", at("gateway.toml")).unwrap();
        let source = source(folder.path());
        std::os::unix::fs::symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(source.is_changed());
    }
}
