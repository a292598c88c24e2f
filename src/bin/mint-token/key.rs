//! The flags that say which key signs, the same for each subcommand that needs one.

use std::path::{Path, PathBuf};

use clap::Args;
use tollgate::config::load::Environment;
use tollgate::config::text::{SecretText, Syntax};
use tollgate::lab::issuer::algorithm::Algorithm;
use tollgate::lab::issuer::key::{Key, KeyError};
use tollgate::lab::issuer::keyring::Signer;

use crate::{Exit, io};

/// Which key, and how it is used.
#[derive(Args, Debug)]
pub(crate) struct KeySource {
    #[command(flatten)]
    from: From,
    /// Algorithm [default: the usual one of the key: RS256, ES256, ES384, EdDSA or HS256]
    #[arg(long)]
    alg: Option<Algorithm>,
    /// Name of the key in tokens [default: its thumbprint (RFC 7638); a secret has none]
    #[arg(long, allow_hyphen_values = true)]
    kid: Option<String>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct From {
    /// Private key in PEM: RSA, P-256, P-384 or Ed25519
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Shared secret: env:NAME, file:PATH, or the secret itself
    #[arg(long, value_name = "TEXT", value_parser = Secret::read, allow_hyphen_values = true)]
    secret: Option<Secret>,
}

/// Where a secret is; never prints what it is.
#[derive(Clone, Debug)]
pub(crate) struct Secret(SecretText);

impl KeySource {
    /// The key; what is wrong goes to standard error.
    pub(crate) fn load(&self) -> Result<Signer, Exit> {
        let key = match (&self.from.key, &self.from.secret) {
            (Some(file), _) => read(file)?,
            (None, Some(secret)) => Key::from_secret(&secret.bytes()?).map_err(Exit::problem)?,
            (None, None) => return Err(Exit::problem("there is no key: give --key FILE or --secret TEXT")),
        };
        let mut signer = Signer::new(key, self.alg).map_err(Exit::problem)?;
        if let Some(kid) = &self.kid {
            signer.kid = Some(kid.clone());
        }
        warn_if_short(&signer);
        Ok(signer)
    }
}

impl Secret {
    /// Where the secret is, by what was written.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        SecretText::parse(text).map(Self).map_err(|fault| fault.what)
    }

    /// The secret itself. A line break at the end of a file is no part of it, as in the gateway's configuration.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Exit> {
        match &self.0 {
            SecretText::Literal(secret) => Ok(secret.clone().into_bytes()),
            SecretText::Environment(name) => match Environment::of_process().get(name) {
                Some(secret) => Ok(secret.as_bytes().to_vec()),
                None => Err(Exit::problem(format_args!("the variable `{name}` is not set"))),
            },
            SecretText::File(path) => {
                let mut secret = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
                while secret.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    secret.pop();
                }
                Ok(secret)
            }
        }
    }
}

/// The private key in a file.
pub(crate) fn read(file: &Path) -> Result<Key, Exit> {
    let text = std::fs::read(file).map_err(|error| cannot_read(file, &error))?;
    Key::from_pem(&String::from_utf8_lossy(&text)).map_err(|error| wrong_key(file, &error))
}

/// Says that a file could not be read.
pub(crate) fn cannot_read(file: &Path, error: &std::io::Error) -> Exit {
    Exit::unavailable(format_args!("cannot read {}: {error}", file.display()))
}

/// Says what is wrong with a key.
pub(crate) fn wrong_key(file: &Path, error: &KeyError) -> Exit {
    Exit::problem(format_args!("{}: {error}", file.display()))
}

fn warn_if_short(signer: &Signer) {
    let (algorithm, least) = (signer.algorithm, signer.algorithm.least_secret());
    if let Some(length) = signer.key.secret_length().filter(|length| *length < least) {
        io::complain(&format!(
            "warning: {algorithm} wants a secret of {least} bytes (RFC 7518 §3.2), and this one has {length}\n"
        ));
    }
}
