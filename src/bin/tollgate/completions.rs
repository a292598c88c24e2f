//! `tollgate completions`, and those of `mint-token`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, Exit, io};

/// Print the completions of a shell.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Exit {
        let mut script = Vec::new();
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        io::print(&String::from_utf8_lossy(&script))
    }
}
