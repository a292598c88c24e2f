//! `[[routes]]` as it may be written.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::RouteAuthSettings;
use super::cache::RouteCacheSettings;
use super::cors::CorsSettings;
use super::limit::RouteLimitsSettings;
use crate::base::units::Size;
use crate::config::text::{ExactPath, Label, Prefix, Rewrite, Target, Text};
use crate::config::{EncodedSlashes, HostMatch, RouteConfig};

/// Which requests, and where they go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteSettings {
    /// Label in metrics and logs, unique. Default: made from the prefix or the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<Label>>,
    /// This path and everything below it, on segment boundaries. This or path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Text<Prefix>>,
    /// This path alone. This or prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text<ExactPath>>,
    /// Hosts without a port: "api.example.com" or "*.example.com". Empty means any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Text<HostMatch>>,
    /// Methods. Empty means any; GET takes HEAD with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Text<Method>>,
    /// Header fields that must be present with exactly this value.
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Text<HeaderValue>>,
    /// Query parameters that must be present with exactly this value, as written in the URL.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Where requests go: the name of an upstream, or "http://host:port".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Text<Target>>,
    /// Whether the prefix is taken off before the request goes on.
    pub strip_prefix: bool,
    /// Replaces the path; {path} stands for what is left of it after strip_prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Text<Rewrite>>,
    /// What escaped slashes, backslashes and double escapes in the path mean: "reject" or "allow". Default: "reject"
    /// with strip_prefix or rewrite, and where any route of the host has auth, allow_ips or deny_ips, else
    /// "allow".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_slashes: Option<Text<EncodedSlashes>>,
    /// One budget for all tries, to the response head. "0s" means none.
    pub timeout: Text<Duration>,
    /// Bytes in a request body; 0 means no limit. Default: server.max_body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Text<Size>>,
    /// Requests at a time; one more is answered 503. 0 means no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_in_flight: usize,
    /// Networks of the clients that may use the route, by the address that trusted proxies give or else the
    /// connection's own. Empty means any. "0.0.0.0/0" is all of IPv4, "::/0" all of IPv6.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_ips: Vec<Text<IpNet>>,
    /// Networks of the clients that may not, allow_ips or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_ips: Vec<Text<IpNet>>,
    /// Who may pass: the name of an [auth.*] or a list of them, or a table of use (the names), scopes, claims, optional
    /// and mode. Default: everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<RouteAuthSettings>,
    /// Whether responses are kept and served again: true for what the origin allows, or a table of ttl, heuristic,
    /// stale_while_revalidate, stale_if_error and vary_by. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<RouteCacheSettings>,
    /// What pages of other origins may do: the gateway answers the preflights of browsers, and says on all answers who may
    /// read them, in place of the upstream. Default: what the upstream says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsSettings>,
    /// How much may pass: the name of a [rate_limits.*], a table of use (the name) and cost, or a list of them.
    /// Default: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RouteLimitsSettings>,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            name: None,
            prefix: None,
            path: None,
            hosts: Vec::new(),
            methods: Vec::new(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            upstream: None,
            strip_prefix: false,
            rewrite: None,
            encoded_slashes: None,
            timeout: Text(RouteConfig::TIMEOUT),
            max_body: None,
            max_in_flight: 0,
            allow_ips: Vec::new(),
            deny_ips: Vec::new(),
            auth: None,
            cache: None,
            cors: None,
            rate_limit: None,
        }
    }
}
