//! The flags that say which configuration is meant, the same for each subcommand that reads one.

use std::path::PathBuf;

use clap::Args;
use tollgate::config::load::{self, Environment, Input, LoadError, Loaded, Override};

use crate::{Exit, io};

/// Which configuration.
#[derive(Args, Debug)]
pub(crate) struct Source {
    /// Configuration file; conf.d/*.toml beside it is read after it.
    #[arg(long, short, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "config/gateway.toml")]
    pub(crate) config: PathBuf,
    /// Sets a value over files and environment, such as server.workers=2.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) set: Vec<Override>,
}

impl Source {
    /// Loads it. What is wrong goes to standard error; the exit code is then the caller's.
    pub(crate) fn load(&self) -> Result<Loaded, Exit> {
        let input = self.input();
        let style = io::style(&input.environment);
        load::load(&input).map_err(|error| match error {
            LoadError::Invalid(report) => {
                let count = report.problems().len();
                let many = if count == 1 { "" } else { "s" };
                let name = self.config.display();
                io::complain(&format!("{}\n{name}: {count} problem{many}\n", report.render(style)));
                Exit::Problem
            }
            LoadError::Unreadable { ref path, .. } => {
                let other = "  = help: name another file with --config FILE, or in TOLLGATE_CONFIG\n";
                let help = if *path == self.config { other } else { "" };
                io::complain(&format!("error: {error}\n{help}"));
                Exit::Unavailable
            }
        })
    }

    /// What to load: also what to load again later.
    pub(crate) fn input(&self) -> Input {
        Input { file: self.config.clone(), environment: Environment::of_process(), overrides: self.set.clone() }
    }
}

fn key_and_value(text: &str) -> Result<Override, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok(Override { flag: "--set".to_owned(), path: key.trim().to_owned(), value: value.trim().to_owned() })
        }
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
