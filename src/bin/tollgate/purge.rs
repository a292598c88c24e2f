//! `tollgate purge`: tells a running gateway to let go of what it has kept. Only flags and printing; the gateway's
//! operators' listener does the work.

use std::path::PathBuf;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tollgate::lab::fetch;
use tollgate::lab::probe::Target;
use tollgate::layers::cache::purge::{Order, Purge as Checked};

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
    /// The operators' listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    admin: Target,
    /// File with the token of [admin]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token of [admin], where there is no file
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TOLLGATE_ADMIN_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    token: Option<String>,
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
        let fields = match self.fields() {
            Ok(fields) => fields,
            Err(problem) => return fail(&problem),
        };
        let body = serde_json::to_vec(&order).unwrap_or_default();
        let target = self.admin.at("/api/v1/cache/purge");
        runtime::block_on(async {
            match fetch::post(&target, &fields, body).await {
                Ok((status, answer)) if status.is_success() => {
                    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
                    let word = if self.soft { "stale now" } else { "purged" };
                    if answer.get("told") == Some(&Value::Bool(false)) {
                        io::complain("warning: Redis gives no answer: other gateways have not been told\n");
                    }
                    io::print(&format!("{} {word}\n", answer.get("purged").and_then(Value::as_u64).unwrap_or_default()))
                }
                Ok((status, answer)) => {
                    let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
                    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
                    fail(&format!("{}: {detail}", status.as_u16()))
                }
                Err(error) => fail(&error.to_string()),
            }
        })
    }

    fn fields(&self) -> Result<HeaderMap, String> {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let token = match &self.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                Some(text.map_err(|error| format!("cannot read {}: {error}", file.display()))?)
            }
            None => self.token.clone(),
        };
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.trim_end_matches(['\r', '\n'])));
            let mut value = value.map_err(|_| "the token has a character that no field may have".to_owned())?;
            value.set_sensitive(true);
            fields.insert(AUTHORIZATION, value);
        }
        Ok(fields)
    }
}

fn fail(problem: &str) -> Exit {
    io::complain(&format!("error: {problem}\n"));
    Exit::Problem
}
