//! `mint-token jwks`

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use tollgate::lab::issuer::algorithm::Algorithm;
use tollgate::lab::issuer::jwk;
use tollgate::lab::issuer::key::KeyError;

use crate::{Exit, io, key};

/// Print the public key set of private keys; a shared secret has no place in one
#[derive(Args, Debug)]
pub(crate) struct Jwks {
    /// Private keys in PEM
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    key: Vec<PathBuf>,
    /// Algorithm that each key is limited to [default: what it can do]
    #[arg(long)]
    alg: Option<Algorithm>,
    /// Name of the key, if there is one [default: its thumbprint (RFC 7638)]
    #[arg(long, allow_hyphen_values = true)]
    kid: Option<String>,
}

impl Jwks {
    pub(crate) fn run(&self) -> Exit {
        match self.set() {
            Ok(set) => io::print(&format!("{set:#}\n")),
            Err(exit) => exit,
        }
    }

    fn set(&self) -> Result<Value, Exit> {
        if self.kid.is_some() && self.key.len() > 1 {
            return Err(Exit::problem("--kid names one key, and there are several"));
        }
        let mut keys: Vec<Value> = Vec::new();
        for file in &self.key {
            let key = key::read(file)?;
            if let Some(algorithm) = self.alg.filter(|algorithm| algorithm.family() != key.family()) {
                return Err(key::wrong_key(file, &KeyError::Mismatch(algorithm, key.family())));
            }
            let kid = self.kid.clone().or_else(|| jwk::thumbprint(&key));
            let Some(public) = jwk::public(&key, kid.as_deref(), self.alg) else {
                return Err(key::wrong_key(file, &KeyError::NoPem));
            };
            if keys.iter().any(|other| other["kid"] == public["kid"]) {
                return Err(Exit::problem(format_args!("{}: the same key again", file.display())));
            }
            keys.push(public);
        }
        Ok(jwk::set(keys))
    }
}
