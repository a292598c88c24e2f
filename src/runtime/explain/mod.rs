//! What would become of a request, and why, without sending anything: which route takes it, what each layer says in its
//! turn, and what the upstream would see. It asks the router, the routes, the layers and the upstream themselves, so that
//! it cannot say anything else than what happens.

mod layers;
mod routing;
mod text;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method};
use serde::{Serialize, Serializer};

use self::layers::Walk;
use super::snapshot::Snapshot;
use crate::base::body::RequestBody;
use crate::base::exchange::Exchange;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;
use crate::layers::auth::examine::Finding;
use crate::layers::cache;
use crate::layers::gate::Waiting;
use crate::layers::rate_limit::explain::Explained;
use crate::upstream::status::AddressState;

/// How far an explanation goes to find something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It only looks: nothing is counted, taken or asked of anybody, so that a gateway that runs does not notice.
    Looking,
    /// It does what a request does, in a snapshot that serves nobody.
    Trying,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Something from the network.
    Network,
    /// Something that this machine works out.
    Machine,
}

/// Waits for something where that is wanted; false where it is not. Who only looks is not asked about the network.
pub type Wait<'a> = &'a mut dyn FnMut(Patience, Waiting) -> bool;

/// A request whose head was looked at, as a connection would have done.
#[derive(Debug)]
pub struct Question {
    /// Its head, in the canonical form where it has one.
    pub head: http::request::Parts,
    /// What was noted of it.
    pub exchange: Box<Exchange>,
    /// The method as it was written.
    pub method: Method,
    /// The target as it was written.
    pub written: String,
    /// The host, in its canonical form, without its port.
    pub host: String,
    /// Why it has no such form.
    pub refused: Option<Reject>,
}

/// What would become of a request.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Whether a gateway that runs was asked; otherwise a configuration alone.
    pub live: bool,
    /// What was asked.
    pub request: Asked,
    /// The routes whose path takes it, in the order in which they are asked.
    pub routes: Vec<Candidate>,
    /// Routes with other paths.
    pub other_routes: usize,
    /// What each layer of the route says, in their order, up to the first that refuses.
    pub layers: Vec<Step>,
    /// Layers that the route does not use.
    pub unused_layers: Vec<&'static str>,
    /// Where it would go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Onward>,
    /// What the client would get.
    pub outcome: Outcome,
}

/// A request as the gateway reads it.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The target as it was written.
    pub written: String,
    /// The target in its canonical form.
    pub target: String,
    /// The host in its canonical form, without its port.
    pub host: String,
    /// Whom the gateway takes for the client.
    pub client: IpAddr,
}

/// A route that may take the request.
#[derive(Debug, Serialize)]
pub struct Candidate {
    /// Its name.
    pub route: String,
    /// Whether it takes the request.
    pub takes: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a layer says.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its name.
    pub layer: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// What it goes by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub says: Vec<String>,
    /// Its checks, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Finding>,
    /// What each limit says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Explained>,
    /// What a cache does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<cache::explain::Explained>,
}

impl Step {
    fn new(layer: &'static str, verdict: Verdict) -> Self {
        Self { layer, verdict, says: Vec::new(), checks: Vec::new(), limits: Vec::new(), cache: None }
    }
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The request goes on.
    Pass,
    /// It does not.
    Refuse,
    /// The layer answers it.
    Answer,
    /// It would not, if the layer did more than observe.
    Observe,
    /// Nobody can tell from here.
    Open,
}

/// Where a request would go.
#[derive(Debug, Serialize)]
pub struct Onward {
    /// The upstream.
    pub name: String,
    /// Where its addresses come from.
    pub source: String,
    /// How one is chosen.
    pub balance: String,
    /// Whether that has answered; a name is only asked where that is wanted.
    pub asked: bool,
    /// The addresses that are known.
    pub addresses: Vec<Place>,
    /// What would be sent: the request line's method and target, then the fields; what proves who somebody is shows as
    /// `***`.
    pub sends: Sends,
}

/// An address.
#[derive(Debug, Serialize)]
pub struct Place {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it takes requests.
    pub state: AddressState,
    /// Why it is in that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A head as the upstream would see it.
#[derive(Debug, Serialize)]
pub struct Sends {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The fields.
    #[serde(serialize_with = "pairs")]
    pub fields: HeaderMap,
}

/// What the client would get.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// The answer of the upstream.
    Forwarded,
    /// That, if the layers pass that cannot be asked from here.
    Open {
        /// They will not: what is known by now is reason enough.
        refused_anyway: bool,
    },
    /// An answer of the gateway's own.
    Answered {
        /// Its status.
        status: u16,
        /// The layer that answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        layer: Option<&'static str>,
    },
    /// A refusal.
    Refused {
        /// Its status.
        status: u16,
        /// The word for programs.
        code: &'static str,
        /// What the client reads.
        detail: String,
        /// What only the log says.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// The layer that refuses; none where it was decided before.
        #[serde(skip_serializing_if = "Option::is_none")]
        layer: Option<&'static str>,
    },
}

impl Outcome {
    fn refused(reject: &Reject, layer: Option<&'static str>) -> Self {
        let facts = reject.reason.facts();
        Self::Refused {
            status: facts.status.as_u16(),
            code: facts.code,
            detail: reject.detail.to_string(),
            cause: reject.cause.as_ref().map(ToString::to_string),
            layer,
        }
    }
}

/// Explains a request to what runs. `wait` is asked where a layer would have to wait for somebody else.
pub fn explain(snapshot: &Snapshot, question: Question, reach: Reach, wait: Wait<'_>) -> Explanation {
    let Question { head, exchange, method, written, host, refused } = question;
    let request =
        Asked { method: method.to_string(), written, target: head.uri.to_string(), host, client: exchange.client };
    let nothing = |outcome| (Vec::new(), 0, Vec::new(), Vec::new(), None, outcome);
    let (routes, other_routes, layers, unused_layers, upstream, outcome) = match refused {
        Some(reject) => nothing(Outcome::refused(&reject, None)),
        None if head.uri.path() == "*" => nothing(Outcome::Answered { status: 204, layer: None }),
        None => {
            let found = routing::find(snapshot, &request.host, &head);
            match found.chosen {
                Ok(Some(route)) => {
                    let request = Request { head: Box::new(head), body: RequestBody::EMPTY, exchange };
                    let (steps, unused, upstream, outcome) = Walk::through(&route, request, reach, wait);
                    (found.candidates, found.others, steps, unused, upstream, outcome)
                }
                Ok(None) => {
                    let reject = Reject::new(Reason::NoRoute, "no route takes this host and path");
                    (found.candidates, found.others, Vec::new(), Vec::new(), None, Outcome::refused(&reject, None))
                }
                Err(reject) => {
                    (found.candidates, found.others, Vec::new(), Vec::new(), None, Outcome::refused(&reject, None))
                }
            }
        }
    };
    Explanation { live: false, request, routes, other_routes, layers, unused_layers, upstream, outcome }
}

/// Fields as a list of names and values.
fn pairs<S: Serializer>(fields: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let lines = fields.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    serializer.collect_seq(lines)
}
