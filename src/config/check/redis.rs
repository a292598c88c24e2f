//! `[redis]`: a URL that says where it is, at most one password, and files that go with TLS.

use std::sync::Arc;

use super::Context;
use crate::config::file::{ConfigFile, RedisSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{Fault, RedisAddress, SecretText, Text, redis};
use crate::layers::redis::policy::{Kind, RedisPolicy, RedisUrl};

/// Checks the table, if there is one.
pub(super) fn redis(file: &ConfigFile, context: &Context, findings: &mut Findings) -> Option<Arc<RedisPolicy>> {
    let settings = file.redis.as_ref()?;
    let path = KeyPath::dotted("redis");
    let url = match url(&settings.url.0, context) {
        Ok(url) => url,
        Err(fault) => {
            findings.value(&path.key("url"), fault);
            return None;
        }
    };
    let mut policy = RedisPolicy::new(url);
    policy.timeout = settings.timeout.0;
    policy.prefix.clone_from(&settings.prefix.0.0);
    let mut secret = |key: &str, text: &Option<Text<SecretText>>| {
        let secret = context.secret(&text.as_ref()?.0);
        secret.map_err(|fault| findings.value(&path.key(key), fault)).ok()
    };
    policy.password = secret("password", &settings.password);
    policy.sentinel_password = secret("sentinel_password", &settings.sentinel_password);
    passwords(settings, &policy.url, &path, findings);
    certificates(settings, &mut policy, &path, context, findings);
    Some(Arc::new(policy))
}

/// The URL, wherever it is written.
fn url(address: &RedisAddress, context: &Context) -> Result<RedisUrl, Fault> {
    let text = match address {
        RedisAddress::Url(url) => return Ok(url.clone()),
        RedisAddress::Environment(name) => SecretText::Environment(name.clone()),
        RedisAddress::File(path) => SecretText::File(path.clone()),
    };
    redis::parse(context.secret(&text)?.expose())
}

fn passwords(settings: &RedisSettings, url: &RedisUrl, path: &KeyPath, findings: &mut Findings) {
    if settings.password.is_some() && url.password.is_some() {
        let fault = Fault::new("the URL has a password already").hint("leave one of the two out");
        findings.clash(&path.key("password"), fault, &path.key("url"), "the other one");
    }
    if settings.sentinel_password.is_some() && !matches!(url.kind, Kind::Sentinel(_)) {
        let fault = Fault::new("there are no sentinels that could ask for a password")
            .hint("leave it out, or write `redis-sentinel://…`");
        findings.clash(&path.key("sentinel_password"), fault, &path.key("url"), "without sentinels");
    }
}

fn certificates(
    settings: &RedisSettings,
    policy: &mut RedisPolicy,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) {
    let written = [("ca", &settings.ca), ("cert", &settings.cert), ("key", &settings.key)];
    for (key, file) in written {
        let Some(file) = file else { continue };
        if !policy.url.tls {
            let fault = Fault::new(format!("`{key}` is for TLS, and the URL is without")).hint("write `rediss…://`");
            findings.clash(&path.key(key), fault, &path.key("url"), "without TLS");
        } else if let Err(error) = std::fs::metadata(context.folder.join(&file.0.0)) {
            let fault = Fault::new(format!("cannot read `{}`: {error}", file.0.0.display()));
            findings.value(&path.key(key), fault.hint("the path is relative to the configuration file"));
        }
    }
    let file = |text: &Option<Text<crate::config::text::FilePath>>| Some(context.folder.join(&text.as_ref()?.0.0));
    policy.ca = file(&settings.ca);
    match (file(&settings.cert), file(&settings.key)) {
        (Some(cert), Some(key)) => policy.identity = Some((cert, key)),
        (None, None) => {}
        (Some(_), None) => findings.value(&path.key("cert"), Fault::new("a certificate needs its `key`")),
        (None, Some(_)) => findings.value(&path.key("key"), Fault::new("a key needs its `cert`")),
    }
}
