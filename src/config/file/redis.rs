//! `[redis]` as it may be written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::text::{FilePath, Label, RedisAddress, SecretText, Text};
use crate::layers::redis::policy::RedisPolicy;

/// The Redis or Valkey that several gateways share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Where it is: "redis://host:port/database", "redis-cluster://host:port,host:port" or
    /// "redis-sentinel://host:port,host:port/database?master=NAME"; "rediss…" means TLS, "user@" before the host the user
    /// of an access control list. With a password in it write "env:NAME" or "file:PATH".
    pub url: Text<RedisAddress>,
    /// The password. Written as "env:NAME" or "file:PATH".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Text<SecretText>>,
    /// The password that sentinels ask for. Written as "env:NAME" or "file:PATH".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<Text<SecretText>>,
    /// How long a request waits for an answer; without one it goes on as it is told to.
    #[serde(default = "timeout")]
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "10s"))]
    pub timeout: Text<Duration>,
    /// What every key begins with. Gateways with the same prefix share their limits.
    #[serde(default = "prefix")]
    pub prefix: Text<Label>,
    /// A PEM file of the authorities that vouch for the servers, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Text<FilePath>>,
    /// A PEM file with the gateway's own certificate, where servers ask for one; goes with key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<Text<FilePath>>,
    /// A PEM file with the key of cert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<FilePath>>,
}

fn timeout() -> Text<Duration> {
    Text(RedisPolicy::TIMEOUT)
}

fn prefix() -> Text<Label> {
    Text(Label(RedisPolicy::PREFIX.to_owned()))
}
