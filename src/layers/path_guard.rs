//! Refuses paths that a backend may read in another way than the gateway does: escaped slashes and backslashes, double
//! escapes. By default only where the gateway's own reading decides something, since some applications need them.

use super::gate::Gate;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;

/// The policy of routes with `encoded_slashes = "reject"`.
#[derive(Debug)]
pub struct PathGuard;

impl Gate for PathGuard {
    type Pass = ();

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        if request.exchange.ambiguous_path {
            let detail = "the path has an escaped slash or backslash, or a double escape; \
                          this route does not take them (encoded_slashes)";
            return Err(Reject::new(Reason::BadRequest, detail));
        }
        Ok(())
    }
}
