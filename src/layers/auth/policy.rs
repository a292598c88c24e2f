//! What `[auth.*]` and a route's `auth` come to once they are checked. The only thing of this module that the
//! configuration knows, besides algorithms, rules and the reading of keys.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::verify::Rules;
use crate::base::mode::Mode;
use crate::base::secret::Secret;

/// A way to prove who one is: a table `[auth.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthPolicy {
    /// Its name in routes, metrics and logs.
    pub name: String,
    /// What proves it.
    pub method: Method,
}

/// What proves who one is.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// A signed token (RFC 7519).
    Jwt(Box<JwtPolicy>),
    /// A key that is known by its hash.
    ApiKey(ApiKeyPolicy),
    /// A name and a password (RFC 7617).
    Basic(BasicPolicy),
    /// The word of a service, asked for each request.
    Forward(ForwardPolicy),
}

/// Which keys are taken, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyPolicy {
    /// Where they are.
    pub from: TokenPlace,
    /// The file of their hashes, watched.
    pub keys_file: PathBuf,
    /// Whether they go on to the upstream.
    pub forward_token: bool,
    /// What is known of a key (`sub`, `plan`), and the fields that tell the upstream of it.
    pub claims_to_headers: Vec<(String, HeaderName)>,
}

/// Whose passwords are taken, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicPolicy {
    /// The file of users and hashes, watched.
    pub users_file: PathBuf,
    /// Whether the password goes on to the upstream.
    pub forward_token: bool,
    /// What is known of a user (`sub`), and the fields that tell the upstream of it.
    pub claims_to_headers: Vec<(String, HeaderName)>,
}

/// Which service is asked, and what becomes of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPolicy {
    /// Where it is: http or https.
    pub url: String,
    /// How long it may take, connection and answer together.
    pub timeout: Duration,
    /// Fields of its answer that the upstream is told.
    pub copy_headers: Vec<HeaderName>,
    /// The field of its answer that says who asks.
    pub subject_header: Option<HeaderName>,
    /// Most questions at a time.
    pub max_in_flight: usize,
    /// A PEM file of the authorities that vouch for it, instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Which tokens are taken, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtPolicy {
    /// What verifies them.
    pub keys: KeyPolicy,
    /// What they must be.
    pub rules: Rules,
    /// Where they are looked for, in this order.
    pub token_from: Vec<TokenPlace>,
    /// Whether they go on to the upstream.
    pub forward_token: bool,
    /// Claims, by path, and the fields that tell the upstream of them.
    pub claims_to_headers: Vec<(String, HeaderName)>,
    /// A file of token ids that count no more, watched.
    pub revoked_file: Option<PathBuf>,
}

/// Where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    Authorization,
    /// A field that holds the token alone.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query (RFC 6750 §2.3).
    Query(String),
}

/// Where keys come from, and how they are kept current.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPolicy {
    /// Where they come from.
    pub source: KeySource,
    /// How often they are fetched, where the answer does not say.
    pub refresh: Duration,
    /// Time between two fetches for key ids that nobody knows.
    pub cooldown: Duration,
    /// How long the last good keys serve while none can be had.
    pub max_stale: Duration,
    /// Whether they may come without TLS.
    pub allow_http: bool,
    /// A PEM file of the authorities that vouch for where they come from, instead of the system's.
    pub ca: Option<PathBuf>,
    /// A folder that keeps the last good set over restarts.
    pub cache_dir: Option<PathBuf>,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A JWK set behind a URL.
    Url(String),
    /// What the discovery document of this issuer names (OpenID Connect Discovery 1.0 §4).
    Discovery(String),
    /// A JWK set in a file, watched.
    JwksFile(PathBuf),
    /// Public keys in PEM files, watched.
    PublicKeyFiles(Vec<PathBuf>),
    /// A shared secret.
    Secret(Secret),
}

/// What a route asks of those who come.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteAuth {
    /// Names of the policies, of which one must vouch.
    pub policies: Vec<String>,
    /// Scopes that the token must have, all of them.
    pub scopes: Vec<String>,
    /// What the claims must say.
    pub claims: Vec<ClaimRule>,
    /// Whether one may come without a token; a bad one is refused all the same.
    pub optional: bool,
    /// What becomes of those who would be refused.
    pub mode: Mode,
}

/// What one claim must be.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRule {
    /// Its path.
    pub path: String,
    /// One of these: strings, numbers or booleans. A list in the token passes when one of its elements does.
    pub any_of: Vec<Value>,
}

impl KeySource {
    /// Whether it is fetched from the network.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Discovery(_))
    }
}

impl KeyPolicy {
    /// Keys from here, everything else as usual.
    pub fn new(source: KeySource) -> Self {
        Self {
            source,
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(30),
            max_stale: Duration::from_secs(24 * 3600),
            allow_http: false,
            ca: None,
            cache_dir: None,
        }
    }
}

impl AuthPolicy {
    /// The fields that it tells upstreams in.
    pub fn fields(&self) -> Vec<HeaderName> {
        let names = |mapping: &[(String, HeaderName)]| mapping.iter().map(|(_, name)| name.clone()).collect();
        match &self.method {
            Method::Jwt(jwt) => names(&jwt.claims_to_headers),
            Method::ApiKey(keys) => names(&keys.claims_to_headers),
            Method::Basic(basic) => names(&basic.claims_to_headers),
            Method::Forward(forward) => forward.copy_headers.clone(),
        }
    }
}

impl ForwardPolicy {
    /// This service, everything else as usual.
    pub fn new(url: String) -> Self {
        Self {
            url,
            timeout: Duration::from_secs(1),
            copy_headers: Vec::new(),
            subject_header: None,
            max_in_flight: 256,
            ca: None,
        }
    }
}

impl JwtPolicy {
    /// Tokens that these keys verify, everything else as usual.
    pub fn new(source: KeySource) -> Self {
        Self {
            keys: KeyPolicy::new(source),
            rules: Rules::default(),
            token_from: vec![TokenPlace::Authorization],
            forward_token: false,
            claims_to_headers: Vec::new(),
            revoked_file: None,
        }
    }
}

impl RouteAuth {
    /// One of these policies must vouch; nothing else is asked.
    pub fn new(policies: Vec<String>) -> Self {
        Self { policies, scopes: Vec::new(), claims: Vec::new(), optional: false, mode: Mode::Enforce }
    }
}

impl ClaimRule {
    /// Whether the claim is what it must be.
    pub fn holds(&self, claim: Option<&Value>) -> bool {
        match claim {
            Some(Value::Array(list)) => list.iter().any(|element| self.any_of.contains(element)),
            Some(value) => self.any_of.contains(value),
            None => false,
        }
    }
}
