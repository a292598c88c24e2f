//! What is allowed in `[auth.*]` and around routes with `auth`, but probably not meant.

use crate::config::file::ConfigFile;
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::order::shares_host;
use crate::config::text::{Fault, SecretText};
use crate::config::{Config, EncodedSlashes, PathMatch};
use crate::layers::auth::policy::{KeySource, Method};

/// Least bytes of a shared secret: those of the shortest hash (RFC 7518 §3.2).
const SECRET: usize = 32;

pub(super) fn lint(config: &Config, file: &ConfigFile, findings: &mut Findings) {
    unused(config, findings);
    keys(config, findings);
    literal_secrets(file, findings);
    paths_with_two_spellings(config, findings);
    ways_around(config, findings);
    preflights(config, findings);
}

/// `unused-auth`: no route refers to it.
fn unused(config: &Config, findings: &mut Findings) {
    for policy in &config.auth {
        let used = |auth: &crate::layers::auth::policy::RouteAuth| auth.policies.contains(&policy.name);
        if !config.routes.iter().any(|route| route.auth.as_ref().is_some_and(used)) {
            let fault = Fault::new(format!("no route uses `[auth.{}]`", policy.name));
            findings.warn("unused-auth", &KeyPath::dotted("auth").key(&policy.name), fault, None);
        }
    }
}

/// `any-audience`: an issuer on the network issues tokens for others too. `short-secret`: it can be guessed.
/// `keys-without-tls`: they can be replaced on the way.
fn keys(config: &Config, findings: &mut Findings) {
    for policy in &config.auth {
        let Method::Jwt(jwt) = &policy.method else { continue };
        let path = KeyPath::dotted("auth").key(&policy.name);
        if jwt.keys.source.is_remote() && jwt.rules.claims.audience.is_empty() {
            let fault = Fault::new("tokens of this issuer pass, for whomever they were issued")
                .hint("set `audience` to what the issuer calls this service");
            findings.warn("any-audience", &path, fault, None);
        }
        match &jwt.keys.source {
            KeySource::Secret(secret) if secret.expose().len() < SECRET => {
                let fault = Fault::new(format!("the secret is shorter than {SECRET} bytes: it can be guessed"));
                findings.warn("short-secret", &path.key("secret"), fault, None);
            }
            KeySource::Url(url) | KeySource::Discovery(url) if url.starts_with("http:") && !is_loopback(url) => {
                let fault = Fault::new("the keys come without TLS: whoever is on the way can forge every token");
                findings.warn("keys-without-tls", &path.key("allow_http"), fault, None);
            }
            _ => {}
        }
    }
}

fn is_loopback(url: &str) -> bool {
    let uri: Option<http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// `literal-secret`: a secret that ends up in version control.
fn literal_secrets(file: &ConfigFile, findings: &mut Findings) {
    for (name, settings) in &file.auth {
        let path = KeyPath::dotted("auth").key(name).key("secret");
        let literal = settings.secret.as_ref().is_some_and(|text| matches!(text.0, SecretText::Literal(_)));
        if literal && !findings.is_from_environment(&path) {
            let fault =
                Fault::new("a secret stands in the configuration itself").hint("write `env:NAME` or `file:PATH`");
            findings.warn("literal-secret", &path, fault, None);
        }
    }
}

/// `two-spellings`: a character that is another one escaped (RFC 3986 §2.2), in a path that auth depends on. A backend
/// that takes the two for one is reached around this route.
fn paths_with_two_spellings(config: &Config, findings: &mut Findings) {
    for (at, route) in config.routes.iter().enumerate().filter(|(_, route)| route.auth.is_some()) {
        let (PathMatch::Prefix(path) | PathMatch::Exact(path)) = &route.path;
        if let Some(found) = path.chars().find(|c| "!$&'()*+,:;=@".contains(*c)) {
            let key = if matches!(route.path, PathMatch::Prefix(_)) { "prefix" } else { "path" };
            let fault = Fault::new(format!("`{found}` has another spelling, which this route does not take"))
                .hint(format!("ask for `auth` above it, or on a route for `%{:02X}` too", u32::from(found)));
            findings.warn("two-spellings", &KeyPath::dotted("routes").index(at).key(key), fault, None);
        }
    }
}

/// `cors-conditions`: a preflight has none of the fields that the route asks for, so it is never the one that answers.
fn preflights(config: &Config, findings: &mut Findings) {
    for (at, route) in config.routes.iter().enumerate().filter(|(_, route)| route.cors.is_some()) {
        if let Some((name, _)) = route.headers.first() {
            let fault = Fault::new(format!("no preflight has the field `{name}`, so none gets to this route"))
                .hint("tell the route apart by path, host or query");
            let (headers, cors) =
                (KeyPath::dotted("routes").index(at).key("headers"), KeyPath::dotted("routes").index(at).key("cors"));
            findings.warn("cors-conditions", &headers, fault, Some((&cors, "what preflights are answered by")));
        }
    }
}

/// `way-around-auth`: escaped slashes pass on hosts where paths decide who is asked.
fn ways_around(config: &Config, findings: &mut Findings) {
    let asking: Vec<_> = config.routes.iter().enumerate().filter(|(_, route)| route.auth.is_some()).collect();
    for (at, route) in config.routes.iter().enumerate() {
        let asked = asking.iter().find(|(_, other)| shares_host(route, other));
        if let (EncodedSlashes::Allow, Some((other, _))) = (route.encoded_slashes, asked) {
            let fault =
                Fault::new("escaped slashes pass here, and a backend may read them as slashes: a way around auth")
                    .hint("leave `encoded_slashes` out, or see that the backend never decodes `%2F`");
            let (here, there) = (KeyPath::dotted("routes").index(at), KeyPath::dotted("routes").index(*other));
            findings.warn("way-around-auth", &here.key("encoded_slashes"), fault, Some((&there, "asks for auth")));
        }
    }
}
