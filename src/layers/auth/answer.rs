//! What a client reads of a failure: enough to get a better token, nothing that helps to forge one (RFC 6750 §3). The
//! precise reason is for the log.

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use super::failure::Failure;
use crate::base::reject::{Reason, Reject};

/// The refusal of a request. `scopes` are those that the route asks for; `retry_after` is when keys may be there, in
/// seconds.
pub fn refusal(failure: &Failure, policy: &str, scopes: &[String], retry_after: u64) -> Reject {
    let (reason, detail, challenge) = match failure {
        Failure::Missing => {
            (Reason::TokenMissing, "this route asks for a token", "Bearer realm=\"tollgate\"".to_owned())
        }
        Failure::Expired(_) => {
            (Reason::TokenExpired, "the token has expired", error("invalid_token", "the token has expired"))
        }
        Failure::Scope(_) => {
            let detail = "the token does not have the scopes that this route asks for";
            let scopes = format!("{}, scope=\"{}\"", error("insufficient_scope", detail), scopes.join(" "));
            (Reason::InsufficientScope, detail, scopes)
        }
        Failure::Claim(_) => {
            let detail = "the token does not allow this";
            (Reason::InsufficientScope, detail, error("insufficient_scope", detail))
        }
        Failure::KeysUnavailable(_) => {
            let reject = Reject::new(Reason::KeysUnavailable, "tokens cannot be verified at the moment");
            return reject.because(cause(failure, policy)).retry_after(retry_after.max(1));
        }
        _ => (Reason::TokenInvalid, "the token is not valid", error("invalid_token", "the token is not valid")),
    };
    let mut reject = Reject::new(reason, detail).because(cause(failure, policy));
    // Scopes are checked when they are configured, so this is a field's value.
    reject.fields.extend(HeaderValue::try_from(challenge).ok().map(|challenge| (WWW_AUTHENTICATE, challenge)));
    reject
}

/// What the log says.
pub fn cause(failure: &Failure, policy: &str) -> String {
    format!("auth {policy}: {failure}")
}

fn error(code: &str, description: &str) -> String {
    format!("Bearer realm=\"tollgate\", error=\"{code}\", error_description=\"{description}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(failure: &Failure) -> Option<String> {
        let reject = refusal(failure, "main", &["a".to_owned(), "b:c".to_owned()], 7);
        assert!(reject.cause.is_some_and(|cause| cause.starts_with("auth main: ")));
        let mut fields = reject.fields.iter();
        fields.find(|(name, _)| name == WWW_AUTHENTICATE).map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn challenges_say_no_more_than_they_must() {
        assert_eq!(challenge(&Failure::Missing).unwrap(), "Bearer realm=\"tollgate\"");
        let invalid = challenge(&Failure::Signature).unwrap();
        assert!(invalid.contains("error=\"invalid_token\""), "{invalid}");
        for other in [Failure::UnknownKey("k".to_owned()), Failure::Issuer, Failure::Algorithm("none".to_owned())] {
            assert_eq!(challenge(&other).unwrap(), invalid);
        }
        assert!(challenge(&Failure::Scope("a".to_owned())).unwrap().ends_with(", scope=\"a b:c\""));
        assert_eq!(challenge(&Failure::KeysUnavailable("x")), None);
    }

    #[test]
    fn statuses_are_those_of_the_contract() {
        for (failure, status, code) in [
            (Failure::Missing, 401, "token_missing"),
            (Failure::Expired(1), 401, "token_expired"),
            (Failure::Critical, 401, "token_invalid"),
            (Failure::Scope(String::new()), 403, "insufficient_scope"),
            (Failure::Claim(String::new()), 403, "insufficient_scope"),
            (Failure::KeysUnavailable(""), 503, "keys_unavailable"),
        ] {
            let facts = refusal(&failure, "", &[], 0).reason.facts();
            assert_eq!((facts.status.as_u16(), facts.code), (status, code));
        }
    }
}
