//! Programs of others that judge the gateway. Where one is missing, the test that needs it says so and is skipped; where
//! everything has to run (`CI=true`) that is a failure, if the program can be had there.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What to install.
pub(crate) struct Missing {
    how: &'static str,
    /// Whether it is there for every machine.
    everywhere: bool,
}

impl Missing {
    /// Prometheus and promtool.
    pub(crate) const PROMETHEUS: Self = Self { how: "it is in Debian's package prometheus", everywhere: true };
    /// A terminal for programs.
    pub(crate) const SCRIPT: Self = Self { how: "it is in Debian's package bsdutils", everywhere: true };
    /// A collector of traces, which has no package for every version of Python.
    pub(crate) const ROTEL: Self = Self { how: "pip install --target target/collector rotel", everywhere: false };
}

/// Where a program is, if it is installed.
pub(crate) fn program(name: &str, missing: &Missing) -> Option<PathBuf> {
    let path = variables().remove("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.or_else(|| skipped(name, missing))
}

/// The same for a program that is in this folder.
pub(crate) fn program_in(folder: &Path, name: &str, missing: &Missing) -> Option<PathBuf> {
    let file = folder.join(name);
    if file.is_file() { Some(file) } else { skipped(name, missing) }
}

fn skipped(name: &str, missing: &Missing) -> Option<PathBuf> {
    let problem = format!("{name} is not installed: {}", missing.how);
    let must = missing.everywhere && variables().get("CI").is_some_and(|value| value == "true");
    assert!(!must, "{problem}");
    // Beside what the harness keeps back of tests that pass.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {problem}");
    None
}

fn variables() -> HashMap<String, String> {
    std::env::vars().collect()
}
