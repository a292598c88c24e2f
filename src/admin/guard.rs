//! Who may change something through the operators' listener: whoever has the token; without one, whoever is on this
//! machine and no web page.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, StatusCode};

use crate::base::secret::Secret;

/// Looks at requests that change state.
#[derive(Debug)]
pub struct Guard {
    /// Whether the listener is on the loopback address, so that no token is needed where none is set.
    pub open: bool,
    /// `[admin] token`, as it is in force.
    pub token: Arc<ArcSwapOption<Secret>>,
}

impl Guard {
    /// Lets the request pass, or says why not.
    ///
    /// # Errors
    /// 401 without the right token; 403 where there is none to have, or where a browser sends what another site said.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let Some(token) = self.token.load_full() else {
            return match (self.open, headers.contains_key(ORIGIN)) {
                (true, false) => Ok(()),
                (true, true) => Err((StatusCode::FORBIDDEN, "set `admin.token` to allow this from a browser\n")),
                (false, _) => {
                    Err((StatusCode::FORBIDDEN, "set `admin.token` to allow this off the loopback address\n"))
                }
            };
        };
        let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let sent = sent.and_then(|value| value.split_at_checked(7));
        let right = sent.is_some_and(|(scheme, sent)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && is_equal(sent, token.expose().as_bytes())
        });
        if right {
            Ok(())
        } else {
            Err((StatusCode::UNAUTHORIZED, "this needs the token: Authorization: Bearer TOKEN\n"))
        }
    }
}

/// Takes the same time wherever they differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(open: bool, token: Option<&str>, headers: &[(&'static str, &str)]) -> u16 {
        let token = Arc::new(ArcSwapOption::from_pointee(token.map(Secret::new)));
        let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = headers.collect::<HeaderMap>();
        Guard { open, token }.check(&headers).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn the_token_counts_where_there_is_one_and_the_place_where_there_is_none() {
        assert_eq!(answer(true, None, &[]), 200);
        assert_eq!(answer(true, None, &[("origin", "http://elsewhere")]), 403);
        assert_eq!(answer(false, None, &[]), 403);
        assert_eq!(answer(false, None, &[("authorization", "Bearer ")]), 403);
        for open in [true, false] {
            assert_eq!(answer(open, Some("right"), &[]), 401);
            assert_eq!(answer(open, Some("right"), &[("authorization", "Bearer wrong")]), 401);
            assert_eq!(answer(open, Some("right"), &[("authorization", "Bearer righ")]), 401);
            assert_eq!(answer(open, Some("right"), &[("authorization", "right")]), 401);
            assert_eq!(answer(open, Some("right"), &[("authorization", "bearer right")]), 200);
        }
    }
}
