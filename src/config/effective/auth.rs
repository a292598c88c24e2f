//! The way back for `[auth.*]` and a route's `auth`.

use std::collections::BTreeMap;

use http::HeaderName;
use serde_json::Value;

use toml_edit::{DocumentMut, Item};

use crate::config::file::{
    AuthSettings, ClaimSettings, ClaimValue, ConfigFile, FilesSettings, NamesSettings, RouteAuthSettings,
    RouteAuthTable,
};
use crate::config::text::{AuthKind, FilePath, Moment, SecretText, Text, WebUrl};
use crate::layers::auth::policy::{AuthPolicy, ForwardPolicy, JwtPolicy, KeySource, Method, RouteAuth, TokenPlace};

impl From<&AuthPolicy> for AuthSettings {
    fn from(policy: &AuthPolicy) -> Self {
        match &policy.method {
            Method::Jwt(jwt) => jwt.as_ref().into(),
            Method::ApiKey(keys) => Self {
                kind: Text(AuthKind::ApiKey),
                from: Text(keys.from.clone()),
                keys_file: Some(Text(FilePath(keys.keys_file.clone()))),
                forward_token: keys.forward_token,
                claims_to_headers: mapping(&keys.claims_to_headers),
                ..Self::default()
            },
            Method::Basic(basic) => Self {
                kind: Text(AuthKind::Basic),
                users_file: Some(Text(FilePath(basic.users_file.clone()))),
                forward_token: basic.forward_token,
                claims_to_headers: mapping(&basic.claims_to_headers),
                ..Self::default()
            },
            Method::Forward(forward) => Self {
                kind: Text(AuthKind::Forward),
                url: Some(Text(WebUrl(forward.url.clone()))),
                timeout: Text(forward.timeout),
                copy_headers: Text::list(&forward.copy_headers),
                subject_header: forward.subject_header.clone().map(Text),
                max_in_flight: forward.max_in_flight,
                ca: forward.ca.clone().map(FilePath).map(Text),
                ..Self::default()
            },
        }
    }
}

/// The text of a configuration without the keys that are not of their table's kind.
pub(super) fn only_own_keys(text: &str, file: &ConfigFile) -> String {
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        return text.to_owned();
    };
    for (name, settings) in &file.auth {
        let table = document.get_mut("auth").and_then(|auth| auth.get_mut(name)).and_then(Item::as_table_like_mut);
        let Some(table) = table else { continue };
        let own = |key: &str| key == "kind" || settings.kind.0.keys().contains(&key);
        let others: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).filter(|key| !own(key)).collect();
        for key in others {
            table.remove(&key);
        }
    }
    document.to_string()
}

fn mapping(policy: &[(String, HeaderName)]) -> BTreeMap<String, Text<HeaderName>> {
    policy.iter().map(|(path, name)| (path.clone(), Text(name.clone()))).collect()
}

impl From<&JwtPolicy> for AuthSettings {
    fn from(policy: &JwtPolicy) -> Self {
        let (keys, rules) = (&policy.keys, &policy.rules.claims);
        let file = |path: &std::path::PathBuf| Text(FilePath(path.clone()));
        let forward = ForwardPolicy::new(String::new());
        let mut settings = Self {
            kind: Text(AuthKind::Jwt),
            issuer: rules.issuer.clone(),
            audience: rules.audience.clone(),
            jwks_url: None,
            discovery: matches!(keys.source, KeySource::Discovery(_)),
            jwks_file: None,
            public_key_file: None,
            secret: None,
            algorithms: Text::list(&policy.rules.algorithms),
            leeway: Text(rules.leeway),
            required_claims: rules.required.clone(),
            max_lifetime: Text(rules.max_lifetime),
            token_from: Text::list(&policy.token_from),
            forward_token: policy.forward_token,
            claims_to_headers: mapping(&policy.claims_to_headers),
            jwks_refresh: Text(keys.refresh),
            jwks_cooldown: Text(keys.cooldown),
            jwks_max_stale: Text(keys.max_stale),
            jwks_ca: keys.ca.as_ref().map(file),
            allow_http: keys.allow_http,
            cache_dir: keys.cache_dir.as_ref().map(file),
            revoked_file: policy.revoked_file.as_ref().map(file),
            revoked_before: rules.revoked_before.iter().map(|(who, when)| (who.clone(), Text(Moment(*when)))).collect(),
            from: Text(TokenPlace::Header(HeaderName::from_static("x-api-key"))),
            keys_file: None,
            users_file: None,
            url: None,
            timeout: Text(forward.timeout),
            copy_headers: Vec::new(),
            subject_header: None,
            max_in_flight: forward.max_in_flight,
            ca: None,
        };
        match &keys.source {
            KeySource::Url(url) => settings.jwks_url = Some(Text(WebUrl(url.clone()))),
            KeySource::Discovery(_) => {}
            KeySource::JwksFile(path) => settings.jwks_file = Some(file(path)),
            KeySource::PublicKeyFiles(paths) => {
                settings.public_key_file = Some(match paths.as_slice() {
                    [one] => FilesSettings::One(file(one)),
                    several => FilesSettings::Several(several.iter().map(file).collect()),
                });
            }
            KeySource::Secret(secret) => settings.secret = Some(Text(SecretText::Literal(secret.to_string()))),
        }
        settings
    }
}

impl From<&RouteAuth> for RouteAuthSettings {
    fn from(auth: &RouteAuth) -> Self {
        if *auth == RouteAuth::new(auth.policies.clone()) {
            return match auth.policies.as_slice() {
                [one] => Self::One(one.clone()),
                several => Self::Several(several.to_vec()),
            };
        }
        let names = match auth.policies.as_slice() {
            [one] => NamesSettings::One(one.clone()),
            several => NamesSettings::Several(several.to_vec()),
        };
        let claims = auth.claims.iter().map(|rule| (rule.path.clone(), claim(&rule.any_of))).collect();
        Self::Table(RouteAuthTable {
            r#use: names,
            scopes: auth.scopes.clone(),
            claims,
            optional: auth.optional,
            mode: Text(auth.mode),
        })
    }
}

fn claim(any_of: &[Value]) -> ClaimSettings {
    let mut values = any_of.iter().map(|value| match value {
        Value::Number(number) => ClaimValue::Number(number.as_i64().unwrap_or_default()),
        Value::Bool(flag) => ClaimValue::Flag(*flag),
        other => ClaimValue::Text(other.as_str().unwrap_or_default().to_owned()),
    });
    match (values.next(), any_of.len()) {
        (Some(only), 1) => ClaimSettings::One(only),
        (first, _) => ClaimSettings::Several(first.into_iter().chain(values).collect()),
    }
}
