//! The way of a request through the layers of its route, each asked in its turn. The order is that of `layers::stack`:
//! a layer that stands there has its line here.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, ORIGIN, PROXY_AUTHORIZATION};

use super::{Onward, Outcome, Patience, Place, Reach, Sends, Step, Verdict, Wait};
use crate::base::clock;
use crate::base::headers::X_REQUEST_ID;
use crate::base::mode::Mode;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;
use crate::base::units::{Size, format_duration};
use crate::layers::Policies;
use crate::layers::auth::Auth;
use crate::layers::auth::provider::Moment;
use crate::layers::cache::Cache;
use crate::layers::cache::ask::make_plain;
use crate::layers::gate::{self, Asking, Gate};
use crate::layers::rate_limit::RateLimit;
use crate::layers::rate_limit::key::Seen;
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
    reach: Reach,
    wait: Wait<'a>,
}

/// The layer that ends the way of a request, and how.
type End = ControlFlow<(&'static str, Word)>;

/// How a layer ends it.
enum Word {
    Refusal(Reject),
    /// With an answer of this status.
    Answer(u16),
}

impl<'a> Walk<'a> {
    /// Asks each layer of the route, and then what would be sent.
    pub(super) fn through(
        route: &Route,
        request: Request,
        reach: Reach,
        wait: Wait<'a>,
    ) -> (Vec<Step>, Vec<&'static str>, Option<Onward>, Outcome) {
        let mut walk = Self { request, steps: Vec::new(), unused: Vec::new(), reach, wait };
        walk.request.exchange.route = Some(route.name.clone());
        let (upstream, outcome) = match walk.ask_all(&route.policies) {
            ControlFlow::Break((layer, Word::Refusal(reject))) => (None, Outcome::refused(&reject, Some(layer))),
            ControlFlow::Break((layer, Word::Answer(status))) => {
                (None, Outcome::Answered { status, layer: Some(layer) })
            }
            ControlFlow::Continue(()) => (Some(walk.onward(route)), walk.outcome(route)),
        };
        (walk.steps, walk.unused, upstream, outcome)
    }

    /// The layers, outermost first. Log, metrics and traces have no say.
    fn ask_all(&mut self, policies: &Policies) -> End {
        self.ask("request_id", Some(&policies.request_id), |_, _| Vec::new())?;
        self.ask("ip_access", policies.ip_access.as_ref(), |_, request| {
            vec![format!("the client is {}", request.exchange.client.to_canonical())]
        })?;
        self.ask("path_guard", policies.path_guard.as_ref(), |guard, _| match guard.ambiguous {
            true => vec!["encoded_slashes = \"reject\"".to_owned()],
            false => Vec::new(),
        })?;
        self.ask("cors", policies.cors.as_ref(), |_, request| {
            let origin = request.head.headers.get(ORIGIN);
            origin.map(|origin| format!("asked by a page of {}", lossy(origin))).into_iter().collect()
        })?;
        self.ask_limits("rate_limit", policies.early_limits.as_ref())?;
        self.ask("in_flight", policies.in_flight.as_ref(), |gate, _| vec![format!("at most {} at a time", gate.most)])?;
        self.ask("deadline", policies.deadline.as_ref(), |gate, _| {
            vec![format!("{} to the response head", format_duration(gate.0))]
        })?;
        self.ask_auth(policies.auth.as_ref())?;
        self.ask_limits("rate_limit", policies.late_limits.as_ref())?;
        self.ask("body_limit", policies.body_limit.as_ref(), |gate, _| {
            vec![format!("at most {} of body", Size(gate.0))]
        })?;
        self.ask_cache(policies.cache.as_ref())
    }

    /// Asks one gate, as the stack would, and notes what it goes by.
    fn ask<G: Gate>(
        &mut self,
        layer: &'static str,
        gate: Option<&Arc<G>>,
        says: impl FnOnce(&G, &Request) -> Vec<String>,
    ) -> End
    where
        G::Pass: 'static,
    {
        let Some(gate) = gate else {
            return self.passes_over(layer);
        };
        let first = match self.reach {
            Reach::Looking => gate.preview(&mut self.request),
            Reach::Trying => gate.look(&mut self.request),
        };
        let says = says(gate, &self.request);
        let verdict = match first {
            gate::Verdict::Wait(_) if self.reach == Reach::Looking => None,
            gate::Verdict::Wait(waiting) => {
                (self.wait)(Patience::Network, waiting).then(|| gate.look_again(&mut self.request))
            }
            gate::Verdict::Ask(asking) => self.hear(asking),
            verdict => Some(verdict),
        };
        self.note(layer, verdict, says)
    }

    /// Waits for what somebody decides who was asked.
    fn hear<P: Send + 'static>(&mut self, asking: Asking<P>) -> Option<gate::Verdict<P>> {
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let waiting = Box::pin(async move {
            let decide = asking.await;
            *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(decide);
        });
        // Only a password is judged like this: by this machine.
        (self.wait)(Patience::Machine, waiting);
        let decide = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        decide.map(|decide| decide(&mut self.request))
    }

    /// Notes what a layer says; none where it cannot be asked.
    fn note<P>(&mut self, layer: &'static str, verdict: Option<gate::Verdict<P>>, mut says: Vec<String>) -> End {
        let cause = self.request.exchange.answer.cause.take();
        let observed = cause.is_some();
        says.extend(cause.map(Into::into));
        let (verdict, end) = match verdict {
            Some(gate::Verdict::Refuse(reject)) => (Verdict::Refuse, Some(Word::Refusal(reject))),
            Some(gate::Verdict::Answer(reply)) => (Verdict::Answer, Some(Word::Answer(reply.head.status.as_u16()))),
            Some(gate::Verdict::Pass(_)) if observed => (Verdict::Observe, None),
            Some(gate::Verdict::Pass(_)) => (Verdict::Pass, None),
            Some(gate::Verdict::Wait(_) | gate::Verdict::Ask(_)) | None => (Verdict::Open, None),
        };
        self.steps.push(Step { says, ..Step::new(layer, verdict) });
        end.map_or(ControlFlow::Continue(()), |word| ControlFlow::Break((layer, word)))
    }

    fn passes_over(&mut self, layer: &'static str) -> End {
        if !self.unused.contains(&layer) {
            self.unused.push(layer);
        }
        ControlFlow::Continue(())
    }

    /// What limits would say, without using anything up.
    fn ask_limits(&mut self, layer: &'static str, limits: Option<&Arc<RateLimit>>) -> End {
        let Some(limits) = limits else {
            return self.passes_over(layer);
        };
        let seen = Seen { exchange: &self.request.exchange, headers: &self.request.head.headers };
        let said = limits.explain(seen, clock::now());
        let refused = said.iter().find(|limit| !limit.passes && limit.mode == "enforce");
        let observed = said.iter().any(|limit| !limit.passes);
        let (verdict, end) = match refused {
            Some(limit) => {
                let reject = Reject::new(Reason::RateLimited, "too many requests");
                (Verdict::Refuse, Some(Word::Refusal(reject.because(format_args!("limit {}", limit.limit)))))
            }
            None if observed => (Verdict::Observe, None),
            None => (Verdict::Pass, None),
        };
        self.unused.retain(|unused| *unused != layer);
        self.steps.push(Step { limits: said, ..Step::new(layer, verdict) });
        end.map_or(ControlFlow::Continue(()), |word| ControlFlow::Break((layer, word)))
    }

    /// What a cache would do.
    fn ask_cache(&mut self, cache: Option<&Arc<Cache>>) -> End {
        let Some((explained, reject)) = cache.and_then(|cache| cache.explain(&self.request)) else {
            return self.passes_over("cache");
        };
        if explained.is_made_plain {
            make_plain(&mut self.request.head.headers);
        }
        let mut step = Step::new("cache", if reject.is_some() { Verdict::Refuse } else { Verdict::Pass });
        step.cache = Some(explained);
        self.steps.push(step);
        reject.map_or(ControlFlow::Continue(()), |reject| ControlFlow::Break(("cache", Word::Refusal(reject))))
    }

    /// Asks who it is, with each check of a token.
    fn ask_auth(&mut self, auth: Option<&Arc<Auth>>) -> End {
        let Some(auth) = auth else {
            return self.passes_over("auth");
        };
        if auth.asks_a_service() {
            let says = vec!["a service is asked about each request, and was not asked about this one".to_owned()];
            return self.note::<()>("auth", None, says);
        }
        // The gate takes the credential out of the request.
        let head = self.request.head.clone();
        let flow = self.ask("auth", Some(auth), |auth, _| match auth.rule() {
            Some(_) => Vec::new(),
            None => vec!["nobody is asked; fields that tell upstreams who asks are taken out".to_owned()],
        });
        let exchange = &self.request.exchange;
        let moment = Moment { now: clock::now(), unix: clock::unix_seconds(), deadline: exchange.deadline };
        let left = std::mem::replace(&mut self.request.head, head);
        let checks = auth.examine(&self.request, moment);
        self.request.head = left;
        if let Some(step) = self.steps.last_mut() {
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

    /// What becomes of a request that no layer has refused.
    fn outcome(&self, route: &Route) -> Outcome {
        let mut open = self.steps.iter().filter(|step| step.verdict == Verdict::Open).peekable();
        let is_open = open.peek().is_some();
        // Without keys, but with a claim that no key would mend.
        let hopeless = open.flat_map(|step| &step.checks).any(|check| check.passes == Some(false));
        let rule = route.policies.auth.as_ref().and_then(|auth| auth.rule());
        let enforced = rule.is_some_and(|rule| rule.mode == Mode::Enforce);
        match (route.forward.nowhere(), is_open) {
            (Some(reject), false) => Outcome::refused(&reject, Some("upstream")),
            (_, true) => Outcome::Open { refused_anyway: hopeless && enforced },
            (None, false) => Outcome::Forwarded,
        }
    }

    /// Where the request would go.
    fn onward(&mut self, route: &Route) -> Onward {
        let preview = route.forward.preview((*self.request.head).clone(), &self.request.exchange);
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

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
