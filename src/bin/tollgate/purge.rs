//! `tollgate purge`: tells a running gateway to let go of what it has kept. Only flags and printing; the gateway's
//! operators' listener does the work.

use http::HeaderMap;
use serde_json::Value;
use tollgate::layers::cache::purge::{Order, Purge as Checked};

use crate::operators::{Operators, Token};
use crate::{Exit, io, runtime};

/// Take kept responses out of a running gateway's cache, or call them stale
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 when nothing could be purged; that nothing was there is fine.")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["url", "prefix", "tag", "all"]))]
pub(crate) struct Purge {
    /// One URL: http://host/path?query, or /path?query on every host
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Everything at and below a path: http://host/path, or /path on every host
    #[arg(long, value_name = "URL")]
    prefix: Option<String>,
    /// Everything that its origin has given this tag (Surrogate-Key, Cache-Tag)
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Only call it stale: it is asked for anew, and serves until then where stale responses may
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    operators: Operators,
    #[command(flatten)]
    token: Token,
}

impl Purge {
    pub(crate) fn run(&self) -> Exit {
        let order = Order {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            tag: self.tag.clone(),
            all: self.all,
            soft: self.soft,
        };
        if let Err(error) = Checked::try_from(order.clone()) {
            return fail(&error.to_string());
        }
        runtime::block_on(async {
            match self.operators.post("/api/v1/cache/purge", &order, &self.token, HeaderMap::new()).await {
                Ok(answer) => {
                    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
                    let word = if self.soft { "stale now" } else { "purged" };
                    if answer.get("told") == Some(&Value::Bool(false)) {
                        io::complain("warning: Redis gives no answer: other gateways have not been told\n");
                    }
                    io::print(&format!("{} {word}\n", answer.get("purged").and_then(Value::as_u64).unwrap_or_default()))
                }
                Err(problem) => fail(&problem),
            }
        })
    }
}

fn fail(problem: &str) -> Exit {
    io::complain(&format!("error: {problem}\n"));
    Exit::Problem
}
