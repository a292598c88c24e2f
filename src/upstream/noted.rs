//! What of a try is noted for the trace of its request, where that may be wanted.

use std::time::Instant;

use super::attempt::Ended;
use super::connection::Flow;
use super::endpoint::Ticket;
use super::forward::Journey;
use super::metrics::Outcome as Came;
use crate::base::clock;
use crate::base::trace::Sent;

/// What a step is called that is a try.
const TRY: &str = "try";

impl Journey {
    /// A try at this address begins.
    pub(super) fn note_try(&mut self, ticket: &Ticket, now: Instant) {
        let Some(trace) = self.exchange.trace.as_mut().filter(|trace| trace.record.is_some()) else { return };
        let target = self.request.as_ref().map(|request| request.uri().clone()).unwrap_or_default();
        let reason = self.again.take().map(|reason| reason.word());
        let before = trace.record.iter().flat_map(|record| &record.steps).filter(|step| step.sent.is_some()).count();
        let resends = u32::try_from(before).unwrap_or(u32::MAX);
        trace.begin(TRY, now, Some(Sent { address: ticket.endpoint().address, target, resends, reason, status: 0 }));
    }

    /// It ended like this.
    pub(super) fn note_end(&mut self, tried: &Result<http::Response<Flow>, Ended>) {
        let heard = self.heard;
        let Some(trace) = self.exchange.trace.as_mut().filter(|trace| trace.record.is_some()) else { return };
        match tried {
            Ok(response) => trace.answered(heard, response.status().as_u16()),
            Err(Ended::Unsent) => trace.end(clock::now(), Some(Came::Reset.word())),
            Err(Ended::Fault(_, came, _)) => trace.end(clock::now(), Some(came.word())),
            Err(Ended::Final(reject)) => trace.end(clock::now(), Some(reject.reason.facts().code)),
        }
    }

    /// There was no connection for it, or none any more that may be used.
    pub(super) fn note_unsent(&mut self, why: &'static str) {
        if let Some(trace) = self.exchange.trace.as_mut().filter(|trace| trace.record.is_some()) {
            trace.end(clock::now(), Some(why));
        }
    }
}
