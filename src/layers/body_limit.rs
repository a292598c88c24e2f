//! Refuses request bodies larger than the route allows: by what they announce, and, since anybody can announce
//! anything or nothing, by what arrives.

use http::header::CONTENT_LENGTH;

use super::gate::Gate;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;

/// Largest request body of a route, in bytes.
#[derive(Debug)]
pub struct BodyLimit(pub u64);

impl Gate for BodyLimit {
    const NAME: Option<&'static str> = Some("body_limit");

    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        let length = (request.exchange.survey.lengths > 0).then(|| request.head.headers.get(CONTENT_LENGTH)).flatten();
        let announced = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > self.0) {
            return Err(too_large());
        }
        request.body.limit(self.0);
        Ok(())
    }
}

/// The refusal, wherever the excess is found.
pub fn too_large() -> Reject {
    Reject::new(Reason::BodyTooLarge, "the request body is larger than this route allows")
}
