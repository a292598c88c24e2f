//! What a client reads of a failure: enough to get a better token, nothing that helps to forge one (RFC 6750 §3). The
//! precise reason is for the log.

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use super::failure::Failure;
use super::tally::{Kind, Tally};
use crate::base::reject::{Reason, Reject};

/// What clients are told to wait while too many ask, or the service is away, in seconds.
const RETRY_AFTER: u64 = 1;

/// What a route asks for, as far as its refusals say so.
#[derive(Debug)]
pub struct Terms {
    /// What it takes, each once.
    pub kinds: Vec<Kind>,
    /// The scopes that a token must have.
    pub scopes: Vec<String>,
}

/// The refusal of a request that was judged by `tally`'s policy.
pub fn refusal(failure: &Failure, tally: &Tally, terms: &Terms) -> Reject {
    let (reason, detail, challenges) = match failure {
        Failure::Missing => missing(terms),
        Failure::Scope(_) => {
            let detail = "the token does not have the scopes that this route asks for";
            let scopes = format!("{}, scope=\"{}\"", error("insufficient_scope", detail), terms.scopes.join(" "));
            (Reason::InsufficientScope, detail, vec![scopes])
        }
        Failure::Claim(_) if tally.kind == Kind::Token => {
            let detail = "the token does not allow this";
            (Reason::InsufficientScope, detail, vec![error("insufficient_scope", detail)])
        }
        Failure::Claim(_) => (Reason::InsufficientScope, "who you are does not allow this", Vec::new()),
        Failure::KeysUnavailable { retry_after, .. } => {
            let reject = Reject::new(Reason::KeysUnavailable, "tokens cannot be verified at the moment");
            return reject.because(cause(failure, tally)).retry_after((*retry_after).max(1));
        }
        Failure::Overloaded(_) => {
            let reject = Reject::new(Reason::Overloaded, "there is no room to find out who asks now");
            return reject.because(cause(failure, tally)).retry_after(RETRY_AFTER);
        }
        Failure::Unavailable(_) => {
            let reject = Reject::new(Reason::AuthUnavailable, "it cannot be found out at the moment who may pass");
            return reject.because(cause(failure, tally)).retry_after(RETRY_AFTER);
        }
        failure => invalid(failure, tally.kind),
    };
    let mut reject = Reject::new(reason, detail).because(cause(failure, tally));
    // Scopes are checked when they are configured, so this is a field's value.
    let lines = challenges.into_iter().filter_map(|challenge| HeaderValue::try_from(challenge).ok());
    reject.fields.extend(lines.map(|challenge| (WWW_AUTHENTICATE, challenge)));
    reject
}

fn missing(terms: &Terms) -> (Reason, &'static str, Vec<String>) {
    let challenges = terms.kinds.iter().filter_map(|kind| challenge(*kind)).map(str::to_owned).collect();
    match terms.kinds.as_slice() {
        [Kind::Key] => (Reason::CredentialsInvalid, "this route asks for an API key", challenges),
        kinds if kinds.contains(&Kind::Token) => (Reason::TokenMissing, "this route asks for a token", challenges),
        _ => (Reason::CredentialsInvalid, "this route asks for credentials", challenges),
    }
}

fn invalid(failure: &Failure, kind: Kind) -> (Reason, &'static str, Vec<String>) {
    let challenges = challenge(kind).map(str::to_owned).into_iter().collect();
    match (failure, kind) {
        (Failure::Expired(_), _) => {
            let detail = "the token has expired";
            (Reason::TokenExpired, detail, vec![error("invalid_token", detail)])
        }
        (_, Kind::Token) => {
            let detail = "the token is not valid";
            (Reason::TokenInvalid, detail, vec![error("invalid_token", detail)])
        }
        (_, Kind::Key) => (Reason::CredentialsInvalid, "the API key is not valid", challenges),
        (_, Kind::Password | Kind::Service) => {
            (Reason::CredentialsInvalid, "the credentials are not valid", challenges)
        }
    }
}

/// How a client is told what to bring. API keys have no scheme of their own (RFC 9110 §11.1), and a 401 must name one.
fn challenge(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Token => Some("Bearer realm=\"tollgate\""),
        Kind::Key => Some("ApiKey realm=\"tollgate\""),
        Kind::Password => Some("Basic realm=\"tollgate\", charset=\"UTF-8\""),
        Kind::Service => None,
    }
}

