//! `[auth.*]` and what routes ask: exactly one source of keys, which can be read and goes with the algorithms, and fields
//! that nobody else sets.

mod other;
mod route;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;

pub(super) use self::route::route;
use super::Context;
use crate::config::file::{AuthSettings, ConfigFile, FilesSettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{AuthKind, Fault, FilePath, Syntax, Text, WebUrl};
use crate::layers::auth::algorithm::Algorithm;
use crate::layers::auth::claims::ClaimRules;
use crate::layers::auth::keys::{Keys, Origin};
use crate::layers::auth::policy::{AuthPolicy, JwtPolicy, KeyPolicy, KeySource, Method, TokenPlace};
use crate::layers::auth::verify::Rules;

/// Fields that mean something else already.
const TAKEN: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "grpc-timeout",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-request-timeout",
];

/// Checks the tables; one that cannot be used is left out.
pub(super) fn auth(file: &ConfigFile, context: &Context, findings: &mut Findings) -> Vec<Arc<AuthPolicy>> {
    let mut checked = Vec::new();
    for (name, settings) in &file.auth {
        let path = KeyPath::dotted("auth").key(name);
        if findings.is_broken(&path.key("kind")) {
            continue;
        }
        own_keys(settings.kind.0, &path, findings);
        let method = match settings.kind.0 {
            AuthKind::Jwt => source(settings, &path, context, findings)
                .map(|source| Method::Jwt(Box::new(jwt(settings, source, &path, context, findings)))),
            AuthKind::ApiKey => other::api_key(settings, &path, context, findings).map(Method::ApiKey),
            AuthKind::Basic => other::basic(settings, &path, context, findings).map(Method::Basic),
            AuthKind::Forward => other::forward(settings, &path, context, findings).map(Method::Forward),
        };
        checked.extend(method.map(|method| Arc::new(AuthPolicy { name: name.clone(), method })));
    }
    told_and_read(&checked, file, findings);
    checked
}

/// A key that belongs to another kind does nothing here, which is not what was meant.
fn own_keys(kind: AuthKind, path: &KeyPath, findings: &mut Findings) {
    let all = crate::config::schema::at(path).map(|shape| shape.keys()).unwrap_or_default();
    let foreign = |key: &&str| *key != "kind" && !kind.keys().contains(key);
    for key in all.into_iter().filter(foreign) {
        if findings.is_written(&path.key(key)) {
            let kinds: Vec<String> = AuthKind::having(key).iter().map(|kind| format!("`{}`", kind.print())).collect();
            let fault = Fault::new(format!("`{key}` is no key of the kind `{}`", kind.print()));
            findings.key(&path.key(key), fault.hint(format!("it belongs to {}", kinds.join(", "))));
        }
    }
}

/// What clients send in fields that tell upstreams who asks is deleted before anybody looks at it: no credential can be
/// there.
fn told_and_read(policies: &[Arc<AuthPolicy>], file: &ConfigFile, findings: &mut Findings) {
    let told: Vec<HeaderName> = policies.iter().flat_map(|policy| policy.fields()).collect();
    for (name, settings) in &file.auth {
        let path = KeyPath::dotted("auth").key(name);
        let read = match settings.kind.0 {
            AuthKind::Jwt => {
                let places = settings.token_from.iter().enumerate();
                places.map(|(at, place)| (path.key("token_from").index(at), &place.0)).collect()
            }
            AuthKind::ApiKey => vec![(path.key("from"), &settings.from.0)],
            AuthKind::Basic | AuthKind::Forward => Vec::new(),
        };
        for (path, place) in read {
            if let TokenPlace::Header(field) = place
                && told.contains(field)
            {
                let fault =
                    Fault::new(format!("what clients send in `{field}` is deleted, for upstreams are told in it"));
                findings.value(&path, fault.hint("choose another field here, or there"));
            }
        }
    }
}

