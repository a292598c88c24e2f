//! Each check of a request's token by itself, for those who ask why it is refused: a token with several faults shows them
//! all. The checks are those that [`Auth`] makes; whether the request passes is for it to say, not for this.

use serde::Serialize;

use super::claims::{self, CHECKS, Claims, scopes};
use super::credentials::Credentials;
use super::failure::Failure;
use super::jws::Jws;
use super::policy::{JwtPolicy, KeySource, RouteAuth};
use super::provider::{Moment, Provider};
use super::verify::verify_signature;
use super::{Auth, By, token};
use crate::base::identity::find;
use crate::base::request::Request;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: a claim, or a key of the configuration.
    pub check: String,
    /// Whether the token passes; none where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passes: Option<bool>,
    /// What was found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub says: String,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &str, passes: Option<bool>, says: impl Into<String>) {
        self.0.push(Finding { check: check.to_owned(), passes, says: says.into() });
    }

    fn judge(&mut self, check: &str, outcome: Result<String, Failure>) {
        match outcome {
            Ok(says) => self.add(check, Some(true), says),
            Err(failure) => self.add(check, Some(false), failure.to_string()),
        }
    }
}

impl Auth {
    /// Makes each check of the token that a request brings, as far as one can be made; none where nobody asks for tokens.
    pub fn examine(&self, request: &Request, moment: Moment) -> Vec<Finding> {
        let mut findings = Findings::default();
        if let Some((rule, By::Credentials(credentials))) = self.asked.as_ref().map(|asked| asked.terms()) {
            Examined { rule, credentials }.examine(request, moment, &mut findings);
        }
        findings.0
    }

    /// What a route asks; none where nobody is asked.
    pub fn rule(&self) -> Option<&RouteAuth> {
        self.asked.as_ref().map(|asked| asked.terms().0)
    }

    /// Whether somebody else is asked about each request.
    pub fn asks_a_service(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| matches!(asked.terms().1, By::Service(_)))
    }
}

/// What is asked of a token, and those who judge it.
struct Examined<'a> {
    rule: &'a RouteAuth,
    credentials: &'a Credentials,
}

impl Examined<'_> {
    fn examine(&self, request: &Request, moment: Moment, findings: &mut Findings) {
        let (providers, places) = self.credentials.tokens();
        let found = match token::find(&request.head, places) {
            Ok(Some(token)) if !providers.is_empty() => token,
            // Another credential may do, or none: the verdict says.
            Ok(_) => return,
            Err(failure) => return findings.judge("token", Err(failure)),
        };
        let jws = match Jws::parse(found) {
            Ok(jws) => jws,
            Err(failure) => return findings.judge("token", Err(failure)),
        };
        let Some(provider) = self.credentials.choose(&jws, moment) else {
            let names: Vec<&str> = providers.iter().map(|provider| &*provider.tally.name).collect();
            return findings.add("token", Some(false), format!("its issuer is that of none of {}", names.join(", ")));
        };
        findings.add("token", Some(true), format!("judged by auth {}", provider.tally.name));
        signature(provider, &jws, moment, findings);
        match claims::parse(&jws.payload) {
            Ok(claims) => self.examine_claims(&claims, provider, moment, findings),
            Err(failure) => findings.judge("payload", Err(failure)),
        }
    }

    fn examine_claims(&self, claims: &Claims, provider: &Provider, moment: Moment, findings: &mut Findings) {
        let policy = provider.policy();
        for check in CHECKS.iter().filter(|check| is_asked(check.name, claims, policy)) {
            let passed = (check.passes)(claims, &policy.rules.claims, moment.unix);
            findings.judge(check.name, passed.map(|()| said(claims, check.name)));
        }
        if let Some(id) = claims.get("jti").and_then(|id| id.as_str()).filter(|_| policy.revoked_file.is_some()) {
            let revoked = provider.has_revoked(id).then_some(Failure::Revoked("its id is in revoked_file"));
            findings.judge("revoked_file", revoked.map_or(Ok(String::new()), Err));
        }
        let own = scopes(claims);
        for scope in &self.rule.scopes {
            let has = own.iter().any(|own| **own == **scope);
            findings.judge("scopes", if has { Ok(scope.clone()) } else { Err(Failure::Scope(scope.clone())) });
        }
        for rule in &self.rule.claims {
            let holds = rule.holds(find(claims, &rule.path));
            findings
                .judge("claims", if holds { Ok(rule.path.clone()) } else { Err(Failure::Claim(rule.path.clone())) });
        }
    }
}

fn signature(provider: &Provider, jws: &Jws<'_>, moment: Moment, findings: &mut Findings) {
    let policy = provider.policy();
    let current = provider.keys().current(moment.now);
    let Some(current) = current.as_ref().and_then(|current| current.as_ref()) else {
        return findings.add("signature", None, format!("no keys yet: {}", would_get(policy)));
    };
    match verify_signature(jws, &current.keys, &policy.rules.algorithms) {
        Ok(key) => {
            let by = key.id.as_ref().map_or_else(|| "a key without an id".to_owned(), |id| format!("key `{id}`"));
            findings.judge("signature", Ok(format!("{} by {by}", jws.header.algorithm.name())));
        }
        Err(failure @ Failure::UnknownKey(_)) if policy.keys.source.is_remote() => {
            findings.add("signature", None, format!("{failure}; {}", would_get(policy)));
        }
        Err(failure) => findings.judge("signature", Err(failure)),
    }
}

/// Where the gateway would look for keys.
fn would_get(policy: &JwtPolicy) -> String {
    match &policy.keys.source {
        KeySource::Url(url) => format!("the gateway would fetch {url}"),
        KeySource::Discovery(issuer) => format!("the gateway would ask {issuer} where they are, and fetch them"),
        KeySource::JwksFile(path) => format!("{} has none", path.display()),
        KeySource::PublicKeyFiles(_) | KeySource::Secret(_) => "the files have none".to_owned(),
    }
}

/// Whether a check could fail: what is neither configured nor in the token has nothing to say.
fn is_asked(check: &str, claims: &Claims, policy: &JwtPolicy) -> bool {
    let rules = &policy.rules.claims;
    match check {
        "max_lifetime" => !rules.max_lifetime.is_zero(),
        "iss" => rules.issuer.is_some() || claims.contains_key("iss"),
        "aud" => !rules.audience.is_empty() || claims.contains_key("aud"),
        "required_claims" => rules.required.iter().any(|name| name != "exp"),
        "revoked_before" => !rules.revoked_before.is_empty(),
        "exp" => true,
        name => claims.contains_key(name),
    }
}

/// What a claim says, where it is one.
fn said(claims: &Claims, name: &str) -> String {
    claims.get(name).map(ToString::to_string).unwrap_or_default()
}
