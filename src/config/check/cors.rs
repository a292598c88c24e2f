//! `cors` of a route: somebody who may, and nothing that browsers would not take.

use crate::config::file::CorsSettings;
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{Fault, Text};
use crate::layers::cors::policy::{CorsPolicy, Origin};

/// Checks the policy.
pub(super) fn cors(settings: &CorsSettings, path: &KeyPath, findings: &mut Findings) -> CorsPolicy {
    let policy = CorsPolicy {
        origins: Text::values(&settings.origins),
        methods: Text::values(&settings.methods),
        headers: Text::values(&settings.headers),
        expose_headers: Text::values(&settings.expose_headers),
        credentials: settings.credentials,
        max_age: settings.max_age.0,
    };
    let origins = path.key("origins");
    if policy.origins.is_empty() && !findings.is_broken(&origins) {
        let fault = Fault::new("it says no origin").hint("add `origins = [\"https://app.example.com\"]`");
        findings.value(path, fault);
    }
    let any = policy.origins.iter().position(|origin| *origin == Origin::Any);
    if let Some(any) = any.filter(|_| policy.origins.len() > 1) {
        findings.value(&origins.index(any), Fault::new("`*` is everybody: it stands alone"));
    }
    if policy.credentials {
        let clash = |findings: &mut Findings, place: &KeyPath, what: &str| {
            let fault = Fault::new(format!("with `credentials`, `*` would be {what}"));
            findings.clash(
                place,
                fault.hint("write them out"),
                &path.key("credentials"),
                "requests may have credentials",
            );
        };
        if let Some(any) = any {
            clash(findings, &origins.index(any), "every page on the web, in the name of whoever looks at it");
        }
        for (key, names) in [("headers", &policy.headers), ("expose_headers", &policy.expose_headers)] {
            if let Some(at) = names.iter().position(|name| name == "*") {
                clash(findings, &path.key(key).index(at), "a name like any other to browsers");
            }
        }
    }
    for (at, origin) in policy.origins.iter().enumerate() {
        if policy.origins[..at].contains(origin) {
            findings.value(&origins.index(at), Fault::new(format!("`{origin}` is listed twice")));
        }
    }
    policy
}
