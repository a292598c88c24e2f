//! `[auth.*]` of the kinds that are not tokens: files of keys and users that can be used now, a service that can be asked.

use std::path::{Path, PathBuf};

use http::HeaderName;

use super::{free, mapping, unreadable};
use crate::config::check::Context;
use crate::config::file::AuthSettings;
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{AuthKind, Fault, FilePath, Syntax, Text};
use crate::layers::auth::key_list::KeyList;
use crate::layers::auth::policy::{ApiKeyPolicy, BasicPolicy, ForwardPolicy};
use crate::layers::auth::users::Users;
use crate::layers::auth::watched::{self, BadLine};

/// The most lines of one file that are reported.
const MOST: usize = 10;

pub(super) fn api_key(
    settings: &AuthSettings,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) -> Option<ApiKeyPolicy> {
    let claims_to_headers = told(settings, &["sub", "plan"], path, findings);
    let read = |bytes: &[u8]| KeyList::parse(bytes).err();
    let keys_file = file("keys_file", settings.keys_file.as_ref(), read, path, context, findings)?;
    let (from, forward_token) = (settings.from.0.clone(), settings.forward_token);
    Some(ApiKeyPolicy { from, keys_file, forward_token, claims_to_headers })
}

pub(super) fn basic(
    settings: &AuthSettings,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) -> Option<BasicPolicy> {
    let claims_to_headers = told(settings, &["sub"], path, findings);
    let read = |bytes: &[u8]| Users::parse(bytes).err();
    let users_file = file("users_file", settings.users_file.as_ref(), read, path, context, findings)?;
    Some(BasicPolicy { users_file, forward_token: settings.forward_token, claims_to_headers })
}

pub(super) fn forward(
    settings: &AuthSettings,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) -> Option<ForwardPolicy> {
    for (at, Text(name)) in settings.copy_headers.iter().enumerate() {
        let place = path.key("copy_headers").index(at);
        free(name, &place, findings);
        if settings.copy_headers[..at].iter().any(|earlier| earlier.0 == *name) {
            findings.value(&place, Fault::new(format!("`{name}` is listed twice")));
        }
    }
    let ca = settings.ca.as_ref().map(|ca| context.folder.join(&ca.0.0));
    if let Some(Err(error)) = ca.as_ref().map(std::fs::metadata) {
        let shown = ca.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        findings.value(&path.key("ca"), unreadable(&shown, &error));
    }
    let Some(url) = &settings.url else {
        missing("url", "`url = \"http://authz:9000/check\"`", path, findings);
        return None;
    };
    Some(ForwardPolicy {
        url: url.0.0.clone(),
        timeout: settings.timeout.0,
        copy_headers: Text::values(&settings.copy_headers),
        subject_header: settings.subject_header.as_ref().map(|name| name.0.clone()),
        max_in_flight: settings.max_in_flight,
        ca,
    })
}

/// The fields that tell upstreams of what is known of a credential of this kind.
fn told(settings: &AuthSettings, known: &[&str], path: &KeyPath, findings: &mut Findings) -> Vec<(String, HeaderName)> {
    let path = path.key("claims_to_headers");
    for claim in settings.claims_to_headers.keys().filter(|claim| !known.contains(&claim.as_str())) {
        let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let fault = Fault::new(format!("`{claim}` is nothing that is known of these credentials"));
        findings.key(&path.key(claim), fault.hint(format!("there is {}", list.join(" and "))));
    }
    mapping(&settings.claims_to_headers, &path, findings)
}

/// A file that can be used now; later on what it last held goes on.
fn file(
    key: &str,
    written: Option<&Text<FilePath>>,
    wrong: impl Fn(&[u8]) -> Option<Vec<BadLine>>,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) -> Option<PathBuf> {
    let Some(written) = written else {
        missing(key, &format!("`{key} = \"…\"`"), path, findings);
        return None;
    };
    let (place, file) = (path.key(key), context.folder.join(&written.0.0));
    match watched::read(&file) {
        Err(error) => findings.value(&place, unreadable(&file.display().to_string(), &error)),
        Ok(bytes) => report(&file, &wrong(&bytes).unwrap_or_default(), &place, findings),
    }
    Some(file)
}

fn report(file: &Path, bad: &[BadLine], place: &KeyPath, findings: &mut Findings) {
    let shown = file.display();
    for line in bad.iter().take(MOST) {
        findings.value(place, Fault::new(format!("`{shown}`, line {}: {}", line.number, line.what)));
    }
    if bad.len() > MOST {
        findings.value(place, Fault::new(format!("`{shown}`: and {} lines more", bad.len() - MOST)));
    }
}

fn missing(key: &str, example: &str, path: &KeyPath, findings: &mut Findings) {
    if !findings.is_broken(&path.key(key)) {
        let kind = AuthKind::having(key).first().map(Syntax::print).unwrap_or_default();
        findings.value(path, Fault::new(format!("the kind `{kind}` needs `{key}`")).hint(format!("add {example}")));
    }
}
