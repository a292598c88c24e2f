//! `cors` of a route as it may be written, and the way back.

use std::time::Duration;

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::Text;
use crate::layers::cors::policy::{CorsPolicy, Origin};

/// What pages of other origins may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsSettings {
    /// Whose pages: `https://app.example.com`, `https://*.example.com` for every host below a domain, "*" for anybody's,
    /// "null" for those of sandboxes and files.
    #[schemars(length(min = 1))]
    pub origins: Vec<Text<Origin>>,
    /// Methods that they may use. Empty means those of the route, or GET, HEAD and POST where it takes any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Text<Method>>,
    /// Fields that their requests may have, beyond the usual ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Text<HeaderName>>,
    /// Fields of answers that they may read, beyond the usual ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<Text<HeaderName>>,
    /// Whether their requests may have cookies, client certificates and passwords.
    pub credentials: bool,
    /// How long a browser may remember what it was told before a request.
    pub max_age: Text<Duration>,
}

impl Default for CorsSettings {
    fn default() -> Self {
        (&CorsPolicy::default()).into()
    }
}

impl From<&CorsPolicy> for CorsSettings {
    fn from(policy: &CorsPolicy) -> Self {
        Self {
            origins: Text::list(&policy.origins),
            methods: Text::list(&policy.methods),
            headers: Text::list(&policy.headers),
            expose_headers: Text::list(&policy.expose_headers),
            credentials: policy.credentials,
            max_age: Text(policy.max_age),
        }
    }
}
