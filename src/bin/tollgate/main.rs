//! The command line: which subcommands there are, and what their exit codes mean. A subcommand is one file beside
//! this one, a `mod` line and a line in [`commands!`].

mod check;
mod completions;
mod config;
mod demo;
mod explain;
mod hello;
mod io;
mod man;
mod operators;
mod probe;
mod purge;
mod routes;
mod run;
mod runtime;
mod schema;
mod service;
mod source;
mod top;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An API gateway: every request balanced over every address that a name has right now.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How a command ended. Wrong usage is 2, which clap says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All went well.
    Fine = 0,
    /// What was given has a problem.
    Problem = 1,
    /// A port or a file could not be had.
    Unavailable = 3,
}

/// Lists the subcommands: each is a struct of arguments, documented there, with `fn run(&self) -> Exit`.
macro_rules! commands {
    ($($name:ident($arguments:ty)),+ $(,)?) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($name($arguments),)+
        }

        impl Command {
            fn run(&self) -> Exit {
                match self {
                    $(Self::$name(arguments) => arguments.run(),)+
                }
            }
        }
    };
}

commands! {
    Run(run::Run),
    Check(check::Check),
    Config(config::Show),
    Routes(routes::Routes),
    Explain(explain::Explain),
    Schema(schema::Schema),
    Probe(probe::Probe),
    Purge(purge::Purge),
    Top(top::Top),
    Demo(demo::Demo),
    Hello(hello::Hello),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().command.run() as u8)
}