fn jwt(
    settings: &AuthSettings,
    source: KeySource,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) -> JwtPolicy {
    algorithms(settings, &source, path, findings);
    let file = |text: &Option<Text<FilePath>>| text.as_ref().map(|text| context.folder.join(&text.0.0));
    let (ca, revoked_file) = (file(&settings.jwks_ca), file(&settings.revoked_file));
    for (key, path_of_file) in [("jwks_ca", &ca), ("revoked_file", &revoked_file)] {
        if let Some(Err(error)) = path_of_file.as_ref().map(std::fs::metadata) {
            let shown = path_of_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            findings.value(&path.key(key), unreadable(&shown, &error));
        }
    }
    JwtPolicy {
        keys: KeyPolicy {
            source,
            refresh: settings.jwks_refresh.0,
            cooldown: settings.jwks_cooldown.0,
            max_stale: settings.jwks_max_stale.0,
            allow_http: settings.allow_http,
            ca,
            cache_dir: file(&settings.cache_dir),
        },
        rules: Rules {
            algorithms: Text::values(&settings.algorithms),
            claims: ClaimRules {
                issuer: settings.issuer.clone(),
                audience: settings.audience.clone(),
                required: settings.required_claims.clone(),
                leeway: settings.leeway.0,
                max_lifetime: settings.max_lifetime.0,
                revoked_before: settings.revoked_before.iter().map(|(who, when)| (who.clone(), when.0.0)).collect(),
            },
        },
        token_from: Text::values(&settings.token_from),
        forward_token: settings.forward_token,
        claims_to_headers: mapping(&settings.claims_to_headers, &path.key("claims_to_headers"), findings),
        revoked_file,
    }
}

/// The one source of keys.
fn source(settings: &AuthSettings, path: &KeyPath, context: &Context, findings: &mut Findings) -> Option<KeySource> {
    let written = [
        ("jwks_url", settings.jwks_url.is_some()),
        ("discovery", settings.discovery),
        ("jwks_file", settings.jwks_file.is_some()),
        ("public_key_file", settings.public_key_file.is_some()),
        ("secret", settings.secret.is_some()),
    ];
    let keys: Vec<&str> = written.iter().filter(|(_, there)| *there).map(|(key, _)| *key).collect();
    match keys.as_slice() {
        [] => {
            if !written.iter().any(|(key, _)| findings.is_broken(&path.key(key))) {
                let fault = Fault::new("nothing says which keys verify tokens");
                findings.value(
                    path,
                    fault.hint("add `jwks_url`, `discovery = true`, `jwks_file`, `public_key_file` or `secret`"),
                );
            }
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            let fault = Fault::new(format!("keys come from `{first}` or from `{second}`, not from both"))
                .hint("leave one of them out, or make two tables and name both in the route");
            findings.clash(&path.key(second), fault, &path.key(first), "the other one");
            return None;
        }
    }
    if let Some(url) = &settings.jwks_url {
        encrypted(&url.0, settings, &path.key("jwks_url"), findings);
        return Some(KeySource::Url(url.0.0.clone()));
    }
    if settings.discovery {
        return discovery(settings, path, findings);
    }
    if let Some(file) = &settings.jwks_file {
        let file = context.folder.join(&file.0.0);
        let read = |bytes: &[u8]| Keys::from_jwks(bytes, Origin::File).map_err(|error| error.to_string());
        return can_be_read(&file, read, &path.key("jwks_file"), findings).then_some(KeySource::JwksFile(file));
    }
    if let Some(secret) = &settings.secret {
        let secret = context.secret(&secret.0).map_err(|fault| findings.value(&path.key("secret"), fault));
        return secret.ok().map(KeySource::Secret);
    }
    public_keys(settings.public_key_file.as_ref()?, &path.key("public_key_file"), context, findings)
}

fn discovery(settings: &AuthSettings, path: &KeyPath, findings: &mut Findings) -> Option<KeySource> {
    let Some(issuer) = &settings.issuer else {
        let fault = Fault::new("discovery asks the issuer, and there is none").hint("add `issuer = \"https://…\"`");
        findings.value(&path.key("discovery"), fault);
        return None;
    };
    match WebUrl::parse(issuer) {
        Ok(url) => encrypted(&url, settings, &path.key("issuer"), findings),
        Err(fault) => findings.value(&path.key("issuer"), fault),
    }
    Some(KeySource::Discovery(issuer.clone()))
}

