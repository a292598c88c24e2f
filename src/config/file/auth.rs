//! `[auth.NAME]` and a route's `auth` as they may be written.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::mode::Mode;
use crate::config::text::{AuthKind, FilePath, Moment, SecretText, Text, WebUrl};
use crate::layers::auth::algorithm::Algorithm;
use crate::layers::auth::policy::{JwtPolicy, KeySource, TokenPlace};

/// A way to prove who one is, by name; routes refer to it in `auth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// What proves it: "jwt", a signed token; "api_key"; "basic", a name and a password; or "forward", the word of a
    /// service. The other keys belong to some of these.
    pub kind: Text<AuthKind>,
    /// Who must have issued a token: its iss, to the letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// For whom a token must be: one of these in its aud. Empty asks nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// Where the issuer publishes its keys, as a JWK set. Exactly one of jwks_url, discovery, jwks_file,
    /// public_key_file and secret says where keys come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<Text<WebUrl>>,
    /// Whether the issuer's discovery document says where its keys are (OpenID Connect).
    #[serde(skip_serializing_if = "is_false")]
    pub discovery: bool,
    /// A file with a JWK set, read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<Text<FilePath>>,
    /// A PEM file with one or more public keys, or a list of such files, read again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<FilesSettings>,
    /// The secret that issuer and gateway share, for HS256 and the like. Written as "env:NAME" or "file:PATH".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Text<SecretText>>,
    /// Signature algorithms that are taken, of those that the keys allow. Empty means all of those; what a token says
    /// never counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Text<Algorithm>>,
    /// How far the issuer's clock may be off.
    #[schemars(extend("x-maximum" = "10min"))]
    pub leeway: Text<Duration>,
    /// Claims that a token must have. exp is always one of them, iss and aud are where issuer and audience are set.
    pub required_claims: Vec<String>,
    /// Longest life of a token, from iat to exp. "0s" means any.
    pub max_lifetime: Text<Duration>,
    /// Where tokens are, the first place that has one counts: "header:authorization", "header:NAME", "cookie:NAME",
    /// "query:NAME".
    #[schemars(length(min = 1))]
    pub token_from: Vec<Text<TokenPlace>>,
    /// Whether the token, key or password goes on to the upstream; otherwise it is taken out of header, cookie and
    /// query.
    pub forward_token: bool,
    /// Claims, by name or path, and the header fields that tell the upstream of them. Of an API key that is sub, its
    /// name, and plan; of a user sub. What clients send in these fields never passes, on any route.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims_to_headers: BTreeMap<String, Text<HeaderName>>,
    /// How often keys are fetched, where the answer has no Cache-Control; that is heeded between a minute and a day.
    #[schemars(extend("x-minimum" = "100ms"))]
    pub jwks_refresh: Text<Duration>,
    /// Least time between two fetches because of key ids that nobody knows.
    #[schemars(extend("x-minimum" = "100ms"))]
    pub jwks_cooldown: Text<Duration>,
    /// How long the last good keys serve while none can be had; then 503 keys_unavailable.
    #[schemars(extend("x-minimum" = "100ms"))]
    pub jwks_max_stale: Text<Duration>,
    /// A PEM file of the authorities that vouch for the issuer's certificate, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_ca: Option<Text<FilePath>>,
    /// Whether keys may be fetched without TLS: whoever is on the way can then forge every token.
    pub allow_http: bool,
    /// A folder that keeps the last good keys, for starts at which the issuer is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<Text<FilePath>>,
    /// A file of token ids (jti) that count no more, one a line, read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_file: Option<Text<FilePath>>,
    /// Subjects, and the moment before which tokens were issued to them that count no more.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub revoked_before: BTreeMap<String, Text<Moment>>,
    /// Where API keys are: "header:NAME", "cookie:NAME" or "query:NAME".
    pub from: Text<TokenPlace>,
    /// A file of API keys, read again when it changes: on each line a name, the SHA-256 of the key in hexadecimal and
    /// perhaps a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<Text<FilePath>>,
    /// A file of users, read again when it changes: on each line a name, a colon and the bcrypt or argon2 hash of a
    /// password, as htpasswd -B writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users_file: Option<Text<FilePath>>,
    /// The service that is asked about each request, with GET and without the body. 2xx lets it pass; any other answer
    /// is the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Text<WebUrl>>,
    /// How long the service may take; then 503 auth_unavailable.
    #[schemars(extend("x-minimum" = "1ms"))]
    pub timeout: Text<Duration>,
    /// Fields of the service's answer that tell the upstream who asks. What clients send in these fields never passes,
    /// on any route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copy_headers: Vec<Text<HeaderName>>,
    /// The field of the service's answer that says who asks, for limits and logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_header: Option<Text<HeaderName>>,
    /// Questions to the service at a time; one more is answered 503 overloaded.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: usize,
    /// A PEM file of the authorities that vouch for the service's certificate, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Text<FilePath>>,
}

/// One file or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FilesSettings {
    /// One.
    One(Text<FilePath>),
    /// Several.
    Several(#[schemars(length(min = 1))] Vec<Text<FilePath>>),
}

/// Whom a route asks: the name of an [auth.*], a list of them, or a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RouteAuthSettings {
    /// One.
    One(String),
    /// One of several: the one that a token is from.
    Several(#[schemars(length(min = 1))] Vec<String>),
    /// With conditions.
    Table(RouteAuthTable),
}

/// Whom a route asks, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteAuthTable {
    /// The name of an [auth.*], or a list of them.
    pub r#use: NamesSettings,
    /// Scopes that a token must have, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Claims, by name or path, and what they must be: a value, or a list of which one will do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, ClaimSettings>,
    /// Whether requests without a token pass as well; one with a bad token never does.
    #[serde(default)]
    pub optional: bool,
    /// "enforce", or "observe": refusals are counted and logged, and the request goes on as nobody's.
    #[serde(default)]
    pub mode: Text<Mode>,
}

/// One name or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NamesSettings {
    /// One.
    One(String),
    /// Several.
    Several(#[schemars(length(min = 1))] Vec<String>),
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClaimSettings {
    /// This.
    One(ClaimValue),
    /// One of these.
    Several(#[schemars(length(min = 1))] Vec<ClaimValue>),
}

/// A single value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

impl JsonSchema for ClaimValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "claim-value".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer", "boolean"],
            "minimum": i64::MIN,
            "maximum": i64::MAX,
        })
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        let mut settings = Self::from(&JwtPolicy::new(KeySource::PublicKeyFiles(Vec::new())));
        settings.public_key_file = None;
        settings
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}
