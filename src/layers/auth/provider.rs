//! A policy `[auth.*]` as it runs: its keys, the tokens that it has verified, the ids that were taken back, and its
//! numbers. Shared by the routes that name it.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use super::claims;
use super::failure::Failure;
use super::headers;
use super::jws::Jws;
use super::keyset::{KeySet, KeySets};
use super::policy::{JwtPolicy, TokenPlace};
use super::revoked::Revoked;
use super::tally::{Kind, Tally};
use super::verified::{Verified, VerifiedTokens};
use super::verify;
use crate::base::identity::Identity;
use crate::layers::gate::Waiting;
use crate::telemetry::recorder::Recorder;

/// What providers need to run.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Where keys are fetched and files are watched: never on a worker.
    pub control: Handle,
    /// How many workers there are.
    pub workers: usize,
    /// Where numbers go.
    pub recorder: Arc<Recorder>,
    /// The key sets that run.
    pub key_sets: Arc<KeySets>,
}

/// Verifies tokens by one policy.
pub struct Provider {
    /// The policy's name and numbers.
    pub tally: Tally,
    policy: JwtPolicy,
    keys: Arc<KeySet>,
    revoked: Option<Revoked>,
    verified: VerifiedTokens,
}

/// The moment of a request, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// When it came.
    pub now: Instant,
    /// The same in seconds since the epoch.
    pub unix: u64,
    /// When it must be answered.
    pub deadline: Option<Instant>,
}

/// For what a request is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// To decide about it, perhaps later.
    First,
    /// To decide about it now: it has waited.
    Last,
    /// To say what would be decided: nothing is counted, and no keys are asked for.
    Preview,
}

/// A token that is not taken as it is.
pub enum Untaken {
    /// Because of this.
    Refused(Failure),
    /// Perhaps later: nobody can tell before this is over.
    Undecided(Waiting),
}

impl From<Failure> for Untaken {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl Provider {
    /// Starts a policy.
    pub fn start(name: &str, policy: &JwtPolicy, tools: &Tools) -> Arc<Self> {
        Arc::new(Self {
            tally: Tally::new(name, Kind::Token, policy.forward_token, &tools.recorder),
            keys: tools.key_sets.get(name, &policy.keys, &tools.control, &tools.recorder),
            revoked: policy.revoked_file.clone().map(|path| Revoked::start(path, &tools.control)),
            verified: VerifiedTokens::new(tools.workers),
            policy: policy.clone(),
        })
    }

    /// Its keys.
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// What its tokens must be, and where its keys come from.
    pub(super) fn policy(&self) -> &JwtPolicy {
        &self.policy
    }

    /// Whether the token of this id was taken back.
    pub(super) fn has_revoked(&self, id: &str) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| revoked.has(id))
    }

    /// Where its tokens are.
    pub fn token_from(&self) -> &[TokenPlace] {
        &self.policy.token_from
    }

    /// Who its tokens are from, where it says so.
    pub fn issuer(&self) -> Option<&str> {
        self.policy.rules.claims.issuer.as_deref()
    }

    /// Whether one of its keys has this id.
    pub fn has_key(&self, id: &str, now: Instant) -> bool {
        let current = self.keys.current(now);
        current.is_some_and(|current| {
            current.as_ref().is_some_and(|current| current.keys.list().iter().any(|key| key.id.as_deref() == Some(id)))
        })
    }

    /// The token, if it was verified before by the keys that count now.
    ///
    /// # Errors
    /// When it was taken back since.
    pub fn known(&self, worker: usize, token: &[u8], moment: Moment) -> Option<Result<Arc<Verified>, Failure>> {
        let current = self.keys.current(moment.now)?;
        let generation = current.as_ref()?.generation;
        let known = self.verified.get(worker, token, generation, moment.unix)?;
        Some(self.not_revoked(&known).map(|()| known))
    }

    /// Verifies a token. Unless this is the last look, it says what to wait for where it lacks a key that may come.
    ///
    /// # Errors
    /// Why the token is not taken, or not yet.
    pub fn verify(
        &self,
        worker: usize,
        token: &[u8],
        jws: &Jws<'_>,
        moment: Moment,
        look: Look,
    ) -> Result<Arc<Verified>, Untaken> {
        let current = self.keys.current(moment.now);
        let Some(current) = current.as_ref().and_then(|current| current.as_ref()) else {
            let may_wait = look != Look::Last;
            let waiting = may_wait.then(|| self.keys.first_round(moment.now, moment.deadline)).flatten();
            let none =
                Failure::KeysUnavailable { why: self.keys.why_none(), retry_after: self.keys.retry_after(moment.now) };
            return Err(waiting.map_or(Untaken::Refused(none), Untaken::Undecided));
        };
        let claims = match verify::verify_parsed(jws, &current.keys, &self.policy.rules, moment.unix) {
            Ok(claims) => claims,
            Err(failure) => return Err(self.perhaps_later(failure, jws, moment, look)),
        };
        let subject = claims::text(&claims, "sub")?.map(Into::into);
        let verified = Arc::new(Verified {
            token_id: claims::text(&claims, "jti")?.map(Into::into),
            scopes: claims::scopes(&claims),
            fields: headers::fields(&self.policy.claims_to_headers, &claims),
            over: claims::over(&claims, &self.policy.rules.claims),
            identity: Arc::new(Identity { auth: self.tally.name.clone(), subject, plan: None, claims }),
        });
        self.not_revoked(&verified)?;
        self.verified.put(worker, token, current.generation, verified.clone());
        Ok(verified)
    }

    /// A key that is not there may have come since.
    fn perhaps_later(&self, failure: Failure, jws: &Jws<'_>, moment: Moment, look: Look) -> Untaken {
        let (Failure::UnknownKey(_), Some(id)) = (&failure, jws.header.key_id.as_deref()) else {
            return Untaken::Refused(failure);
        };
        let waiting = match look {
            Look::First => self.keys.ask_for(id, moment.now, moment.deadline),
            Look::Preview => self.keys.may_come(id, moment.now, moment.deadline),
            Look::Last => {
                self.keys.is_unknown(id, moment.now);
                None
            }
        };
        waiting.map_or(Untaken::Refused(failure), Untaken::Undecided)
    }

    fn not_revoked(&self, verified: &Verified) -> Result<(), Failure> {
        match verified.token_id.as_deref() {
            Some(id) if self.has_revoked(id) => Err(Failure::Revoked("its id is in revoked_file")),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.tally.name)
    }
}
