//! Why a credential is not taken: the closed set of reasons that the log names and the metrics count. What a client reads of
//! it is for `answer` to say.

use thiserror::Error;

/// Why a request does not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// There is nothing to look at.
    #[error("no credential")]
    Missing,
    /// Several, of which nobody can say which one counts.
    #[error("more than one credential: {0}")]
    Ambiguous(&'static str),
    /// Not a signed token in its compact form (RFC 7515 §7.1).
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// An extension that must be understood and is not (RFC 7515 §4.1.11).
    #[error("the header has `crit`")]
    Critical,
    /// A token that says that it is for something else (RFC 8725 §3.11).
    #[error("the type `{0}` is not that of an access token")]
    Type(String),
    /// An algorithm that neither the keys nor the configuration know.
    #[error("the algorithm `{0}` is not allowed here")]
    Algorithm(String),
    /// No key has the token's id.
    #[error("no key has the id `{0}`")]
    UnknownKey(String),
    /// The signature is not that of the key.
    #[error("the signature is wrong")]
    Signature,
    /// The payload is not a JSON object.
    #[error("the payload is not a JSON object")]
    Payload,
    /// A claim that must be there is not.
    #[error("the claim `{0}` is missing")]
    MissingClaim(String),
    /// A claim has another type than it must have.
    #[error("the claim `{0}` has the wrong type")]
    ClaimType(&'static str),
    /// Its time is over.
    #[error("expired {0} s ago")]
    Expired(u64),
    /// Its time has not come.
    #[error("not valid for another {0} s")]
    NotYetValid(u64),
    /// It says that it was issued later than now.
    #[error("issued {0} s in the future")]
    IssuedInFuture(u64),
    /// It lives longer than `max_lifetime`.
    #[error("it lives longer than max_lifetime")]
    Lifetime,
    /// Somebody else issued it.
    #[error("the issuer is not the one configured")]
    Issuer,
    /// It is for somebody else.
    #[error("the audience is another one")]
    Audience,
    /// It was taken back.
    #[error("revoked: {0}")]
    Revoked(&'static str),
    /// It is valid, and does not have the scopes that the route asks for.
    #[error("the scope `{0}` is missing")]
    Scope(String),
    /// It is valid, and does not say what the route asks for.
    #[error("the claim `{0}` is not what the route asks for")]
    Claim(String),
    /// There are no keys to verify it with.
    #[error("no keys: {why}")]
    KeysUnavailable {
        /// Why not.
        why: &'static str,
        /// When there may be some, in seconds.
        retry_after: u64,
    },
    /// A key or password that is not taken.
    #[error("{0}")]
    Credentials(&'static str),
    /// Too many are being looked at already.
    #[error("{0}")]
    Overloaded(&'static str),
    /// The service that was asked says no.
    #[error("the service answered {0}")]
    Denied(u16),
    /// The service that was asked says nothing.
    #[error("{0}")]
    Unavailable(String),
}

/// The word in metrics for a request that passes.
pub const OK: usize = 0;

/// The words in metrics; [`Failure::result`] is an index.
pub const RESULTS: [&str; 23] = [
    "ok",
    "missing",
    "ambiguous",
    "malformed",
    "type",
    "algorithm",
    "unknown_key",
    "signature",
    "missing_claim",
    "claim_type",
    "expired",
    "not_yet_valid",
    "lifetime",
    "issuer",
    "audience",
    "revoked",
    "insufficient_scope",
    "insufficient_claims",
    "keys_unavailable",
    "credentials",
    "overloaded",
    "denied",
    "unavailable",
];

impl Failure {
    /// The index of its word in [`RESULTS`].
    pub const fn result(&self) -> usize {
        match self {
            Self::Missing => 1,
            Self::Ambiguous(_) => 2,
            Self::Malformed(_) | Self::Critical | Self::Payload => 3,
            Self::Type(_) => 4,
            Self::Algorithm(_) => 5,
            Self::UnknownKey(_) => 6,
            Self::Signature => 7,
            Self::MissingClaim(_) => 8,
            Self::ClaimType(_) => 9,
            Self::Expired(_) => 10,
            Self::NotYetValid(_) | Self::IssuedInFuture(_) => 11,
            Self::Lifetime => 12,
            Self::Issuer => 13,
            Self::Audience => 14,
            Self::Revoked(_) => 15,
            Self::Scope(_) => 16,
            Self::Claim(_) => 17,
            Self::KeysUnavailable { .. } => 18,
            Self::Credentials(_) => 19,
            Self::Overloaded(_) => 20,
            Self::Denied(_) => 21,
            Self::Unavailable(_) => 22,
        }
    }

    /// Its word in metrics.
    pub const fn word(&self) -> &'static str {
        RESULTS[self.result()]
    }
}

/// What a client wrote, short enough for a line of the log.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