/// What the log says.
pub fn cause(failure: &Failure, tally: &Tally) -> String {
    format!("auth {}: {failure}", tally.name)
}

fn error(code: &str, description: &str) -> String {
    format!("Bearer realm=\"tollgate\", error=\"{code}\", error_description=\"{description}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recorder::Recorder;

    fn refused(failure: &Failure, kind: Kind, kinds: &[Kind]) -> Reject {
        let terms = Terms { kinds: kinds.to_vec(), scopes: vec!["a".to_owned(), "b:c".to_owned()] };
        let reject = refusal(failure, &Tally::new("main", kind, false, &Recorder::default()), &terms);
        assert!(reject.cause.as_ref().is_some_and(|cause| cause.starts_with("auth main: ")));
        reject
    }

    fn challenges(failure: &Failure, kind: Kind, kinds: &[Kind]) -> Vec<String> {
        let reject = refused(failure, kind, kinds);
        let fields = reject.fields.iter().filter(|(name, _)| name == WWW_AUTHENTICATE);
        fields.map(|(_, value)| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn challenges_say_no_more_than_they_must() {
        let challenge = |failure: &Failure| challenges(failure, Kind::Token, &[Kind::Token]).pop();
        assert_eq!(challenge(&Failure::Missing).unwrap(), "Bearer realm=\"tollgate\"");
        let invalid = challenge(&Failure::Signature).unwrap();
        assert!(invalid.contains("error=\"invalid_token\""), "{invalid}");
        for other in [Failure::UnknownKey("k".to_owned()), Failure::Issuer, Failure::Algorithm("none".to_owned())] {
            assert_eq!(challenge(&other).unwrap(), invalid);
        }
        assert!(challenge(&Failure::Scope("a".to_owned())).unwrap().ends_with(", scope=\"a b:c\""));
        assert_eq!(challenge(&Failure::KeysUnavailable { why: "x", retry_after: 7 }), None);
    }

    #[test]
    fn every_way_in_is_told() {
        let all = [Kind::Token, Kind::Key, Kind::Password];
        let told = challenges(&Failure::Missing, Kind::Token, &all);
        assert_eq!(
            told,
            ["Bearer realm=\"tollgate\"", "ApiKey realm=\"tollgate\"", "Basic realm=\"tollgate\", charset=\"UTF-8\""]
        );
        assert_eq!(challenges(&Failure::Credentials("x"), Kind::Key, &all), ["ApiKey realm=\"tollgate\""]);
        let twice = Failure::Ambiguous("x");
        assert_eq!(challenges(&twice, Kind::Password, &all), ["Basic realm=\"tollgate\", charset=\"UTF-8\""]);
    }

    #[test]
    fn statuses_are_those_of_the_contract() {
        for (failure, kind, status, code) in [
            (Failure::Missing, Kind::Token, 401, "token_missing"),
            (Failure::Missing, Kind::Key, 401, "credentials_invalid"),
            (Failure::Missing, Kind::Password, 401, "credentials_invalid"),
            (Failure::Expired(1), Kind::Token, 401, "token_expired"),
            (Failure::Critical, Kind::Token, 401, "token_invalid"),
            (Failure::Credentials(""), Kind::Key, 401, "credentials_invalid"),
            (Failure::Malformed(""), Kind::Password, 401, "credentials_invalid"),
            (Failure::Scope(String::new()), Kind::Token, 403, "insufficient_scope"),
            (Failure::Claim(String::new()), Kind::Token, 403, "insufficient_scope"),
            (Failure::Claim(String::new()), Kind::Service, 403, "insufficient_scope"),
            (Failure::KeysUnavailable { why: "", retry_after: 0 }, Kind::Token, 503, "keys_unavailable"),
            (Failure::Overloaded(""), Kind::Password, 503, "overloaded"),
            (Failure::Unavailable(String::new()), Kind::Service, 503, "auth_unavailable"),
        ] {
            let facts = refused(&failure, kind, &[kind]).reason.facts();
            assert_eq!((facts.status.as_u16(), facts.code), (status, code));
        }
    }
}
