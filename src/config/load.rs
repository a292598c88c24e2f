//! From text to [`Config`]: reads the files, merges defaults, files, environment and flags with figment, and runs the
//! checks over what comes out. The only file of the configuration that reads the disk and the environment, but for
//! the files that hold secrets.

mod layer;
mod toml;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use thiserror::Error;

use self::layer::Layer;
use super::check::{self, Context};
use super::file::ConfigFile;
use super::findings::Findings;
use super::key::KeyPath;
use super::problem::{Problem, Report};
use super::source::{Mark, Sources};
use super::text::Fault;
use super::{Config, lint, schema};

/// The variables that set values begin with this. Kubernetes injects `TOLLGATE_PORT` and the like for a service of
/// that name, hence the second underscore.
const PREFIX: &str = "TOLLGATE__";

/// The variables of an environment; prints their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The file; `conf.d/*.toml` beside it is read after it, in name order.
    pub file: PathBuf,
    /// The variables of the environment, for `TOLLGATE__*` and for secrets.
    pub environment: Environment,
    /// What the command line sets.
    pub overrides: Vec<Override>,
}

/// A value that the command line sets; prints without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Override {
    /// How messages call the flag.
    pub flag: String,
    /// Dotted keys, such as `server.workers`.
    pub path: String,
    /// The value.
    pub value: String,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is probably not as it was meant.
    pub warnings: Report,
    /// The files that it was read from, secrets included: when one of them changes, it is time to load again.
    pub files: Vec<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What was read has problems.
    #[error(transparent)]
    Invalid(#[from] Report),
}

/// Loads and checks the configuration.
pub fn load(input: &Input) -> Result<Loaded, LoadError> {
    let files = files(&input.file)?;
    let read = |path: &PathBuf| match fs::read(path) {
        Ok(bytes) => Ok((path.display().to_string(), bytes)),
        Err(error) => Err(LoadError::Unreadable { path: path.clone(), error }),
    };
    let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut loaded = assemble(&texts, input)?;
    loaded.files.splice(..0, files);
    Ok(loaded)
}

/// The files that a configuration is read from, secrets apart: this one, and `conf.d/*.toml` beside it in name order.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(file: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = vec![file.to_owned()];
    files.extend(conf_d(file)?);
    Ok(files)
}

/// Checks a configuration that is a text: no file, no environment.
pub fn from_text(text: &str) -> Result<Loaded, Report> {
    assemble(&[("configuration".to_owned(), text.as_bytes().to_vec())], &Input::default())
}

impl Environment {
    /// The environment of the process, without what is not UTF-8. The one place that reads it.
    pub fn of_process() -> Self {
        let pairs = std::env::vars_os();
        pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variables in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}=***", self.flag, self.path)
    }
}

/// The files of `conf.d` beside the file, in name order.
fn conf_d(file: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let folder = file.with_file_name("conf.d");
    let unreadable = |error| LoadError::Unreadable { path: folder.clone(), error };
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Merges and checks. The texts come in the order of reading.
fn assemble(texts: &[(String, Vec<u8>)], input: &Input) -> Result<Loaded, Report> {
    let mut sources = Sources::default();
    let mut problems = Vec::new();
    let mut figment = Figment::from(Serialized::defaults(ConfigFile::default()));
    let mut routes = 0;
    let mut unread = false;
    for (name, text) in texts {
        let tables = toml::read(name, text, routes, &mut sources, &mut problems);
        unread |= tables.is_none();
        if let Some(tables) = tables {
            let (appended, merged): (Dict, Dict) = tables.into_iter().partition(|(key, _)| key == toml::APPENDED);
            routes += appended.values().filter_map(Value::as_array).map(<[Value]>::len).sum::<usize>();
            figment = figment.merge(Layer::new(name, merged)).admerge(Layer::new(name, appended));
        }
    }
    if unread {
        // What is behind a mistake in the syntax was not read, so every other complaint could be wrong.
        return Err(Report::new(problems));
    }
    let variables = layer::environment(&input.environment, &mut sources, &mut problems);
    let flags = layer::overrides(&input.overrides, &mut sources, &mut problems);
    let merged = figment.merge(variables).merge(flags).extract::<Value>();
    let merged = merged.map_err(|error| Report::new(vec![from_figment(&error, &sources)]))?;

    let mut findings = Findings::new(&sources, problems);
    let root = KeyPath::root();
    let pruned = walk::check(merged, schema::root(), &root, &mut findings).unwrap_or_else(|| Value::from(Dict::new()));
    let context = Context { environment: &input.environment, folder: input.file.parent().unwrap_or(Path::new("")) };
    let file = pruned.deserialize::<ConfigFile>();
    let file = file.map_err(|error| Report::new(vec![from_figment(&error, &sources)]))?;
    let config = check::check(&file, &context, &mut findings);
    if findings.has_errors() {
        return Err(findings.report());
    }
    lint::lint(&config, &file, &mut findings);
    Ok(Loaded { config, warnings: findings.report(), files: context.secret_files(&file) })
}

/// What figment itself refuses. The walk leaves nothing to refuse, so this says where the two disagree.
fn from_figment(error: &figment::Error, sources: &Sources) -> Problem {
    let path = KeyPath::dotted(&error.path.join("."));
    let place = sources.place(&path, super::source::Part::Value);
    Problem::error(path, Fault::new(error.kind.to_string()), place)
}

/// Marks a value that is not from a file.
fn mark(sources: &mut Sources, path: &KeyPath, mark: Mark) {
    sources.mark(path.clone(), mark, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_holds_is_not_printed() {
        let input = Input {
            environment: [("TOKEN".to_owned(), "hunter2".to_owned())].into_iter().collect(),
            overrides: vec![Override {
                flag: "--set".to_owned(),
                path: "admin.token".to_owned(),
                value: "hunter2".to_owned(),
            }],
            ..Input::default()
        };
        let shown = format!("{input:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_text_is_a_configuration() {
        let loaded = from_text("\u{feff}[[routes]]\r\nprefix = '/'\r\nupstream = 'http://a'\r\n").unwrap();
        assert_eq!(loaded.config.routes[0].upstream, "a:80");
        assert_eq!(loaded.config.server, crate::config::ServerConfig::default());
        assert!(from_text("[server]\nworkers = '1'").is_err());
    }

    #[test]
    fn many_routes_load_in_no_time() {
        let route = |at| format!("[[routes]]\nprefix = '/r{at}'\nupstream = 'http://a'\nheaders = {{ x = '1' }}\n");
        let text: String = (0..3000).map(route).collect();
        assert_eq!(from_text(&text).unwrap().config.routes.len(), 3000);
    }
}
