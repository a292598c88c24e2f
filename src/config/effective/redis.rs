//! The way back for `[redis]`.

use std::path::PathBuf;

use crate::base::secret::Secret;
use crate::config::file::RedisSettings;
use crate::config::text::{FilePath, Label, RedisAddress, SecretText, Text};
use crate::layers::redis::policy::RedisPolicy;

impl From<&RedisPolicy> for RedisSettings {
    fn from(policy: &RedisPolicy) -> Self {
        let masked = |secret: &Secret| Text(SecretText::Literal(secret.to_string()));
        let file = |path: &PathBuf| Text(FilePath(path.clone()));
        let (cert, key) = policy.identity.as_ref().map(|(cert, key)| (file(cert), file(key))).unzip();
        Self {
            url: Text(RedisAddress::Url(policy.url.clone())),
            password: policy.password.as_ref().map(masked),
            sentinel_password: policy.sentinel_password.as_ref().map(masked),
            timeout: Text(policy.timeout),
            prefix: Text(Label(policy.prefix.clone())),
            ca: policy.ca.as_ref().map(file),
            cert,
            key,
        }
    }
}
