//! Gives each request of a route its one budget of time, over all tries, to the response head. Whatever waits on the way
//! waits no longer than that; what enforces it is whoever waits. A trusted proxy may say that its client waits for less.

use std::time::Duration;

use super::gate::Gate;
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::base::time_left;

/// The budget of a route.
#[derive(Debug)]
pub struct Deadline(pub Duration);

impl Gate for Deadline {
    const NAME: Option<&'static str> = Some("deadline");

    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        let exchange = &mut request.exchange;
        // A stranger's word shortens nothing: whoever runs out of time is blamed for it.
        let told = if exchange.origin.trusted { time_left::told(&request.head.headers) } else { None };
        exchange.deadline = Some(exchange.started + told.map_or(self.0, |told| told.min(self.0)));
        Ok(())
    }
}
