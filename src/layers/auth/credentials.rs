//! The credentials that a route takes: finds the one that a request brings, and has the policy that it is for judge it.
//! Tokens come first, then API keys, then passwords; the first that is there decides, good or bad.

use std::sync::Arc;

use serde_json::Value;

use super::api_key::ApiKeys;
use super::basic::{Asked, Basic, Judging, Sent};
use super::claims;
use super::failure::Failure;
use super::jws::Jws;
use super::policy::TokenPlace;
use super::provider::{Look, Moment, Provider, Untaken};
use super::tally::{Kind, Tally};
use super::token;
use super::verified::Verified;
use crate::base::request::Request;
use crate::layers::gate::Waiting;

/// Those who can vouch for a client by what it brings.
#[derive(Debug, Default)]
pub struct Credentials {
    tokens: Vec<Arc<Provider>>,
    /// Where any of them looks for tokens.
    places: Vec<TokenPlace>,
    keys: Vec<Arc<ApiKeys>>,
    passwords: Vec<Arc<Basic>>,
}

/// What was found.
pub(super) enum Finding<'a> {
    /// Nothing that could be judged.
    Nothing,
    /// A policy's judgement.
    Judged(&'a Tally, Result<Arc<Verified>, Failure>),
    /// Nobody can tell before this is over.
    Wait(Waiting),
    /// Nobody can tell before this is tried.
    Try(&'a Arc<Basic>, Judging),
}

impl Credentials {
    /// Adds a policy of tokens.
    pub fn token(&mut self, provider: Arc<Provider>) {
        for place in provider.token_from() {
            if !self.places.contains(place) {
                self.places.push(place.clone());
            }
        }
        self.tokens.push(provider);
    }

    /// Adds a policy of API keys.
    pub fn key(&mut self, keys: Arc<ApiKeys>) {
        self.keys.push(keys);
    }

    /// Adds a policy of passwords.
    pub fn password(&mut self, basic: Arc<Basic>) {
        self.passwords.push(basic);
    }

    /// What they judge by, each kind once.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.tallies().map(|tally| tally.kind).collect();
        kinds.dedup();
        kinds
    }

    /// The policy that answers where nothing was brought.
    pub fn first(&self) -> Option<&Tally> {
        self.tallies().next()
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let (tokens, keys) = (self.tokens.iter(), self.keys.iter());
        let passwords = self.passwords.iter().map(|basic| &basic.tally);
        tokens.map(|provider| &provider.tally).chain(keys.map(|keys| &keys.tally)).chain(passwords)
    }

    /// The policies of tokens, and where any of them looks for one.
    pub(super) fn tokens(&self) -> (&[Arc<Provider>], &[TokenPlace]) {
        (&self.tokens, &self.places)
    }

    /// Finds what a request brings, and judges it.
    pub(super) fn find(&self, request: &Request, moment: Moment, look: Look) -> Finding<'_> {
        let worker = request.exchange.origin.worker;
        if let Some(first) = self.tokens.first() {
            match token::find(&request.head, &self.places) {
                Ok(None) => {}
                Ok(Some(token)) => return self.verify(&first.tally, worker, token, moment, look),
                Err(failure) => return Finding::Judged(&first.tally, Err(failure)),
            }
        }
        if let Some(finding) = self.known_by_key(request) {
            return finding;
        }
        match self.passwords.first() {
            Some(basic) => try_password(basic, request, Asked { worker, now: moment.now, deadline: moment.deadline }),
            None => Finding::Nothing,
        }
    }

    /// The key that is brought, judged by the first policy that knows it, or else by the first that it is for.
    fn known_by_key(&self, request: &Request) -> Option<Finding<'_>> {
        let mut refused = None;
        for keys in &self.keys {
            let judged = match keys.brought(&request.head) {
                Ok(None) => continue,
                Ok(Some(key)) => keys.judge(&key),
                Err(failure) => Err(failure),
            };
            match judged {
                Err(failure) => drop(refused.get_or_insert((&keys.tally, failure))),
                Ok(verified) => return Some(Finding::Judged(&keys.tally, Ok(verified))),
            }
        }
        refused.map(|(tally, failure)| Finding::Judged(tally, Err(failure)))
    }

    fn verify<'a>(&'a self, first: &'a Tally, worker: usize, token: &[u8], moment: Moment, look: Look) -> Finding<'a> {
        for provider in &self.tokens {
            if let Some(known) = provider.known(worker, token, moment) {
                return Finding::Judged(&provider.tally, known);
            }
        }
        let jws = match Jws::parse(token) {
            Ok(jws) => jws,
            Err(failure) => return Finding::Judged(first, Err(failure)),
        };
        let Some(provider) = self.choose(&jws, moment) else {
            return Finding::Judged(first, Err(Failure::Issuer));
        };
        match provider.verify(worker, token, &jws, moment, look) {
            Ok(verified) => Finding::Judged(&provider.tally, Ok(verified)),
            Err(Untaken::Refused(failure)) => Finding::Judged(&provider.tally, Err(failure)),
            Err(Untaken::Undecided(waiting)) => Finding::Wait(waiting),
        }
    }

    /// The provider that a token is from: the one of its issuer; of several, the one that has its key. What the token
    /// says is not verified yet, so all that it chooses is by whose rules it is refused.
    pub(super) fn choose(&self, jws: &Jws<'_>, moment: Moment) -> Option<&Arc<Provider>> {
        if let [only] = self.tokens.as_slice() {
            return Some(only);
        }
        let payload = claims::parse(&jws.payload).unwrap_or_default();
        let issuer = payload.get("iss").and_then(Value::as_str);
        let of_issuer = |provider: &&Arc<Provider>| provider.issuer().is_some() && provider.issuer() == issuer;
        let of_anybody = |provider: &&Arc<Provider>| provider.issuer().is_none();
        let mut able: Vec<&Arc<Provider>> = self.tokens.iter().filter(of_issuer).collect();
        if able.is_empty() {
            able = self.tokens.iter().filter(of_anybody).collect();
        }
        let id = jws.header.key_id.as_deref();
        let by_key = able.iter().find(|provider| id.is_some_and(|id| provider.has_key(id, moment.now)));
        by_key.or(able.first()).copied()
    }

    /// Takes out of a request what must not go on. Of tokens it is the policy that has judged one that says whether it
    /// may; where none has, any policy that lets tokens go on is enough.
    pub(super) fn strip(&self, request: &mut Request, judge: Option<&Tally>) {
        let mut changed = false;
        let keep = match judge.filter(|tally| tally.kind == Kind::Token) {
            Some(tally) => tally.forwards,
            None => self.tokens.iter().any(|provider| provider.tally.forwards),
        };
        if !keep {
            changed |= token::strip(&mut request.head, &self.places);
        }
        for keys in self.keys.iter().filter(|keys| !keys.tally.forwards) {
            changed |= token::strip(&mut request.head, keys.places());
        }
        if self.passwords.iter().any(|basic| !basic.tally.forwards) {
            token::strip_basic(&mut request.head);
        }
        if changed {
            request.exchange.target = request.head.uri.clone();
        }
    }
}

fn try_password<'a>(basic: &'a Arc<Basic>, request: &Request, asked: Asked) -> Finding<'a> {
    let sent = match token::basic(&request.head) {
        Ok(None) => return Finding::Nothing,
        Ok(Some(text)) => Sent::parse(text),
        Err(failure) => Err(failure),
    };
    let known = sent.map(|sent| (basic.known(asked, &sent), sent));
    match known {
        Err(failure) => Finding::Judged(&basic.tally, Err(failure)),
        Ok((Some(known), _)) => Finding::Judged(&basic.tally, known),
        Ok((None, sent)) => match basic.judge(asked, sent) {
            Ok(judging) => Finding::Try(basic, judging),
            Err(failure) => Finding::Judged(&basic.tally, Err(failure)),
        },
    }
}
