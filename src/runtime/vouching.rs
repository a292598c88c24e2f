//! Those who can vouch for clients, as a snapshot needs them: each policy `[auth.*]` that a route names is started once,
//! or found again where it lives on, and routes share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::Tools;
use crate::base::identity::Reserved;
use crate::base::mode::Mode;
use crate::config::{Config, RouteConfig};
use crate::layers::auth::api_key::ApiKeys;
use crate::layers::auth::basic::Basic;
use crate::layers::auth::credentials::Credentials;
use crate::layers::auth::forward::Forward;
use crate::layers::auth::policy::{AuthPolicy, Method};
use crate::layers::auth::provider::{self, Provider};
use crate::layers::auth::{Auth, By};
use crate::telemetry::refusals::Refusals;

/// Those who can vouch for a client, by name, and what only they may say.
pub(super) struct Vouching {
    all: BTreeMap<String, Voucher>,
    reserved: Reserved,
}

/// A policy as it runs.
#[derive(Clone)]
enum Voucher {
    Jwt(Arc<Provider>),
    ApiKey(Arc<ApiKeys>),
    Basic(Arc<Basic>),
    Forward(Arc<Forward>),
}

/// Starts the policies that routes name.
pub(super) fn start(config: &Config, tools: &Tools) -> Vouching {
    let used = |name: &String| {
        config.routes.iter().filter_map(|route| route.auth.as_ref()).any(|auth| auth.policies.contains(name))
    };
    let reserved = Reserved::new(config.auth.iter().flat_map(|policy| policy.fields()));
    let named = config.auth.iter().filter(|policy| used(&policy.name));
    let all = named.map(|policy| (policy.name.clone(), voucher(policy, tools))).collect();
    Vouching { all, reserved }
}

fn voucher(policy: &Arc<AuthPolicy>, tools: &Tools) -> Voucher {
    let (name, parts) = (&policy.name, &tools.parts.credentials);
    let (control, workers, recorder) = (&tools.upstream.control, tools.upstream.workers, &tools.recorder);
    match &policy.method {
        Method::Jwt(jwt) => {
            let needed = provider::Tools {
                control: control.clone(),
                workers,
                recorder: recorder.clone(),
                key_sets: tools.parts.key_sets.clone(),
            };
            Voucher::Jwt(Provider::start(name, jwt, &needed))
        }
        Method::ApiKey(keys) => {
            Voucher::ApiKey(parts.keys.get(policy, || ApiKeys::start(name, keys, control, recorder)))
        }
        Method::Basic(basic) => {
            Voucher::Basic(parts.users.get(policy, || Basic::start(name, basic, workers, &tools.local, recorder)))
        }
        Method::Forward(forward) => {
            Voucher::Forward(parts.services.get(policy, || Forward::start(name, forward, workers, control, recorder)))
        }
    }
}

impl Vouching {
    /// Those that verify tokens.
    pub(super) fn providers(self) -> Vec<Arc<Provider>> {
        let tokens = self.all.into_values().filter_map(|voucher| match voucher {
            Voucher::Jwt(provider) => Some(provider),
            _ => None,
        });
        tokens.collect()
    }

    /// What a route asks. One that asks nobody still lets nobody say who they are, where anything below would believe it.
    pub(super) fn of_route(&self, config: &RouteConfig, name: &Arc<str>, tools: &Tools) -> Option<Arc<Auth>> {
        let reserved = self.reserved.clone();
        let Some(rule) = &config.auth else {
            return (!reserved.is_empty()).then(|| Arc::new(Auth::nobody(reserved)));
        };
        let mut by = By::Credentials(Credentials::default());
        for voucher in rule.policies.iter().filter_map(|name| self.all.get(name).cloned()) {
            // The check of the configuration leaves a service alone with itself.
            match (&mut by, voucher) {
                (_, Voucher::Forward(forward)) => by = By::Service(forward),
                (By::Credentials(credentials), Voucher::Jwt(provider)) => credentials.token(provider),
                (By::Credentials(credentials), Voucher::ApiKey(keys)) => credentials.key(keys),
                (By::Credentials(credentials), Voucher::Basic(basic)) => credentials.password(basic),
                (By::Service(_), _) => {}
            }
        }
        let observed = Refusals::new(name, Mode::Observe, &tools.recorder);
        Some(Arc::new(Auth::new(rule.clone(), by, reserved, observed)))
    }
}
