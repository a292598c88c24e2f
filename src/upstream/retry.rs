//! Whether a request may be tried again, and if not, why not. Pure: what is known of the request and of its failure is
//! passed in. Whether the upstream bears it is the [budget](super::budget)'s to say.

use http::header::HeaderName;
use http::{HeaderMap, Method};

use super::metrics::{Retry, Skipped};
use super::policy::{Condition, RetryPolicy};

/// Says that a request may be acted on once only, however often it comes.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was sent, for want of a connection.
    Connect,
    /// A connection that had been idle closed without a byte of an answer.
    Stale,
    /// The connection broke before the response head.
    Reset,
    /// What came is not HTTP.
    Protocol,
    /// No response head within `response_timeout`.
    Timeout,
    /// No response head within `per_try_timeout`.
    TryTimeout,
    /// A response with this status.
    Status(u16),
}

/// What is known of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Whether it may be acted on twice.
    pub repeatable: bool,
    /// Whether its body can be sent from the beginning.
    pub whole: bool,
    /// Whether it asks to switch protocols.
    pub upgrade: bool,
    /// Addresses that have failed, this one included.
    pub failed: usize,
    /// Whether there is another address.
    pub elsewhere: bool,
    /// Whether its time is over.
    pub late: bool,
}

/// Whether there may be another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go out again, for this reason.
    Again(Retry),
    /// The policy wants another try, and this is in its way.
    Skip(Skipped),
    /// There is none to be made.
    Over,
}

/// Whether there may be another try after this failure. A closed idle connection says nothing about the address, so that
/// is asked again, whatever `attempts` and `on` are.
pub fn judge(policy: &RetryPolicy, fault: Fault, situation: &Situation) -> Verdict {
    let stale = fault == Fault::Stale;
    if !stale && (!covers(policy, fault) || situation.failed > policy.attempts as usize) {
        return Verdict::Over;
    }
    let sent = fault != Fault::Connect;
    match () {
        () if sent && (!situation.repeatable || situation.upgrade) => Verdict::Skip(Skipped::Unsafe),
        () if sent && !situation.whole => Verdict::Skip(Skipped::Body),
        () if !stale && !situation.elsewhere => Verdict::Skip(Skipped::Address),
        () if situation.late => Verdict::Skip(Skipped::Deadline),
        () => Verdict::Again(fault.reason()),
    }
}

fn covers(policy: &RetryPolicy, fault: Fault) -> bool {
    let condition = match fault {
        Fault::Stale | Fault::TryTimeout => return true, // that is what `per_try_timeout` is for
        Fault::Connect => Condition::Connect,
        Fault::Reset | Fault::Protocol => Condition::Reset,
        Fault::Timeout => Condition::Timeout,
        Fault::Status(status) => Condition::Status(status),
    };
    policy.on.contains(&condition)
}

impl Fault {
    fn reason(self) -> Retry {
        match self {
            Self::Connect => Retry::Connect,
            Self::Stale => Retry::Stale,
            Self::Reset => Retry::Reset,
            Self::Protocol => Retry::Protocol,
            Self::Timeout | Self::TryTimeout => Retry::Timeout,
            Self::Status(_) => Retry::Status,
        }
    }
}

/// Whether a request may be acted on twice: its method says so (RFC 9110 §9.2.2), or its sender does, with a key.
pub fn is_repeatable(method: &Method, fields: &HeaderMap) -> bool {
    method.is_idempotent() || fields.contains_key(IDEMPOTENCY_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Situation =
        Situation { repeatable: true, whole: true, upgrade: false, failed: 1, elsewhere: true, late: false };
    const POST: Situation = Situation { repeatable: false, ..GET };
    const ALL: [Fault; 7] = [
        Fault::Connect,
        Fault::Stale,
        Fault::Reset,
        Fault::Protocol,
        Fault::Timeout,
        Fault::TryTimeout,
        Fault::Status(503),
    ];

    fn judged(fault: Fault, situation: &Situation) -> Verdict {
        let mut policy = RetryPolicy::default();
        policy.on.push(Condition::Timeout);
        judge(&policy, fault, situation)
    }

    #[test]
    fn what_may_be_repeated_is_tried_again_after_every_failure() {
        for fault in ALL {
            assert_eq!(judged(fault, &GET), Verdict::Again(fault.reason()), "{fault:?}");
        }
    }

    #[test]
    fn what_may_not_is_tried_again_only_where_nothing_was_sent() {
        for situation in [POST, Situation { upgrade: true, ..GET }] {
            assert_eq!(judged(Fault::Connect, &situation), Verdict::Again(Retry::Connect));
            for fault in &ALL[1..] {
                assert_eq!(judged(*fault, &situation), Verdict::Skip(Skipped::Unsafe), "{fault:?}");
            }
        }
        let lost = Situation { whole: false, ..GET };
        assert_eq!(judged(Fault::Connect, &lost), Verdict::Again(Retry::Connect));
        assert_eq!(judged(Fault::Reset, &lost), Verdict::Skip(Skipped::Body));
    }

    #[test]
    fn another_try_goes_to_another_address_while_there_is_one_and_time() {
        assert_eq!(judged(Fault::Reset, &Situation { elsewhere: false, ..GET }), Verdict::Skip(Skipped::Address));
        assert_eq!(judged(Fault::Reset, &Situation { late: true, ..GET }), Verdict::Skip(Skipped::Deadline));
        assert_eq!(judged(Fault::Reset, &Situation { failed: 2, ..GET }), Verdict::Again(Retry::Reset));
        assert_eq!(judged(Fault::Reset, &Situation { failed: 3, ..GET }), Verdict::Over);
        let alone = Situation { elsewhere: false, failed: 9, ..GET };
        assert_eq!(judged(Fault::Stale, &alone), Verdict::Again(Retry::Stale), "the address has done no wrong");
    }

    #[test]
    fn only_what_is_listed_is_tried_again() {
        let policy = RetryPolicy::default();
        assert_eq!(judge(&policy, Fault::Timeout, &GET), Verdict::Over);
        assert_eq!(judge(&policy, Fault::TryTimeout, &GET), Verdict::Again(Retry::Timeout));
        assert_eq!(judge(&policy, Fault::Status(500), &GET), Verdict::Over);
        let none = RetryPolicy { on: Vec::new(), ..RetryPolicy::default() };
        for fault in [Fault::Connect, Fault::Reset, Fault::Protocol, Fault::Status(503)] {
            assert_eq!(judge(&none, fault, &GET), Verdict::Over, "{fault:?}");
        }
        assert!(policy.takes_status(503) && !policy.takes_status(500) && !policy.takes_status(200));
    }

    #[test]
    fn a_key_makes_a_request_repeatable() {
        let mut fields = HeaderMap::new();
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert!(is_repeatable(&method, &fields), "{method}");
        }
        assert!(!is_repeatable(&Method::POST, &fields) && !is_repeatable(&Method::PATCH, &fields));
        fields.insert("Idempotency-Key", "1".parse().unwrap());
        assert!(is_repeatable(&Method::POST, &fields));
    }
}
