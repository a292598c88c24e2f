//! Who may pass: a route's `auth`. Finds the token, has the provider that it is from verify it, asks what the route asks,
//! and tells the upstream who it is. Knows no configuration; what verifies a token (`verify`) knows no clock, no network
//! and no cache.
//!
//! ```text
//! token       where a request carries it          jws, keys, verify, claims   whether it is what it says it is
//! provider    one policy as it runs               verified                    what it has verified before
//! keyset      its keys, kept current              schedule, source, fetch, store   when and from where they come
//! revoked     what was taken back                 headers                     what the upstream is told
//! failure     the closed set of reasons           answer                      what a client reads of them
//! ```

pub mod algorithm;
pub mod answer;
pub mod claims;
pub mod examine;
pub mod failure;
pub mod fetch;
pub mod headers;
pub mod jws;
pub mod keys;
pub mod keyset;
pub mod policy;
pub mod provider;
pub mod recent;
pub mod revoked;
pub mod schedule;
pub mod source;
pub mod store;
#[cfg(test)]
mod testing;
pub mod token;
pub mod verified;
pub mod verify;
pub mod watch;

use std::sync::Arc;

use serde_json::Value;

use self::failure::Failure;
use self::jws::Jws;
use self::policy::{Mode, RouteAuth, TokenPlace};
use self::provider::{Moment, Provider, Untaken};
use self::verified::Verified;
use super::gate::{Gate, Verdict};
use crate::base::clock;
use crate::base::identity::Reserved;
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::telemetry::names;
use crate::telemetry::recorder::Recorder;

/// What one route asks of those who come. Every route has this gate as soon as any policy tells upstreams who asks: what
/// a client says itself about that never passes, not where nobody is asked either.
#[derive(Debug)]
pub struct Auth {
    /// The fields that only the gateway may set.
    reserved: Reserved,
    asked: Option<Asked>,
}

/// What is asked, and of whom.
#[derive(Debug)]
struct Asked {
    route: Arc<str>,
    rule: RouteAuth,
    providers: Box<[Arc<Provider>]>,
    /// Where any of them looks for tokens.
    places: Vec<TokenPlace>,
    recorder: Arc<Recorder>,
}

/// What was found out about a request, and by whom.
struct Found<'a> {
    provider: &'a Arc<Provider>,
    verified: Arc<Verified>,
}

/// Why nothing was, and whose rules that breaks.
struct NotFound<'a> {
    provider: &'a Arc<Provider>,
    why: Untaken,
}

impl Auth {
    /// Asks nobody, and lets nobody say who they are.
    pub fn nobody(reserved: Reserved) -> Self {
        Self { reserved, asked: None }
    }

    /// Asks everybody on a route; one of `providers`, of which there is at least one, must vouch.
    pub fn new(
        route: Arc<str>,
        rule: RouteAuth,
        providers: Vec<Arc<Provider>>,
        reserved: Reserved,
        recorder: Arc<Recorder>,
    ) -> Self {
        let mut places: Vec<TokenPlace> = Vec::new();
        for place in providers.iter().flat_map(|provider| provider.token_from()) {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
        Self { reserved, asked: Some(Asked { route, rule, providers: providers.into(), places, recorder }) }
    }

    fn decide(&self, request: &mut Request, may_wait: bool) -> Verdict<()> {
        if !self.reserved.is_empty() {
            let survey = &request.exchange.survey;
            if survey.hop_by_hop.connection() {
                self.reserved.keep_from_connection(&mut request.head.headers);
            }
            self.reserved.remove_from(&mut request.head.headers, survey.underscore);
            request.body.withhold(&self.reserved);
        }
        match &self.asked {
            Some(asked) => asked.decide(request, may_wait),
            None => Verdict::Pass(()),
        }
    }
}

impl Gate for Auth {
    type Pass = ();

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        match self.decide(request, false) {
            Verdict::Refuse(reject) => Err(reject),
            Verdict::Pass(()) | Verdict::Wait(_) => Ok(()),
        }
    }

    fn look(&self, request: &mut Request) -> Verdict<()> {
        self.decide(request, true)
    }
}

