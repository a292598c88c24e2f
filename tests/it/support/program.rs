//! Programs of others that judge the gateway. Where one is missing, the test that needs it says so and is skipped; where
//! everything has to run (`CI=true`) that is a failure.

use std::io::Write as _;
use std::path::PathBuf;

/// What to install.
pub(crate) struct Missing {
    package: &'static str,
}

impl Missing {
    /// Prometheus and promtool.
    pub(crate) const PROMETHEUS: Self = Self { package: "prometheus" };
}

/// Where a program is, if it is installed.
pub(crate) fn program(name: &str, missing: &Missing) -> Option<PathBuf> {
    let variables: std::collections::HashMap<String, String> = std::env::vars().collect();
    let path = variables.get("PATH").map(String::as_str).unwrap_or_default();
    let found = std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        let problem = format!("{name} is not installed: it is in Debian's package {}", missing.package);
        assert!(variables.get("CI").is_none_or(|value| value != "true"), "{problem}");
        // Beside what the harness keeps back of tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {problem}");
    }
    found
}
