//! `mint-token attack --url`: sends each token and judges the answer by its status.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tollgate::lab::fetch;
use tollgate::lab::issuer::attack::{Attempt, Expect};
use tollgate::lab::probe::Target;

use crate::attack::word;
use crate::{Exit, io};

/// What came of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It passed.
    Passed,
    /// It was refused.
    Refused,
    /// The server failed over it.
    Failed,
}

/// Sends all of them, one after the other, and says what came of each.
pub(crate) async fn run(list: &[Attempt], url: &Target, as_json: bool) -> Exit {
    let mut wrong = 0;
    for attempt in list {
        let (status, outcome) = send(attempt, url).await;
        let right = is_right(attempt.expect, outcome);
        wrong += usize::from(!right);
        let printed = io::print(&match as_json {
            true => json_line(attempt, status, right),
            false => text_line(attempt, status, right),
        });
        if printed != Exit::Fine {
            return printed;
        }
    }
    if !as_json {
        let _ = io::print(&format!("\n{} tokens, {wrong} not judged as they have to be\n", list.len()));
    }
    if wrong == 0 { Exit::Fine } else { Exit::Problem }
}

async fn send(attempt: &Attempt, url: &Target) -> (Option<StatusCode>, Outcome) {
    let mut fields = HeaderMap::new();
    // A token that no field can hold is refused by the client already.
    let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", attempt.token)) else {
        return (None, Outcome::Refused);
    };
    value.set_sensitive(true);
    fields.insert(AUTHORIZATION, value);
    match fetch::get(url, &fields).await {
        Ok((status, _)) => (Some(status), judged(status)),
        Err(error) => {
            io::complain(&format!("{}: {error}\n", attempt.name));
            (None, Outcome::Failed)
        }
    }
}

fn judged(status: StatusCode) -> Outcome {
    match status.as_u16() {
        400 | 401 | 403 | 431 => Outcome::Refused,
        500.. => Outcome::Failed,
        _ => Outcome::Passed,
    }
}

fn is_right(expect: Expect, outcome: Outcome) -> bool {
    match expect {
        Expect::Accept => outcome == Outcome::Passed,
        Expect::Refuse => outcome == Outcome::Refused,
        Expect::Either => outcome != Outcome::Failed,
    }
}

fn json_line(attempt: &Attempt, status: Option<StatusCode>, right: bool) -> String {
    let verdict = if right { "right" } else { "wrong" };
    let line = json!({
        "name": attempt.name,
        "expect": attempt.expect,
        "about": attempt.about,
        "token": attempt.token,
        "status": status.map(|status| status.as_u16()),
        "verdict": verdict,
    });
    format!("{line}\n")
}

fn text_line(attempt: &Attempt, status: Option<StatusCode>, right: bool) -> String {
    let status = status.map_or_else(|| "no answer".to_owned(), |status| status.as_u16().to_string());
    let verdict = if right { "right" } else { "WRONG" };
    format!("{verdict}  {status}  {:6}  {}: {}\n", word(attempt.expect), attempt.name, attempt.about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_is_never_right() {
        for expect in [Expect::Accept, Expect::Refuse, Expect::Either] {
            assert!(!is_right(expect, judged(StatusCode::INTERNAL_SERVER_ERROR)));
        }
        assert!(is_right(Expect::Refuse, judged(StatusCode::UNAUTHORIZED)));
        assert!(!is_right(Expect::Refuse, judged(StatusCode::NOT_FOUND)), "it came past the check");
        assert!(!is_right(Expect::Accept, judged(StatusCode::FORBIDDEN)));
    }
}
