//! API keys: known by their hashes, from a watched file. A key's name is who asks, its plan is for limits to choose by.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::failure::Failure;
use super::headers;
use super::key_list::{Entry, KeyList};
use super::policy::{ApiKeyPolicy, TokenPlace};
use super::tally::{Kind, Tally};
use super::token;
use super::verified::Verified;
use super::watched::{BadLine, Watched};
use crate::base::identity::Identity;
use crate::telemetry::recorder::Recorder;

/// Knows keys by one policy.
#[derive(Debug)]
pub struct ApiKeys {
    /// Its name and numbers.
    pub tally: Tally,
    places: [TokenPlace; 1],
    keys: Watched<Keys>,
}

/// The keys of the file, and what is known of each, in the same order.
#[derive(Debug, Default)]
struct Keys {
    list: KeyList,
    known: Vec<Arc<Verified>>,
}

impl ApiKeys {
    /// Reads the keys, and again on the runtime behind `control` whenever the file changes.
    pub fn start(name: &str, policy: &ApiKeyPolicy, control: &Handle, recorder: &Recorder) -> Arc<Self> {
        let tally = Tally::new(name, Kind::Key, policy.forward_token, recorder);
        let (auth, mapping) = (tally.name.clone(), policy.claims_to_headers.clone());
        let parse = move |bytes: &[u8]| {
            let list = KeyList::parse(bytes).map_err(|bad| BadLine::summary(&bad))?;
            let known = list.entries().iter().map(|entry| known(&auth, &mapping, entry)).collect();
            Ok(Keys { list, known })
        };
        let keys = Watched::start(policy.keys_file.clone(), "the API keys", Box::new(parse), control);
        Arc::new(Self { tally, places: [policy.from.clone()], keys })
    }

    /// Where its keys are.
    pub fn places(&self) -> &[TokenPlace] {
        &self.places
    }

    /// The key of a request, as its client means it.
    ///
    /// # Errors
    /// When there are several.
    pub fn brought<'a>(&self, head: &'a http::request::Parts) -> Result<Option<Cow<'a, [u8]>>, Failure> {
        let found = token::find(head, &self.places)?;
        Ok(found.map(|key| match self.places {
            [TokenPlace::Query(_)] => percent_encoding::percent_decode(key).into(),
            _ => Cow::Borrowed(key),
        }))
    }

    /// Who has this key.
    ///
    /// # Errors
    /// When nobody has.
    pub fn judge(&self, key: &[u8]) -> Result<Arc<Verified>, Failure> {
        let keys = self.keys.now();
        let keys = &keys.value;
        let found = keys.list.find(key).and_then(|at| keys.known.get(at));
        found.cloned().ok_or(Failure::Credentials("no such API key"))
    }
}

fn known(auth: &Arc<str>, mapping: &[(String, http::HeaderName)], entry: &Entry) -> Arc<Verified> {
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), Value::from(&*entry.name));
    if let Some(plan) = &entry.plan {
        claims.insert("plan".to_owned(), Value::from(&**plan));
    }
    let fields = headers::fields(mapping, &claims);
    let (subject, plan) = (Some(entry.name.clone()), entry.plan.clone());
    Arc::new(Verified::lasting(Identity { auth: auth.clone(), subject, plan, claims }, fields))
}
