//! What would be sent to an upstream, without sending it: for those who ask what becomes of a request.

use std::sync::Arc;

use http::request::Parts;

use super::Upstream;
use super::answers::State;
use super::balance::Wish;
use super::forward::{Forward, dress};
use super::policy::UpstreamPolicy;
use super::time_left::{self, Told};
use crate::base::clock;
use crate::base::exchange::Exchange;
use crate::base::reject::Reject;
use crate::base::time_left::X_REQUEST_TIMEOUT;

/// A request as an upstream would see it.
#[derive(Debug)]
pub struct Preview {
    /// Its head, with all that the gateway says in it.
    pub head: Parts,
    /// Whether something of the request says to which of the addresses it belongs.
    pub has_key: bool,
}

impl Forward {
    /// What the upstream would see of a request without a body.
    pub fn preview(&self, mut head: Parts, exchange: &Exchange) -> Preview {
        let (rewrite, allotted) = &*self.route;
        let now = clock::now();
        let (wish, mut added) = dress(&self.upstream, rewrite, &mut head, exchange, now);
        if exchange.survey.timeout && exchange.deadline.is_some() {
            head.headers.remove(X_REQUEST_TIMEOUT);
        }
        let told = Told { at: exchange.started, grpc: None };
        // As it began: that a moment has passed since is nobody's interest.
        let fields = (&mut head.headers, Some(&mut added));
        time_left::tell(fields, allotted, exchange.deadline, told, exchange.started);
        added.merge(exchange, &mut head.headers);
        let has_key = match wish {
            Wish::Anywhere => false,
            Wish::Key(_) => true,
            Wish::Back(session) => session.is_known(),
        };
        Preview { head, has_key }
    }

    /// Why there is nowhere to send to, where that is certain: names have been answered, and no address takes requests.
    pub fn nowhere(&self) -> Option<Reject> {
        let certain = self.upstream.has_been_heard() && !self.upstream.has_other_than(&[]);
        certain.then(|| self.upstream.nowhere())
    }

    /// Where the requests go.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What the route's configuration says of it.
    pub fn policy(&self) -> &Arc<UpstreamPolicy> {
        &self.upstream.policy
    }
}

impl Upstream {
    /// Whether its name has been answered, be it with "no such name". A gateway that has just come up waits a little
    /// longer before it believes that.
    pub fn has_been_heard(&self) -> bool {
        let status = self.status();
        let states = status.dns.iter().map(|name| name.state).chain(status.srv.iter().map(|service| service.state));
        self.waits_for().is_none() || states.into_iter().any(|state| state == State::Empty)
    }
}
