//! The way back for `[auth.*]` and a route's `auth`.

use serde_json::Value;

use crate::config::file::{
    AuthSettings, ClaimSettings, ClaimValue, FilesSettings, NamesSettings, RouteAuthSettings, RouteAuthTable,
};
use crate::config::text::{AuthKind, FilePath, Moment, SecretText, Text, WebUrl};
use crate::layers::auth::policy::{AuthPolicy, JwtPolicy, KeySource, Method, Mode, RouteAuth};

impl From<&AuthPolicy> for AuthSettings {
    fn from(policy: &AuthPolicy) -> Self {
        match &policy.method {
            Method::Jwt(jwt) => jwt.as_ref().into(),
        }
    }
}

impl From<&JwtPolicy> for AuthSettings {
    fn from(policy: &JwtPolicy) -> Self {
        let (keys, rules) = (&policy.keys, &policy.rules.claims);
        let file = |path: &std::path::PathBuf| Text(FilePath(path.clone()));
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
            claims_to_headers: Default::default(),
            jwks_refresh: Text(keys.refresh),
            jwks_cooldown: Text(keys.cooldown),
            jwks_max_stale: Text(keys.max_stale),
            jwks_ca: keys.ca.as_ref().map(file),
            allow_http: keys.allow_http,
            cache_dir: keys.cache_dir.as_ref().map(file),
            revoked_file: policy.revoked_file.as_ref().map(file),
            revoked_before: rules.revoked_before.iter().map(|(who, when)| (who.clone(), Text(Moment(*when)))).collect(),
        };
        let mapping = policy.claims_to_headers.iter();
        settings.claims_to_headers = mapping.map(|(path, name)| (path.clone(), Text(name.clone()))).collect();
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
        let mode: Mode = auth.mode;
        Self::Table(RouteAuthTable {
            r#use: names,
            scopes: auth.scopes.clone(),
            claims,
            optional: auth.optional,
            mode: Text(mode),
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
