//! What a route asks, and of whom: from what was found out about a request to what becomes of it.

use std::sync::Arc;

use super::By;
use super::answer::{self, Terms};
use super::credentials::Finding;
use super::failure::Failure;
use super::forward::{Forward, Word};
use super::policy::RouteAuth;
use super::provider::{Look, Moment};
use super::tally::{Kind, Tally};
use super::verified::Verified;
use crate::base::clock;
use crate::base::mode::Mode;
use crate::base::reject::{Reason, Reject};
use crate::base::request::{Reply, Request};
use crate::layers::gate::{Decide, Verdict};
use crate::telemetry::refusals::Refusals;

/// What is asked, and of whom.
#[derive(Debug)]
pub(super) struct Asked {
    rule: RouteAuth,
    by: By,
    terms: Terms,
    /// Counts those who would be refused where that is only observed.
    observed: Refusals,
}

impl Asked {
    pub(super) fn new(rule: RouteAuth, by: By, observed: Refusals) -> Self {
        let kinds = match &by {
            By::Credentials(credentials) => credentials.kinds(),
            By::Service(_) => vec![Kind::Service],
        };
        let terms = Terms { kinds, scopes: rule.scopes.clone() };
        Self { rule, by, terms, observed }
    }

    /// What is asked, and of whom.
    pub(super) fn terms(&self) -> (&RouteAuth, &By) {
        (&self.rule, &self.by)
    }

    /// What becomes of a request. Only one that has waited is not judged at the moment at which it came.
    pub(super) fn decide(self: &Arc<Self>, request: &mut Request, look: Look) -> Verdict<()> {
        let now = if look == Look::Last { clock::now() } else { request.exchange.started };
        let moment = Moment { now, unix: clock::unix_seconds(), deadline: request.exchange.deadline };
        let credentials = match &self.by {
            By::Service(forward) => return self.ask(forward, request),
            By::Credentials(credentials) => credentials,
        };
        match credentials.find(request, moment, look) {
            Finding::Judged(tally, judged) => self.conclude(request, tally, judged, look),
            Finding::Wait(waiting) => Verdict::Wait(waiting),
            Finding::Nothing if self.rule.optional => Verdict::Pass(()),
            Finding::Nothing => match credentials.first() {
                Some(first) => self.conclude(request, first, Err(Failure::Missing), look),
                // The check of the configuration leaves no route without a policy.
                None => Verdict::Refuse(Reject::new(Reason::Internal, "nobody can vouch for anybody here")),
            },
            Finding::Try(basic, judging) => {
                let (asked, basic) = (self.clone(), basic.clone());
                Verdict::Ask(Box::pin(async move {
                    let judged = judging.await;
                    let decide: Decide<()> =
                        Box::new(move |request| asked.conclude(request, &basic.tally, judged, look));
                    decide
                }))
            }
        }
    }

    /// Has a service say what becomes of it.
    fn ask(self: &Arc<Self>, forward: &Arc<Forward>, request: &mut Request) -> Verdict<()> {
        let asking = match forward.ask(request, clock::now()) {
            Ok(asking) => asking,
            Err(failure) => return self.conclude(request, &forward.tally, Err(failure), Look::First),
        };
        let (asked, forward) = (self.clone(), forward.clone());
        Verdict::Ask(Box::pin(async move {
            let word = asking.await;
            let decide: Decide<()> = Box::new(move |request| match word {
                Ok(Word::Pass(verified)) => asked.conclude(request, &forward.tally, Ok(verified), Look::Last),
                Ok(Word::Answer(reply)) => asked.hand_on(request, &forward.tally, reply),
                Err(failure) => asked.conclude(request, &forward.tally, Err(failure), Look::Last),
            });
            decide
        }))
    }

    /// Draws the conclusion from a judgement.
    fn conclude(
        &self,
        request: &mut Request,
        tally: &Tally,
        judged: Result<Arc<Verified>, Failure>,
        look: Look,
    ) -> Verdict<()> {
        let allowed = judged.and_then(|verified| self.allows(&verified).map(|()| verified));
        if look != Look::Preview {
            tally.count(allowed.as_ref().err());
        }
        let failure = match allowed {
            Ok(verified) => {
                self.admit(request, tally, &verified);
                return Verdict::Pass(());
            }
            Err(failure) => failure,
        };
        let reject = answer::refusal(&failure, tally, &self.terms);
        match self.rule.mode {
            Mode::Enforce => Verdict::Refuse(reject),
            Mode::Observe => self.let_go(request, reject, look),
        }
    }

    /// Answers with what a service has said.
    fn hand_on(&self, request: &mut Request, tally: &Tally, reply: Reply) -> Verdict<()> {
        let failure = Failure::Denied(reply.head.status.as_u16());
        tally.count(Some(&failure));
        let cause = answer::cause(&failure, tally);
        match self.rule.mode {
            Mode::Enforce => {
                request.exchange.answer.cause = Some(cause.into());
                Verdict::Answer(reply)
            }
            Mode::Observe => {
                let reject = Reject::new(Reason::CredentialsInvalid, "the service says no").because(cause);
                self.let_go(request, reject, Look::Last)
            }
        }
    }

    /// Whether a valid credential allows what this route does.
    fn allows(&self, verified: &Verified) -> Result<(), Failure> {
        let has = |scope: &String| verified.scopes.binary_search_by(|own| (**own).cmp(scope)).is_ok();
        if let Some(missing) = self.rule.scopes.iter().find(|scope| !has(scope)) {
            return Err(Failure::Scope(missing.clone()));
        }
        match self.rule.claims.iter().find(|rule| !rule.holds(verified.identity.claim(&rule.path))) {
            Some(rule) => Err(Failure::Claim(rule.path.clone())),
            None => Ok(()),
        }
    }

    /// Tells everybody below who asks.
    fn admit(&self, request: &mut Request, tally: &Tally, verified: &Verified) {
        self.strip(request, Some(tally));
        // A field may have several lines. The client's own are gone already.
        for (name, value) in &verified.fields {
            request.head.headers.append(name.clone(), value.clone());
        }
        request.exchange.identity = Some(verified.identity.clone());
    }

    /// Lets a request go on that would be refused: as nobody's, and with the cause in its line of the log.
    fn let_go(&self, request: &mut Request, reject: Reject, look: Look) -> Verdict<()> {
        self.strip(request, None);
        if look != Look::Preview {
            self.observed.count(reject.reason);
        }
        request.exchange.answer.cause = reject.cause.map(|cause| format!("{cause} (observed)").into());
        request.exchange.unvouched = true;
        Verdict::Pass(())
    }

    fn strip(&self, request: &mut Request, judge: Option<&Tally>) {
        if let By::Credentials(credentials) = &self.by {
            credentials.strip(request, judge);
        }
    }
}
