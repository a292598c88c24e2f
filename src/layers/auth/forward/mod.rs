//! The word of a service: it is asked about each request by a request of its own, without the body. What it answers with
//! 2xx passes, with what the answer says of who asks; any other answer is the client's. No answer is no pass.

mod addresses;
mod service;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE, TE,
};
use http::{Method, Response, StatusCode, Uri};
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use self::service::Service;
use super::failure::Failure;
use super::policy::ForwardPolicy;
use super::tally::{Kind, Tally};
use super::verified::Verified;
use crate::base::added::Added;
use crate::base::body::ResponseBody;
use crate::base::headers::{join_cookies, remove_hop_by_hop, remove_surveyed};
use crate::base::identity::{Identity, Reserved};
use crate::base::request::{Reply, Request};
use crate::base::seat::Seats;
use crate::telemetry::recorder::Recorder;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Fields that belong to the body, or to the answer that the client has in mind: neither is the service's business.
const NOT_ASKED: [HeaderName; 8] =
    [CONTENT_LENGTH, TE, RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];

/// Asks a service by one policy.
#[derive(Debug)]
pub struct Forward {
    /// Its name and numbers.
    pub tally: Tally,
    policy: ForwardPolicy,
    service: Option<Service>,
    /// The authority of its URL.
    host: HeaderValue,
    /// What no client may say in a question.
    ours: Reserved,
    asking: Arc<Seats>,
}

/// What the service has said.
#[derive(Debug)]
pub enum Word {
    /// The request may pass, and this is who asks.
    Pass(Arc<Verified>),
    /// It may not, and this is the answer to it.
    Answer(Reply),
}

impl Forward {
    /// Begins to keep the service's addresses, on the runtime behind `control`.
    pub fn start(
        name: &str,
        policy: &ForwardPolicy,
        workers: usize,
        control: &Handle,
        recorder: &Recorder,
    ) -> Arc<Self> {
        let url: Option<Uri> = policy.url.parse().ok();
        let authority = url.as_ref().and_then(|url| url.authority()).map(|authority| authority.as_str());
        Arc::new(Self {
            tally: Tally::new(name, Kind::Service, true, recorder),
            host: authority.and_then(|text| text.parse().ok()).unwrap_or(HeaderValue::from_static("localhost")),
            service: url.map(|url| Service::start(name, url, policy.ca.clone(), workers, control)),
            ours: Reserved::new([X_FORWARDED_METHOD, X_FORWARDED_URI]),
            asking: Arc::default(),
            policy: policy.clone(),
        })
    }

    /// Asks about a request. Takes what it needs of it now, and the time until `deadline` or its own `timeout`.
    ///
    /// # Errors
    /// When too many are being asked about already.
    pub fn ask(
        self: &Arc<Self>,
        request: &Request,
        now: Instant,
    ) -> Result<impl Future<Output = Result<Word, Failure>> + Send + use<>, Failure> {
        let seat = self.asking.try_take(self.policy.max_in_flight);
        let seat = seat.ok_or(Failure::Overloaded("as many questions as allowed are being asked"))?;
        let question = self.question(request);
        let worker = request.exchange.origin.worker;
        let until = now + self.policy.timeout;
        let until = request.exchange.deadline.map_or(until, |deadline| deadline.min(until));
        let (forward, method) = (self.clone(), request.exchange.method.clone());
        Ok(async move {
            let _seat = seat;
            let Some(service) = &forward.service else {
                return Err(Failure::Unavailable("its URL is none".to_owned()));
            };
            let asked = tokio::time::timeout_at(until.into(), service.ask(worker, &question)).await;
            match asked {
                Err(_) => Err(Failure::Unavailable("no answer in time".to_owned())),
                Ok(Err(error)) => Err(Failure::Unavailable(error.to_string())),
                Ok(Ok(answer)) => Ok(forward.word(answer, &method)),
            }
        })
    }

    /// The fields of the question: those of the request, but for what ends at this hop, and what it is about.
    fn question(&self, request: &Request) -> HeaderMap {
        let (mut fields, exchange) = (request.head.headers.clone(), &request.exchange);
        remove_surveyed(&mut fields, &exchange.survey);
        for name in NOT_ASKED {
            fields.remove(name);
        }
        self.ours.remove_from(&mut fields, exchange.survey.underscore);
        join_cookies(&mut fields);
        fields.remove(HOST);
        Added::new(&mut fields, exchange, Some(self.host.clone())).merge(exchange, &mut fields);
        let method = HeaderValue::from_str(exchange.method.as_str());
        fields.extend(method.ok().map(|method| (X_FORWARDED_METHOD, method)));
        let target = HeaderValue::from_str(exchange.target.path_and_query().map_or("/", |target| target.as_str()));
        fields.extend(target.ok().map(|target| (X_FORWARDED_URI, target)));
        fields
    }

    /// What an answer means.
    fn word(&self, answer: Response<Bytes>, method: &Method) -> Word {
        match answer.status().is_success() {
            true => Word::Pass(Arc::new(self.vouch(answer.headers()))),
            false => Word::Answer(reply(answer, method)),
        }
    }

    /// Who asks, by these fields alone.
    fn vouch(&self, said: &HeaderMap) -> Verified {
        let line = |name: &HeaderName| {
            let lines: Vec<&str> = said.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
            (!lines.is_empty()).then(|| lines.join(","))
        };
        let told = self.policy.copy_headers.iter().chain(&self.policy.subject_header);
        let claims: Map<String, Value> =
            told.filter_map(|name| Some((name.to_string(), Value::from(line(name)?)))).collect();
        let fields = self.policy.copy_headers.iter();
        let fields = fields.flat_map(|name| said.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        let subject = self.policy.subject_header.as_ref().and_then(line).filter(|subject| !subject.is_empty());
        let auth = self.tally.name.clone();
        let identity = Identity { auth, subject: subject.map(Into::into), plan: None, claims };
        Verified::lasting(identity, fields.collect())
    }
}

/// The service's answer as the client's: without what belongs to the connection that it came on.
fn reply(answer: Response<Bytes>, method: &Method) -> Reply {
    let (mut head, body) = answer.into_parts();
    remove_hop_by_hop(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    head.version = http::Version::default();
    head.extensions.clear();
    let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return Reply { head, body: ResponseBody::Empty };
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let body = if *method == Method::HEAD { ResponseBody::Empty } else { ResponseBody::Full(body) };
    Reply { head, body }
}
