//! Keeps a route to so many requests at a time: one too many is refused at once, so that those inside keep their pace. A
//! request is inside until the last byte of its response has left, or its client has.

use std::sync::Arc;

use super::gate::{Gate, Verdict};
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;
use crate::base::seat::Seats;

/// What refused clients are told to wait, in seconds: there is room as soon as one request ends.
const RETRY_AFTER: u64 = 1;

/// The requests of one route.
#[derive(Debug)]
pub struct InFlight {
    /// Most of them at a time.
    pub most: usize,
    /// Those that are inside.
    pub seats: Arc<Seats>,
}

impl InFlight {
    /// With room for so many, some of whom may be inside already.
    pub fn new(most: usize, seats: Arc<Seats>) -> Self {
        Self { most, seats }
    }
}

fn full() -> Reject {
    Reject::new(Reason::Overloaded, "there is no room for this request now")
        .because("as many requests of the route as allowed are in flight")
        .retry_after(RETRY_AFTER)
}

impl Gate for InFlight {
    const NAME: Option<&'static str> = Some("in_flight");

    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        request.exchange.hold(self.seats.try_take(self.most).ok_or_else(full)?);
        Ok(())
    }

    fn preview(&self, _: &mut Request) -> Verdict<()> {
        if self.seats.taken() < self.most { Verdict::Pass(()) } else { Verdict::Refuse(full()) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::body::RequestBody;
    use crate::base::client::Client;
    use crate::base::clock;
    use crate::base::exchange::{Exchange, Origin};

    fn request() -> Request {
        let (head, ()) = http::Request::new(()).into_parts();
        let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
        let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
        let exchange = Box::new(Exchange::new(origin, busy, clock::now(), &head));
        Request { head: Box::new(head), body: RequestBody::EMPTY, exchange }
    }

    #[test]
    fn a_request_too_many_is_refused_until_one_is_over() {
        let gate = InFlight::new(2, Arc::default());
        let (mut first, mut second, mut third) = (request(), request(), request());
        assert!(gate.check(&mut first).is_ok() && gate.check(&mut second).is_ok());
        assert!(matches!(gate.preview(&mut third), Verdict::Refuse(_)));
        let refused = gate.check(&mut third).unwrap_err();
        assert_eq!((refused.reason, refused.fields.len()), (Reason::Overloaded, 1));
        drop(first);
        assert!(matches!(gate.preview(&mut third), Verdict::Pass(())));
        assert_eq!(gate.seats.taken(), 1, "who only asks takes no place");
        assert!(gate.check(&mut third).is_ok());
        drop((second, third));
        assert_eq!(gate.seats.taken(), 0);
    }
}
