//! `mint-token attack`: flags and printing; the forgeries are in the library.

use std::path::PathBuf;

use clap::Args;
use tollgate::lab::issuer::attack::{Attempt, Expect, Material, attempts};
use tollgate::lab::issuer::server::wall_clock;
use tollgate::lab::probe::Target;

use crate::key::{KeySource, cannot_read};
use crate::mint::Claims;
use crate::{Exit, io, runtime, trial};

/// Print one token for each known forgery, or try them all on a URL
#[derive(Args, Debug)]
#[command(
    after_help = "Give --iss, --aud and whatever else a token needs to pass, so that only the forged part is wrong.

Each line has a name, what has to come of the token (accept, refuse, or either) and the token, with tabs between them.
With --url each token is sent as Authorization: Bearer. 400, 401, 403 and 431 refuse it; 5xx and no answer are failures.
Exit code 1 when a token was not judged as it has to be."
)]
pub(crate) struct Attack {
    #[command(flatten)]
    key: KeySource,
    #[command(flatten)]
    claims: Claims,
    /// Key set as it is published; its bytes are tried as a secret
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Only those whose name contains this; may be repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// One JSON object a line: name, expect, about, token; with --url also status and verdict
    #[arg(long)]
    json: bool,
    /// http://host[:port]/path to try them on
    #[arg(long)]
    url: Option<Target>,
}

impl Attack {
    pub(crate) fn run(&self) -> Exit {
        match (self.make(), &self.url) {
            (Err(exit), _) => exit,
            (Ok(list), None) => io::print(&list.iter().map(|attempt| self.line(attempt)).collect::<String>()),
            (Ok(list), Some(url)) => runtime::block_on(trial::run(&list, url, self.json)),
        }
    }

    fn make(&self) -> Result<Vec<Attempt>, Exit> {
        let signer = self.key.load()?;
        let jwks = match &self.jwks {
            Some(file) => Some(std::fs::read(file).map_err(|error| cannot_read(file, &error))?),
            None => None,
        };
        let now = wall_clock();
        let claims = self.claims.order().claims(now, &uuid::Uuid::now_v7().to_string());
        let material = Material {
            key: &signer.key,
            algorithm: signer.algorithm,
            kid: signer.kid.as_deref(),
            claims: &claims,
            jwks: jwks.as_deref(),
            now,
        };
        let mut list = attempts(&material).map_err(Exit::problem)?;
        list.retain(|one| self.only.is_empty() || self.only.iter().any(|text| one.name.contains(text)));
        match list.is_empty() {
            true => Err(Exit::problem("no forgery has such a name")),
            false => Ok(list),
        }
    }

    fn line(&self, attempt: &Attempt) -> String {
        match self.json {
            true => serde_json::to_string(attempt).unwrap_or_default() + "\n",
            false => format!("{}\t{}\t{}\n", attempt.name, word(attempt.expect), attempt.token),
        }
    }
}

/// What has to come of a token, in a word.
pub(crate) fn word(expect: Expect) -> &'static str {
    match expect {
        Expect::Accept => "accept",
        Expect::Refuse => "refuse",
        Expect::Either => "either",
    }
}
