//! Gives each request of a route its one budget of time, over all tries, to the response head. Whatever waits on the way
//! waits no longer than that; what enforces it is whoever waits.

use std::time::Duration;

use super::gate::Gate;
use crate::base::reject::Reject;
use crate::base::request::Request;

/// The budget of a route.
#[derive(Debug)]
pub struct Deadline(pub Duration);

impl Gate for Deadline {
    type Pass = ();

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        request.exchange.deadline = Some(request.exchange.started + self.0);
        Ok(())
    }
}
