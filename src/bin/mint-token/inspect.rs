//! `mint-token inspect`: a token taken apart, and what the gateway would say of it. The checks are the gateway's own, each
//! made by itself, so that a token with several faults shows them all.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tollgate::base::secret::Secret as Hidden;
use tollgate::base::units::parse_duration;
use tollgate::lab::issuer::server::wall_clock;
use tollgate::layers::auth::claims::{CHECKS, ClaimRules, Claims};
use tollgate::layers::auth::fetch::Fetcher;
use tollgate::layers::auth::jws::Jws;
use tollgate::layers::auth::keys::{Keys, KeysError, Origin};
use tollgate::layers::auth::verify::verify_signature;

use crate::key::{Secret, cannot_read};
use crate::report::{Finding, Report, Verdict};
use crate::{Exit, io, runtime};

/// Take a token apart, make each check of the gateway, and say which one it fails
#[derive(Args, Debug)]
#[command(
    after_help = "Exit code 0 when every check passes, 1 when one fails, or when no key says whether the signature is good."
)]
pub(crate) struct Inspect {
    /// The token; - reads it from standard input
    token: String,
    #[command(flatten)]
    keys: KeysFrom,
    /// Judge the signature alone, whatever the payload says
    #[arg(long)]
    signature_only: bool,
    /// Issuer that it must have
    #[arg(long)]
    iss: Option<String>,
    /// Audience that it must have, one of these; may be repeated
    #[arg(long)]
    aud: Vec<String>,
    /// Claim that must be there; may be repeated
    #[arg(long, value_name = "CLAIM")]
    require: Vec<String>,
    /// How far clocks may be apart
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = parse_duration)]
    leeway: Duration,
    /// Longest life that it may have [default: any]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_lifetime: Option<Duration>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[group(multiple = false)]
struct KeysFrom {
    /// Key set: a file, or a URL to fetch it from
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,
    /// Public keys or certificates in PEM
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Shared secret: env:NAME, file:PATH, or the secret itself
    #[arg(long, value_name = "TEXT", value_parser = Secret::read, allow_hyphen_values = true)]
    secret: Option<Secret>,
}

impl Inspect {
    pub(crate) fn run(&self) -> Exit {
        match self.report() {
            Ok(report) => {
                let printed = io::print(&if self.json { report.json() } else { report.text() });
                if printed == Exit::Fine && !report.accepted() { Exit::Problem } else { printed }
            }
            Err(exit) => exit,
        }
    }

    fn report(&self) -> Result<Report, Exit> {
        let token = self.token()?;
        let keys = self.keys.load()?;
        if let Some(keys) = &keys {
            let skipped = keys.skipped().iter();
            io::complain(&skipped.map(|why| format!("warning: left out {why}\n")).collect::<String>());
        }
        let mut report = Report::of(&token, wall_clock());
        self.judge(&token, keys.as_ref(), &mut report);
        Ok(report)
    }

    fn token(&self) -> Result<String, Exit> {
        if self.token != "-" {
            return Ok(self.token.clone());
        }
        let mut text = String::new();
        match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(Exit::unavailable(format_args!("cannot read standard input: {error}"))),
        }
    }

    /// Makes every check that can be made.
    fn judge(&self, token: &str, keys: Option<&Keys>, report: &mut Report) {
        let jws = match Jws::parse(token.as_bytes()) {
            Ok(jws) => jws,
            Err(failure) => return report.add(Finding::failed("form", &failure)),
        };
        report.add(Finding::passed("form", "three parts, and a header that is understood"));
        report.add(match keys.map(|keys| verify_signature(&jws, keys, &[])) {
            None => Finding::open("signature", "not checked: give --jwks, --public-key or --secret"),
            Some(Err(failure)) => Finding::failed("signature", &failure),
            Some(Ok(key)) => {
                let name = key.id.as_ref().map_or_else(|| "a key without a name".to_owned(), |id| format!("key {id}"));
                Finding::passed("signature", format!("{} by {name}", jws.header.algorithm.name()))
            }
        });
        if self.signature_only {
            return;
        }
        match tollgate::layers::auth::claims::parse(&jws.payload) {
            Ok(claims) => self.judge_claims(&claims, report),
            Err(failure) => report.add(Finding::failed("payload", &failure)),
        }
    }

    fn judge_claims(&self, claims: &Claims, report: &mut Report) {
        let rules = ClaimRules {
            issuer: self.iss.clone(),
            audience: self.aud.clone(),
            required: self.require.clone(),
            leeway: self.leeway,
            max_lifetime: self.max_lifetime.unwrap_or_default(),
            ..ClaimRules::default()
        };
        let now = u64::try_from(wall_clock()).unwrap_or_default();
        for check in CHECKS {
            let asked = match check.name {
                "iss" => self.iss.is_some(),
                "aud" => !self.aud.is_empty(),
                "required_claims" => !self.require.is_empty(),
                "max_lifetime" => self.max_lifetime.is_some(),
                "revoked_before" => false,
                _ => true,
            };
            match (check.passes)(claims, &rules, now) {
                Err(failure) => report.add(Finding::failed(check.name, &failure)),
                Ok(()) if asked => report.add(Finding::passed(check.name, "")),
                Ok(()) if matches!(check.name, "iss" | "aud") => {
                    report.add(Finding {
                        verdict: Verdict::Unasked,
                        ..Finding::passed(check.name, format!("any; --{} says which", check.name))
                    });
                }
                Ok(()) => {}
            }
        }
    }
}

impl KeysFrom {
    /// The keys, if any are given; what is wrong with them goes to standard error.
    fn load(&self) -> Result<Option<Keys>, Exit> {
        let wrong = |from: &str, error: &KeysError| Exit::problem(format_args!("{from}: {error}"));
        if let Some(from) = &self.jwks {
            let (set, origin) = match is_url(from) {
                true => (fetch(from)?, Origin::Network),
                false => (std::fs::read(from).map_err(|error| cannot_read(from.as_ref(), &error))?, Origin::File),
            };
            return Keys::from_jwks(&set, origin).map(Some).map_err(|error| wrong(from, &error));
        }
        if let Some(file) = &self.public_key {
            let text = std::fs::read(file).map_err(|error| cannot_read(file, &error))?;
            return Keys::from_pem(&text).map(Some).map_err(|error| wrong(&file.display().to_string(), &error));
        }
        match &self.secret {
            None => Ok(None),
            Some(secret) => match String::from_utf8(secret.bytes()?) {
                Ok(text) => Ok(Some(Keys::from_secret(&Hidden::new(text)))),
                Err(_) => Err(Exit::problem("the secret is not text, as the gateway's configuration would have it")),
            },
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn fetch(url: &str) -> Result<Vec<u8>, Exit> {
    let mut found = Err(Exit::Unavailable);
    let exit = runtime::block_on(async {
        match (Fetcher { allow_http: true, ca: None }).get(url).await {
            Ok(document) => {
                found = Ok(document.body.to_vec());
                Exit::Fine
            }
            Err(error) => Exit::unavailable(format_args!("{url}: {error}")),
        }
    });
    if exit == Exit::Fine { found } else { Err(exit) }
}