impl Asked {
    fn decide(&self, request: &mut Request, may_wait: bool) -> Verdict<()> {
        // Only a request that has waited is not judged at the moment at which it came.
        let now = if may_wait { request.exchange.started } else { clock::now() };
        let moment = Moment { now, unix: clock::unix_seconds(), deadline: request.exchange.deadline };
        let (provider, failure) = match self.find(request, moment, may_wait) {
            Ok(Some(found)) => {
                found.provider.count(None);
                self.admit(request, &found);
                return Verdict::Pass(());
            }
            Ok(None) => return Verdict::Pass(()),
            Err(NotFound { why: Untaken::Undecided(waiting), .. }) => return Verdict::Wait(waiting),
            Err(NotFound { provider, why: Untaken::Refused(failure) }) => (provider, failure),
        };
        provider.count(Some(&failure));
        let reject = answer::refusal(&failure, &provider.name, &self.rule.scopes, provider.retry_after(moment.now));
        match self.rule.mode {
            Mode::Enforce => Verdict::Refuse(reject),
            Mode::Observe => {
                self.let_go(request, reject);
                Verdict::Pass(())
            }
        }
    }

    /// Who asks; nobody where nobody has to say so.
    fn find(&self, request: &Request, moment: Moment, may_wait: bool) -> Result<Option<Found<'_>>, NotFound<'_>> {
        // There is at least one provider: the check of the configuration sees to it.
        let Some(first) = self.providers.first() else { return Ok(None) };
        let token = token::find(&request.head, &self.places).map_err(|failure| refused(first, failure))?;
        let Some(token) = token else {
            return if self.rule.optional { Ok(None) } else { Err(refused(first, Failure::Missing)) };
        };
        let (provider, verified) = self.verify(first, request.exchange.origin.worker, token, moment, may_wait)?;
        match self.allows(&verified) {
            Ok(()) => Ok(Some(Found { provider, verified })),
            Err(failure) => Err(refused(provider, failure)),
        }
    }

    fn verify<'a>(
        &'a self,
        first: &'a Arc<Provider>,
        worker: usize,
        token: &[u8],
        moment: Moment,
        may_wait: bool,
    ) -> Result<(&'a Arc<Provider>, Arc<Verified>), NotFound<'a>> {
        for provider in &self.providers {
            if let Some(known) = provider.known(worker, token, moment) {
                let known = known.map_err(|failure| refused(provider, failure))?;
                return Ok((provider, known));
            }
        }
        let jws = Jws::parse(token).map_err(|failure| refused(first, failure))?;
        let provider = self.choose(&jws, moment).ok_or_else(|| refused(first, Failure::Issuer))?;
        let verified = provider.verify(worker, token, &jws, moment, may_wait);
        verified.map(|verified| (provider, verified)).map_err(|why| NotFound { provider, why })
    }

    /// The provider that a token is from: the one of its issuer; of several, the one that has its key. What the token
    /// says is not verified yet, so all that it chooses is by whose rules it is refused.
    fn choose(&self, jws: &Jws<'_>, moment: Moment) -> Option<&Arc<Provider>> {
        if let [only] = &*self.providers {
            return Some(only);
        }
        let payload = claims::parse(&jws.payload).unwrap_or_default();
        let issuer = payload.get("iss").and_then(Value::as_str);
        let of_issuer = |provider: &&Arc<Provider>| provider.issuer().is_some() && provider.issuer() == issuer;
        let of_anybody = |provider: &&Arc<Provider>| provider.issuer().is_none();
        let mut able: Vec<&Arc<Provider>> = self.providers.iter().filter(of_issuer).collect();
        if able.is_empty() {
            able = self.providers.iter().filter(of_anybody).collect();
        }
        let id = jws.header.key_id.as_deref();
        let by_key = able.iter().find(|provider| id.is_some_and(|id| provider.has_key(id, moment.now)));
        by_key.or(able.first()).copied()
    }

    /// Whether a valid token allows what this route does.
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
    fn admit(&self, request: &mut Request, found: &Found<'_>) {
        if !found.provider.forwards_token() {
            self.strip(request);
        }
        for (name, value) in &found.verified.fields {
            request.head.headers.insert(name.clone(), value.clone());
        }
        request.exchange.identity = Some(found.verified.identity.clone());
    }

    /// Lets a request go on that would be refused: as nobody's, and with the cause in its line of the log.
    fn let_go(&self, request: &mut Request, reject: Reject) {
        if !self.providers.iter().any(|provider| provider.forwards_token()) {
            self.strip(request);
        }
        let labels = [&*self.route, reject.reason.facts().code, "observe"];
        self.recorder.counter(names::REFUSALS, &labels).increment(1);
        request.exchange.answer.cause = reject.cause.map(|cause| format!("{cause} (observed)").into());
    }

    fn strip(&self, request: &mut Request) {
        if token::strip(&mut request.head, &self.places) {
            request.exchange.target = request.head.uri.clone();
        }
    }
}

fn refused(provider: &Arc<Provider>, failure: Failure) -> NotFound<'_> {
    NotFound { provider, why: Untaken::Refused(failure) }
}