/// Whoever could change the keys on their way could forge every token.
fn encrypted(url: &WebUrl, settings: &AuthSettings, path: &KeyPath, findings: &mut Findings) {
    if url.0.starts_with("http:") && !settings.allow_http {
        let fault = Fault::new("keys would come without TLS: whoever is on the way could forge every token");
        findings.value(path, fault.hint("write `https://`, or set `allow_http = true` if nobody else is on the way"));
    }
}

fn public_keys(files: &FilesSettings, path: &KeyPath, context: &Context, findings: &mut Findings) -> Option<KeySource> {
    let files: Vec<(KeyPath, PathBuf)> = match files {
        FilesSettings::One(one) => vec![(path.clone(), context.folder.join(&one.0.0))],
        FilesSettings::Several(list) => {
            list.iter().enumerate().map(|(at, one)| (path.index(at), context.folder.join(&one.0.0))).collect()
        }
    };
    let read = |bytes: &[u8]| Keys::from_pem(bytes).map_err(|error| error.to_string());
    let good = files.iter().filter(|(path, file)| can_be_read(file, read, path, findings)).count();
    (good == files.len()).then(|| KeySource::PublicKeyFiles(files.into_iter().map(|(_, file)| file).collect()))
}

/// Whether a file of keys can be read now; later on the last good keys go on.
fn can_be_read(
    file: &std::path::Path,
    read: impl Fn(&[u8]) -> Result<Keys, String>,
    path: &KeyPath,
    findings: &mut Findings,
) -> bool {
    let shown = file.display().to_string();
    let fault = match std::fs::read(file) {
        Err(error) => unreadable(&shown, &error),
        Ok(bytes) => match read(&bytes) {
            Ok(_) => return true,
            Err(error) => Fault::new(format!("`{shown}`: {error}")),
        },
    };
    findings.value(path, fault);
    false
}

fn unreadable(file: &str, error: &std::io::Error) -> Fault {
    Fault::new(format!("cannot read `{file}`: {error}")).hint("the path is relative to the configuration file")
}

/// A shared secret and public keys never verify the same tokens.
fn algorithms(settings: &AuthSettings, source: &KeySource, path: &KeyPath, findings: &mut Findings) {
    let secret = matches!(source, KeySource::Secret(_));
    if matches!(source, KeySource::JwksFile(_)) {
        return;
    }
    for (at, algorithm) in settings.algorithms.iter().enumerate() {
        if algorithm.0.is_symmetric() == secret {
            continue;
        }
        let fault = match secret {
            true => Fault::new(format!("`{}` needs a public key, and there is a secret", Algorithm::name(algorithm.0))),
            false => {
                Fault::new(format!("`{}` needs a secret, and there are public keys", Algorithm::name(algorithm.0)))
            }
        };
        findings.value(&path.key("algorithms").index(at), fault);
    }
}

/// A field that tells upstreams of somebody must mean nothing else.
fn free(name: &HeaderName, path: &KeyPath, findings: &mut Findings) {
    if TAKEN.contains(&name.as_str().replace('_', "-").as_str()) {
        let fault = Fault::new(format!("the field `{name}` has another meaning"));
        findings.value(path, fault.hint("choose one like `x-user-id`"));
    }
}

fn mapping(
    written: &BTreeMap<String, Text<HeaderName>>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<(String, HeaderName)> {
    let mut checked: Vec<(String, HeaderName)> = Vec::new();
    for (claim, Text(name)) in written {
        free(name, &path.key(claim), findings);
        if let Some((first, _)) = checked.iter().find(|(_, other)| other == name) {
            let fault = Fault::new(format!("two claims in one field `{name}`"));
            findings.clash(&path.key(claim), fault, &path.key(first), "the other one");
        }
        checked.push((claim.clone(), name.clone()));
    }
    checked
}
