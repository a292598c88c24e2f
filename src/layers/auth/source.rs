//! One round of getting keys: from a URL, by an issuer's discovery document, or from files. What comes is keys that can
//! verify, or the reason why not; when to ask and what an answer means for those who wait is for `keyset` to say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::fetch::{FetchError, Fetcher};
use super::keys::{Keys, Origin};
use super::policy::{KeyPolicy, KeySource};
use super::watch::{self, Stamp};

/// Largest file of keys, in bytes.
const LARGEST: u64 = 1 << 20;

/// What a round brought.
#[derive(Debug)]
pub struct Round {
    /// The keys.
    pub keys: Keys,
    /// What they were read from: two sets of the same bytes are the same.
    pub bytes: Vec<u8>,
    /// How long their sender says that they are good for.
    pub max_age: Option<Duration>,
}

/// Gets keys, again and again.
#[derive(Debug)]
pub struct Source {
    policy: KeyPolicy,
    fetcher: Fetcher,
    /// The files' stamps when they were last read well.
    stamps: Option<Vec<Stamp>>,
}

/// The part of a discovery document that counts (OpenID Connect Discovery 1.0 §3).
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    /// Keys as this policy says.
    pub fn new(policy: &KeyPolicy) -> Self {
        let fetcher = Fetcher { allow_http: policy.allow_http, ca: policy.ca.clone() };
        Self { policy: policy.clone(), fetcher, stamps: None }
    }

    /// The keys that are there without asking anybody on the network; `None` for those that are not.
    pub fn local(&mut self) -> Option<Result<Round, FetchError>> {
        let read = match &self.policy.source {
            KeySource::Url(_) | KeySource::Discovery(_) => return None,
            KeySource::Secret(secret) => {
                return Some(Ok(Round { keys: Keys::from_secret(secret), bytes: Vec::new(), max_age: None }));
            }
            KeySource::JwksFile(path) => read(std::slice::from_ref(path), |bytes| Keys::from_jwks(bytes, Origin::File)),
            KeySource::PublicKeyFiles(paths) => read(paths, Keys::from_pem),
        };
        Some(read.map(|(round, stamps)| {
            self.stamps = Some(stamps);
            round
        }))
    }

    /// Whether the files are as they were when they were last read.
    pub fn is_unchanged(&self) -> bool {
        let now = match &self.policy.source {
            KeySource::JwksFile(path) => stamps(std::slice::from_ref(path)),
            KeySource::PublicKeyFiles(paths) => stamps(paths),
            KeySource::Url(_) | KeySource::Discovery(_) | KeySource::Secret(_) => return false,
        };
        now.is_ok_and(|now| self.stamps.as_ref() == Some(&now))
    }

    /// Fetches the keys from the network.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn fetch(&self) -> Result<Round, FetchError> {
        let url = match &self.policy.source {
            KeySource::Discovery(issuer) => self.discover(issuer).await?,
            KeySource::Url(url) => url.clone(),
            _ => return Err(FetchError::Content("these keys are not on the network".to_owned())),
        };
        let document = self.fetcher.get(&url).await?;
        let keys = Keys::from_jwks(&document.body, Origin::Network);
        let keys = keys.map_err(|error| FetchError::Content(error.to_string()))?;
        Ok(Round { keys, bytes: document.body.to_vec(), max_age: document.max_age })
    }

    /// Where the issuer says that its keys are. A document that is about another issuer says nothing (§4.3).
    async fn discover(&self, issuer: &str) -> Result<String, FetchError> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.fetcher.get(&url).await?;
        let found: Discovered = serde_json::from_slice(&document.body)
            .map_err(|error| FetchError::Content(format!("no discovery document: {error}")))?;
        match found.issuer == issuer {
            true => Ok(found.jwks_uri),
            false => Err(FetchError::Content("the discovery document is about another issuer".to_owned())),
        }
    }
}

fn stamps(paths: &[PathBuf]) -> std::io::Result<Vec<Stamp>> {
    paths.iter().map(|path| watch::stamp(path)).collect()
}

/// Reads files; their stamps are those from before, so that what is written meanwhile is read again.
fn read<E: std::fmt::Display>(
    paths: &[PathBuf],
    parse: impl Fn(&[u8]) -> Result<Keys, E>,
) -> Result<(Round, Vec<Stamp>), FetchError> {
    let wrong =
        |path: &Path, error: &dyn std::fmt::Display| FetchError::Content(format!("{}: {error}", path.display()));
    let mut round = Round { keys: Keys::default(), bytes: Vec::new(), max_age: None };
    let mut seen = Vec::with_capacity(paths.len());
    for path in paths {
        seen.push(watch::stamp(path).map_err(|error| wrong(path, &error))?);
        let bytes = watch::read(path, LARGEST).map_err(|error| wrong(path, &error))?;
        let keys = parse(&bytes).map_err(|error| wrong(path, &error))?;
        round.keys = round.keys.joined(keys);
        round.bytes.extend(bytes);
    }
    Ok((round, seen))
}
