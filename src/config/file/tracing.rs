//! `[tracing]` as it may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::TracingConfig;
use crate::config::text::{SecretText, Text, WebUrl};

/// Which requests leave a trace, and who gets it. traceparent and tracestate are forwarded in any case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracingSettings {
    /// Base URL of a collector that takes OTLP over HTTP, such as "http://collector:4318". Without it there are no
    /// traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Text<WebUrl>>,
    /// Header fields of every request to the collector, such as { authorization = "env:OTLP_AUTHORIZATION" }.
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text<SecretText>>,
    /// Share of the traces begun here that are recorded. For one that a trusted proxy has begun, its word counts.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// Whether requests that end with a 5xx status, or broke off upstream, are recorded whatever the share.
    pub errors: bool,
    /// What the gateway is called in traces: service.name.
    #[schemars(length(min = 1))]
    pub service_name: String,
}

impl Default for TracingSettings {
    fn default() -> Self {
        (&TracingConfig::default()).into()
    }
}
