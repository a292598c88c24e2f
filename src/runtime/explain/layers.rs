//! The way of a request through the layers of its route, each asked in its turn. The order is that of `layers::stack`:
//! a layer that stands there has its line here.

use std::ops::ControlFlow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};

use super::{Onward, Outcome, Place, Sends, Step, Verdict, Wait};
use crate::base::clock;
use crate::base::headers::X_REQUEST_ID;
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::base::units::{Size, format_duration};
use crate::layers::auth::Auth;
use crate::layers::auth::provider::Moment;
use crate::layers::gate::{self, Gate};
use crate::runtime::mount::Route;
use crate::upstream::policy::{Balance, Discovery, HashKey};
use crate::upstream::status::AddressStatus;

/// Fields that prove who somebody is: whoever reads an explanation need not be the one.
const PROOFS: &[http::HeaderName] = &[AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// A request on its way.
pub(super) struct Walk<'a> {
    request: Request,
    steps: Vec<Step>,
    unused: Vec<&'static str>,
    wait: Wait<'a>,
}

/// The layer that refuses, and why.
type Refusal = (&'static str, Reject);

impl<'a> Walk<'a> {
    /// Asks each layer of the route, and then what would be sent.
    pub(super) fn through(
        route: &Route,
        request: Request,
        wait: Wait<'a>,
    ) -> (Vec<Step>, Vec<&'static str>, Option<Onward>, Outcome) {
        let mut walk = Self { request, steps: Vec::new(), unused: Vec::new(), wait };
        walk.request.exchange.route = Some(route.name.clone());
        let (upstream, outcome) = match walk.ask_all(route) {
            ControlFlow::Break((layer, reject)) => (None, Outcome::refused(&reject, Some(layer))),
            ControlFlow::Continue(()) => {
                let mut open = walk.steps.iter().filter(|step| step.verdict == Verdict::Open).peekable();
                let is_open = open.peek().is_some();
                // Without keys, but with a claim that no key would mend.
                let hopeless = open.flat_map(|step| &step.checks).any(|check| check.passes == Some(false));
                let enforced = route.policies.auth.as_ref().is_some_and(|auth| auth.is_enforced());
                let outcome = match (route.forward.nowhere(), is_open) {
                    (Some(reject), false) => Outcome::refused(&reject, Some("upstream")),
                    (_, true) => Outcome::Open { refused_anyway: hopeless && enforced },
                    (None, false) => Outcome::Forwarded,
                };
                (Some(walk.onward(route)), outcome)
            }
        };
        (walk.steps, walk.unused, upstream, outcome)
    }

    /// The layers, outermost first. Log and metrics have no say.
    fn ask_all(&mut self, route: &Route) -> ControlFlow<Refusal> {
        let policies = &route.policies;
        self.ask("request_id", Some(&policies.request_id), |_, _| Vec::new())?;
        self.ask("ip_access", policies.ip_access.as_ref(), |_, request| {
            vec![format!("the client is {}", request.exchange.client.to_canonical())]
        })?;
        self.ask("path_guard", policies.path_guard.as_ref(), |_, _| vec!["encoded_slashes = \"reject\"".to_owned()])?;
        self.ask("in_flight", policies.in_flight.as_ref(), |gate, _| vec![format!("at most {} at a time", gate.most)])?;
        self.ask("deadline", policies.deadline.as_ref(), |gate, _| {
            vec![format!("{} to the response head", format_duration(gate.0))]
        })?;
        self.ask_auth(policies.auth.as_ref())?;
        self.ask("body_limit", policies.body_limit.as_ref(), |gate, _| {
            vec![format!("at most {} of body", Size(gate.0))]
        })?;
        ControlFlow::Continue(())
    }

    /// Asks one gate, as the stack would, and notes what it goes by.
    fn ask<G: Gate>(
        &mut self,
        layer: &'static str,
        gate: Option<&Arc<G>>,
        says: impl FnOnce(&G, &Request) -> Vec<String>,
    ) -> ControlFlow<Refusal> {
        let Some(gate) = gate else {
            self.unused.push(layer);
            return ControlFlow::Continue(());
        };
        let mut verdict = gate.look(&mut self.request);
        let mut says = says(gate, &self.request);
        if let gate::Verdict::Wait(waiting) = verdict {
            if !(self.wait)(waiting) {
                self.steps.push(Step { layer, verdict: Verdict::Open, says, checks: Vec::new() });
                return ControlFlow::Continue(());
            }
            verdict = match gate.check(&mut self.request) {
                Ok(pass) => gate::Verdict::Pass(pass),
                Err(reject) => gate::Verdict::Refuse(reject),
            };
        }
        let (verdict, refusal) = match verdict {
            gate::Verdict::Refuse(reject) => (Verdict::Refuse, Some((layer, reject))),
            // A layer that only observes leaves the cause.
            _ => match self.request.exchange.answer.cause.take() {
                Some(cause) => {
                    says.push(cause.into());
                    (Verdict::Observe, None)
                }
                None => (Verdict::Pass, None),
            },
        };
        self.steps.push(Step { layer, verdict, says, checks: Vec::new() });
        refusal.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// The same for tokens, with each check of them.
    fn ask_auth(&mut self, auth: Option<&Arc<Auth>>) -> ControlFlow<Refusal> {
        // The gate takes the token out of the request.
        let head = self.request.head.clone();
        let flow = self.ask("auth", auth, |auth, _| match auth.is_asking() {
            true => Vec::new(),
            false => vec!["nobody is asked; fields that tell upstreams who asks are taken out".to_owned()],
        });
        let exchange = &self.request.exchange;
        let moment = Moment { now: clock::now(), unix: clock::unix_seconds(), deadline: exchange.deadline };
        let left = std::mem::replace(&mut self.request.head, head);
        let checks = auth.map(|auth| auth.examine(&self.request, moment));
        self.request.head = left;
        if let (Some(checks), Some(step)) = (checks, self.steps.last_mut()) {
            step.checks = checks;
            let identity = self.request.exchange.identity.as_ref();
            let subject = identity.and_then(|identity| identity.subject.as_deref());
            step.says.extend(identity.map(|identity| match subject {
                Some(subject) => format!("auth {} vouches for {subject}", identity.auth),
                None => format!("auth {} vouches for the client", identity.auth),
            }));
        }
        flow
    }

    /// Where the request would go.
    fn onward(&mut self, route: &Route) -> Onward {
        let preview = route.forward.preview(self.request.head.clone(), &self.request.exchange);
        let (policy, status) = (route.forward.policy(), route.forward.upstream().status());
        let source = match &policy.discovery {
            Discovery::Dns { name, port } => format!("DNS: every address of {name}, port {port}"),
            Discovery::Services { name } => format!("DNS: the service {name}"),
            Discovery::Addresses(list) => format!("a list of {}", list.len()),
        };
        let place = |one: AddressStatus| Place { address: one.address, state: one.state, why: one.why };
        Onward {
            name: policy.name.clone(),
            source,
            balance: balance(&policy.balance, preview.has_key),
            asked: route.forward.upstream().has_been_heard(),
            addresses: status.addresses.into_iter().map(place).collect(),
            sends: Sends {
                method: preview.head.method.to_string(),
                target: preview.head.uri.to_string(),
                fields: self.shown(preview.head.headers),
            },
        }
    }
}

impl Walk<'_> {
    /// Fields as they may be shown.
    fn shown(&self, mut fields: HeaderMap) -> HeaderMap {
        for (_, value) in fields.iter_mut().filter(|(name, _)| PROOFS.contains(name)) {
            *value = HeaderValue::from_static("***");
        }
        if !self.request.exchange.survey.request_id {
            // Each request gets another one.
            fields.insert(X_REQUEST_ID, HeaderValue::from_static("(a new one)"));
        }
        fields
    }
}

fn balance(balance: &Balance, has_key: bool) -> String {
    let by = |what: String| match has_key {
        true => format!("{what}: always the same one for this request"),
        false => format!("{what}, which this request does not have: drawn at random"),
    };
    match balance {
        Balance::RoundRobin => "round_robin: in turn".to_owned(),
        Balance::LeastRequest => "least_request: the less busy of two".to_owned(),
        Balance::PeakEwma => "peak_ewma: of two, the one that answers sooner and is less busy".to_owned(),
        Balance::Random => "random".to_owned(),
        Balance::Hash(HashKey::Ip) => by("hash of the client's address".to_owned()),
        Balance::Hash(HashKey::Path) => by("hash of the path".to_owned()),
        Balance::Hash(HashKey::Header(name)) => by(format!("hash of the field {name}")),
        Balance::Hash(HashKey::Cookie(name)) => by(format!("hash of the cookie {name}")),
        Balance::Hash(HashKey::Query(name)) => by(format!("hash of the parameter {name}")),
        Balance::Sticky(sticky) => by(format!("sticky, by the cookie {}", sticky.cookie)),
    }
}
