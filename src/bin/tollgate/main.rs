//! The command line: which command, which exit code. Each command is a file of its own.

mod hello;
mod probe;
mod signals;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

/// An API gateway that balances every request over every address that a name has right now
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Hello(hello::Hello),
    Probe(probe::Probe),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot start: {error}");
            return ExitCode::from(3);
        }
    };
    runtime.block_on(async {
        match command {
            Command::Hello(hello) => hello.run().await,
            Command::Probe(probe) => probe.run().await,
        }
    })
}
