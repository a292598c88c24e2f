//! `mint-token`: tokens for trying the gateway, the keys behind them, and the forgeries that it must refuse. A subcommand
//! is one file beside this one, a `mod` line and a line in [`commands!`]; what they do is in the library.

mod attack;
#[path = "../tollgate/completions.rs"]
mod completions;
mod inspect;
#[path = "../tollgate/io.rs"]
#[allow(dead_code, reason = "the other program colours its messages")]
mod io;
mod jwks;
mod key;
mod keygen;
#[path = "../tollgate/man.rs"]
mod man;
mod mint;
mod report;
#[path = "../tollgate/runtime.rs"]
mod runtime;
mod serve;
mod trial;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Make tokens to try a gateway with: good ones, and every known forgery.
#[derive(Debug, Parser)]
#[command(name = "mint-token", version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    mint: mint::Mint,
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

impl Exit {
    /// Says what is wrong with what was given.
    fn problem(what: impl std::fmt::Display) -> Self {
        io::complain(&format!("error: {what}\n"));
        Self::Problem
    }

    /// Says what could not be had.
    fn unavailable(what: impl std::fmt::Display) -> Self {
        io::complain(&format!("error: {what}\n"));
        Self::Unavailable
    }
}

/// Lists the subcommands: each is a struct of arguments, documented there, with `fn run(&self) -> Exit`.
macro_rules! commands {
    ($($name:ident($arguments:ty)),+ $(,)?) => {
        #[derive(Debug, Subcommand)]
        #[allow(clippy::large_enum_variant, reason = "there is one, made once")]
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
    Keygen(keygen::Keygen),
    Jwks(jwks::Jwks),
    Inspect(inspect::Inspect),
    Serve(serve::Serve),
    Attack(attack::Attack),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match &cli.command {
        Some(command) => command.run(),
        None => cli.mint.run(),
    };
    ExitCode::from(exit as u8)
}
