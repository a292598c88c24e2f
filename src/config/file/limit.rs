//! `[rate_limits.NAME]` and a route's `rate_limit` as they may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::mode::Mode;
use crate::base::units::Rate;
use crate::config::text::{PlanClaim, Text};
use crate::layers::rate_limit::policy::{KeyPart, LimitPolicy, OnStoreError, Scope, Store, Style};

/// How much may pass, by name; routes refer to it in `rate_limit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// What requests are counted by: "ip", "subject", "claim:NAME", "header:NAME", "route", "global", or a list of which
    /// all count together. What a request lacks is replaced by its ip. "subject" and "claim:NAME" are looked at after
    /// auth, the rest before.
    pub key: LimitKeySettings,
    /// So many requests in so much time: "100/s", "600/min", "1000/h", "10000/day". Exactly one of this, rates and
    /// max_in_flight says what is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Text<Rate>>,
    /// The same by plan: rates by their plan's name, one of them "default". The plan is that of an API key, or what a
    /// claim says.
    #[schemars(extend("propertyNames" = { "format": "label" }))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, Text<Rate>>,
    /// The claim that names the plan: "claim:NAME". Default: the plan of the API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Text<PlanClaim>>,
    /// Most requests at once, after a pause. Default: as many as the rate says.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// So many requests at a time, instead of a rate.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Whether routes share what they count: "limit", one count however many routes use it, or "route", one for each.
    pub per: Text<Scope>,
    /// Bits of an IPv6 address that tell clients apart.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// Where requests are counted: "local", in this gateway, or "redis", together with others.
    pub store: Text<Store>,
    /// What holds while Redis gives no answer: "local", each gateway allows its share; "allow"; "deny", 503.
    pub on_store_error: Text<OnStoreError>,
    /// How clients are told: "draft" (RateLimit-Policy and RateLimit), "legacy" (X-RateLimit-*) or "off". A 429 has
    /// Retry-After in any case.
    pub headers: Text<Style>,
    /// Most keys that are remembered. When there are more, those that have nothing used up go first; then new ones share
    /// one count.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_keys: usize,
    /// "enforce", or "observe": refusals are counted and logged, and the request goes on.
    pub mode: Text<Mode>,
}

/// One part of a key or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LimitKeySettings {
    /// One.
    One(Text<KeyPart>),
    /// Several.
    Several(#[schemars(length(min = 1))] Vec<Text<KeyPart>>),
}

/// The limits of a route: a name, a table, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RouteLimitsSettings {
    /// One.
    Name(String),
    /// One, with its cost.
    Table(LimitUseTable),
    /// Several, taken together: when one refuses, none of the others is used up.
    Several(#[schemars(length(min = 1))] Vec<LimitUseSettings>),
}

/// One of a route's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LimitUseSettings {
    /// Its name.
    Name(String),
    /// With its cost.
    Table(LimitUseTable),
}

/// A limit and what a request of the route costs of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitUseTable {
    /// The name of a [rate_limits.*].
    pub r#use: String,
    /// How many requests one of this route counts for.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub cost: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            key: LimitKeySettings::One(Text(KeyPart::Ip)),
            rate: None,
            rates: BTreeMap::new(),
            plan: None,
            burst: None,
            max_in_flight: None,
            per: Text::default(),
            ipv6_prefix: LimitPolicy::IPV6_PREFIX,
            store: Text::default(),
            on_store_error: Text::default(),
            headers: Text::default(),
            max_keys: LimitPolicy::MAX_KEYS,
            mode: Text::default(),
        }
    }
}

fn one() -> u32 {
    1
}
