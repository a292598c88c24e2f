//! `tollgate man`, and that of `mint-token`

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::{Cli, Exit, io};

/// Print the man page, or write the pages of all subcommands into a folder.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Folder to write one page per subcommand to.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self) -> Exit {
        let result = match &self.out {
            Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map(|()| Exit::Fine),
            None => {
                let mut page = Vec::new();
                let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
                rendered.map(|()| io::print(&String::from_utf8_lossy(&page)))
            }
        };
        result.unwrap_or_else(|error| {
            io::complain(&format!("error: cannot write the man pages: {error}\n"));
            Exit::Unavailable
        })
    }
}
