//! `tollgate config`

use clap::Args;
use tollgate::config::effective;

use crate::source::Source;
use crate::{Exit, io};

/// Print the effective configuration: every default filled in, secrets masked.
#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    source: Source,
}

impl Show {
    pub(crate) fn run(&self) -> Exit {
        match self.source.load() {
            Ok(loaded) => io::print(&effective::to_toml(&loaded.config)),
            Err(exit) => exit,
        }
    }
}
