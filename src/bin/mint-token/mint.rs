//! `mint-token` without a subcommand: one token. Also the flags that say what a token is to say.

use clap::Args;
use serde_json::Value;
use tollgate::lab::issuer::order::{Moment, Order, member};
use tollgate::lab::issuer::server::wall_clock;
use tollgate::lab::issuer::token;

use crate::key::KeySource;
use crate::{Exit, io};

/// Make one token.
#[derive(Args, Debug)]
pub(crate) struct Mint {
    #[command(flatten)]
    key: KeySource,
    #[command(flatten)]
    claims: Claims,
    /// More of the header: name=json, or a word; may be repeated
    #[arg(long, value_name = "NAME=JSON", value_parser = member)]
    header: Vec<(String, Value)>,
}

/// What a token is to say.
#[derive(Args, Debug)]
pub(crate) struct Claims {
    /// Issuer
    #[arg(long)]
    pub(crate) iss: Option<String>,
    /// Audience; may be repeated
    #[arg(long)]
    aud: Vec<String>,
    /// Subject
    #[arg(long, allow_hyphen_values = true)]
    sub: Option<String>,
    /// Life of the token: 90s, 1h, -5min for one that has ended, a time like 2030-01-01T00:00:00Z, or never
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = life, allow_hyphen_values = true)]
    expires_in: Life,
    /// Begin of its life: 5min from now, -5min before now, a time, or seconds since 1970
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    not_before: Option<Moment>,
    /// Scopes, with spaces between them
    #[arg(long)]
    scope: Option<String>,
    /// More claims, over those above: name=json, or a word; may be repeated
    #[arg(long, value_name = "NAME=JSON", value_parser = member)]
    claim: Vec<(String, Value)>,
    /// Claim to leave out, such as jti; may be repeated
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
}

/// When a token ends, if it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life(Option<Moment>);

impl Mint {
    pub(crate) fn run(&self) -> Exit {
        let signer = match self.key.load() {
            Ok(signer) => signer,
            Err(exit) => return exit,
        };
        let claims = self.claims.order().claims(wall_clock(), &uuid::Uuid::now_v7().to_string());
        let more = self.header.iter().cloned().collect();
        let header = token::header(signer.algorithm, signer.kid.as_deref(), &more);
        match token::signed(&header, &claims, &signer.key, signer.algorithm) {
            Ok(token) => io::print(&format!("{token}\n")),
            Err(error) => Exit::problem(error),
        }
    }
}

impl Claims {
    /// The same as the library takes it.
    pub(crate) fn order(&self) -> Order {
        Order {
            issuer: self.iss.clone(),
            audience: self.aud.clone(),
            subject: self.sub.clone(),
            expires: self.expires_in.0,
            not_before: self.not_before,
            scope: self.scope.clone(),
            claims: self.claim.iter().cloned().collect(),
            without: self.without.clone(),
        }
    }
}

fn life(text: &str) -> Result<Life, String> {
    if text == "never" {
        return Ok(Life(None));
    }
    match text.parse() {
        // A number alone would be a time in 1970, and is meant as a length.
        Ok(Moment::At(seconds)) if text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("`{seconds}` has no unit: write {seconds}s"))
        }
        Ok(moment) => Ok(Life(Some(moment))),
        Err(error) => Err(error),
    }
}
