//! Who may pass: a route's `auth`. Finds the credential, has the policy that it is for judge it, asks what the route asks,
//! and tells the upstream who it is. Knows no configuration; what verifies a token (`verify`) knows no clock, no network
//! and no cache.
//!
//! ```text
//! asked        what a route asks, of whom          credentials                 which one a request brings
//! token        where a request carries it          jws, keys, verify, claims   whether it is what it says it is
//! provider     tokens, by one policy               verified                    what it has verified before
//! keyset       its keys, kept current              schedule, source, fetch, store   when and from where they come
//! api_key      keys that are known by their hash   key_list                    the file of them
//! basic        names and passwords                 users                       the file of them
//! forward      the word of a service               watched, watch              files that count while they change
//! revoked      what was taken back                 headers                     what the upstream is told
//! failure      the closed set of reasons           answer, tally               what a client and the metrics read of them
//! ```

pub mod algorithm;
pub mod answer;
pub mod api_key;
mod asked;
pub mod basic;
pub mod claims;
pub mod credentials;
pub mod examine;
pub mod failure;
pub mod fetch;
pub mod forward;
pub mod headers;
pub mod jws;
pub mod key_list;
pub mod keys;
pub mod keyset;
pub mod policy;
pub mod provider;
pub mod recent;
pub mod revoked;
pub mod schedule;
pub mod source;
pub mod store;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod token;
pub mod users;
pub mod verified;
pub mod verify;
pub mod watch;
pub mod watched;

use std::sync::Arc;

use self::asked::Asked;
use self::credentials::Credentials;
use self::forward::Forward;
use self::policy::RouteAuth;
use self::provider::Look;
use super::gate::{Gate, Verdict};
use crate::base::identity::Reserved;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;
use crate::telemetry::refusals::Refusals;

/// What one route asks of those who come. Every route has this gate as soon as any policy tells upstreams who asks: what
/// a client says itself about that never passes, not where nobody is asked either.
#[derive(Debug)]
pub struct Auth {
    /// The fields that only the gateway may set.
    reserved: Reserved,
    asked: Option<Arc<Asked>>,
}

/// Who vouches.
#[derive(Debug)]
pub enum By {
    /// Whoever judges the credential that a request brings.
    Credentials(Credentials),
    /// A service that is asked about each request.
    Service(Arc<Forward>),
}

impl Auth {
    /// Asks nobody, and lets nobody say who they are.
    pub fn nobody(reserved: Reserved) -> Self {
        Self { reserved, asked: None }
    }

    /// Asks everybody on a route. `observed` counts those who would be refused where that is only observed.
    pub fn new(rule: RouteAuth, by: By, reserved: Reserved, observed: Refusals) -> Self {
        Self { reserved, asked: Some(Arc::new(Asked::new(rule, by, observed))) }
    }

    fn decide(&self, request: &mut Request, look: Look) -> Verdict<()> {
        self.clean(request);
        self.asked.as_ref().map_or(Verdict::Pass(()), |asked| asked.decide(request, look))
    }

    fn clean(&self, request: &mut Request) {
        if self.reserved.is_empty() {
            return;
        }
        let survey = &request.exchange.survey;
        if survey.hop_by_hop.connection() {
            self.reserved.keep_from_connection(&mut request.head.headers);
        }
        self.reserved.remove_from(&mut request.head.headers, survey.underscore);
        request.body.withhold(&self.reserved);
    }
}

impl Gate for Auth {
    const NAME: Option<&'static str> = Some("auth");

    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        match self.look_again(request) {
            Verdict::Pass(()) => Ok(()),
            Verdict::Refuse(reject) => Err(reject),
            // Nobody asks so who may not wait: but no answer is no pass.
            _ => Err(Reject::new(Reason::Internal, "it was not found out who asks")),
        }
    }

    fn look(&self, request: &mut Request) -> Verdict<()> {
        self.decide(request, Look::First)
    }

    fn look_again(&self, request: &mut Request) -> Verdict<()> {
        self.decide(request, Look::Last)
    }

    fn preview(&self, request: &mut Request) -> Verdict<()> {
        self.decide(request, Look::Preview)
    }
}
