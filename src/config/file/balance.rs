//! `balance` of an upstream as it may be written: a word, or a table for what needs to know more.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::{BalanceWord, CookieName, SecretText, Text};
use crate::upstream::policy::{Balance, HashKey, StickyPolicy};

/// How a request's address is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BalanceSettings {
    /// By a rule that needs nothing else.
    Word(Text<BalanceWord>),
    /// By what a request brings.
    Table(BalanceTable),
}

/// How a request's address is chosen by what it brings: one of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceTable {
    /// Equal values go to the same address: "header:NAME", "cookie:NAME", "query:NAME", "path" or "ip".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Text<HashKey>>,
    /// A client goes where it was before, by a signed cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySettings>,
}

/// The cookie by which a client comes back to its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StickySettings {
    /// Its name; upstreams that share a host need different ones.
    pub cookie: Text<CookieName>,
    /// How long a client that does not come keeps its address. "0s" means until its browser closes.
    pub max_age: Text<Duration>,
    /// What the cookie is signed with, 16 bytes or more, written as "env:NAME" or "file:PATH". Without it a key is made
    /// at each start, and clients may change their address then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Text<SecretText>>,
}

impl Default for StickySettings {
    fn default() -> Self {
        Self { cookie: Text(CookieName("tollgate".to_owned())), max_age: Text(Duration::from_secs(3600)), secret: None }
    }
}

impl From<&Balance> for BalanceSettings {
    fn from(balance: &Balance) -> Self {
        let table = |hash, sticky| Self::Table(BalanceTable { hash, sticky });
        match balance {
            Balance::RoundRobin => Self::Word(Text(BalanceWord::RoundRobin)),
            Balance::LeastRequest => Self::Word(Text(BalanceWord::LeastRequest)),
            Balance::PeakEwma => Self::Word(Text(BalanceWord::PeakEwma)),
            Balance::Random => Self::Word(Text(BalanceWord::Random)),
            Balance::Hash(key) => table(Some(Text(key.clone())), None),
            Balance::Sticky(sticky) => table(None, Some(sticky.into())),
        }
    }
}

impl From<&StickyPolicy> for StickySettings {
    fn from(sticky: &StickyPolicy) -> Self {
        Self {
            cookie: Text(CookieName(sticky.cookie.clone())),
            max_age: Text(sticky.max_age),
            secret: sticky.secret.as_ref().map(|secret| Text(SecretText::Literal(secret.to_string()))),
        }
    }
}
