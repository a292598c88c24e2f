//! A request explained from a configuration alone: the snapshot is built as a gateway builds it, on a runtime that does
//! not run. So no name is looked up, no key is fetched and nothing is sent, unless that is asked for. Or explained by the
//! snapshot of a gateway that runs, which does not notice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::runtime::{Handle, Runtime};

use super::adjust::limits;
use crate::admin::explain::Order;
use crate::base::client::Client;
use crate::base::clock;
use crate::base::exchange::{Exchange, Origin};
use crate::base::headers;
use crate::config::Config;
use crate::layers::gate::Waiting;
use crate::runtime::build::{Tools, build};
use crate::runtime::explain::{self, Explanation, Patience, Question, Reach};
use crate::runtime::snapshot::Snapshot;
use crate::serve::examine::{examine, name_of, take_token};
use crate::serve::reading::read;
use crate::telemetry::recorder::Recorder;

/// How long names may take to be answered, where they are asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request as a client would send it.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// The method.
    pub method: Method,
    /// The target, as the request line has it.
    pub target: String,
    /// The fields.
    pub fields: HeaderMap,
    /// Where the connection comes from.
    pub peer: IpAddr,
    /// Whether names are looked up and keys fetched.
    pub online: bool,
}

/// What would become of a request in a gateway that runs with this. Passwords are tried on the runtime behind `here`.
///
/// # Errors
/// When it is no request at all.
pub(super) fn live(snapshot: &Snapshot, order: &Order, here: &Handle) -> Result<Explanation, String> {
    let method = order.method.parse().map_err(|_| format!("`{}` is no method", order.method.escape_debug()))?;
    let mut fields = HeaderMap::new();
    for (name, value) in &order.headers {
        let name =
            name.parse::<HeaderName>().map_err(|_| format!("`{}` is no name of a field", name.escape_debug()))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("the value of {name} is none of a field"))?;
        fields.append(name, value);
    }
    let question = Inquiry::new(method, &order.url, fields, order.from)?.question(snapshot.config());
    let mut wait = |what: Patience, waiting: Waiting| {
        if what == Patience::Machine {
            here.block_on(waiting);
        }
        what == Patience::Machine
    };
    let explanation = explain::explain(snapshot, question, Reach::Looking, &mut wait);
    Ok(Explanation { live: true, ..explanation })
}

impl Inquiry {
    /// A request to a URL, `http://host/path`, or to a path. The path is taken as it is written.
    ///
    /// # Errors
    /// When the URL has no host, or would be more than one line.
    pub fn new(method: Method, url: &str, mut fields: HeaderMap, peer: IpAddr) -> Result<Self, String> {
        let url = url.split('#').next().unwrap_or_default();
        if url.contains(['\r', '\n']) {
            return Err("the URL has a line break".to_owned());
        }
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let target = match rest {
            None => url.to_owned(),
            Some(rest) => {
                let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                let host: Authority = host.parse().map_err(|error| format!("`{host}` is not a host: {error}"))?;
                let host = HeaderValue::from_str(host.as_str()).map_err(|error| error.to_string())?;
                // Who gives a field for it means that.
                fields.entry(HOST).or_insert(host);
                if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
            }
        };
        Ok(Self { method, target, fields, peer, online: false })
    }

    /// What would become of it in a gateway with this configuration.
    ///
    /// # Errors
    /// When the system has no randomness, or no runtime.
    pub fn explain(&self, config: &Config) -> io::Result<Explanation> {
        // Until somebody blocks on it, nothing that was started there moves.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let explanation = self.explain_on(&runtime, config);
        // Nothing there is worth waiting for, and the caller may be somewhere where nobody may wait.
        runtime.shutdown_background();
        explanation
    }

    fn explain_on(&self, runtime: &Runtime, config: &Config) -> io::Result<Explanation> {
        // What this machine works out goes on, so that nothing else has to.
        let aside = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tools = Tools::new(config, 1, &Arc::new(Recorder::default()), runtime.handle())?;
        let tools = Tools { local: aside.handle().clone(), ..tools };
        let snapshot = build(config, &tools).complete(&tools);
        let question = self.question(config);
        let mut wait = |what: Patience, waiting: Waiting| {
            match what {
                Patience::Machine => aside.block_on(waiting),
                Patience::Network => runtime.block_on(waiting),
            }
            true
        };
        if self.online {
            runtime.block_on(async {
                let all = async {
                    while snapshot.upstreams().iter().any(|upstream| !upstream.has_been_heard()) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                let _ = tokio::time::timeout(PATIENCE, all).await;
            });
        }
        let reach = if self.online { Reach::Trying } else { Reach::Looking };
        let explanation = explain::explain(&snapshot, question, reach, &mut wait);
        aside.shutdown_background();
        Ok(explanation)
    }

    /// Looks at the head as a connection would.
    fn question(&self, config: &Config) -> Question {
        let limits = limits(&config.server);
        let (mut head, mut refused) = match read(&self.head(), &limits) {
            Ok(head) => (head, None),
            Err(reject) => (http::Request::new(()).into_parts().0, Some(*reject)),
        };
        let trusted = headers::is_trusted(self.peer, &limits.trusted);
        let origin = Origin { peer: SocketAddr::new(self.peer, 0), trusted, scheme: "http", worker: 0 };
        let busy = Client::new(self.peer, Vec::new()).begin(false);
        let mut exchange = Box::new(Exchange::new(origin, busy, clock::now(), &head));
        if refused.is_none() {
            refused = examine(&mut head, &mut exchange, &limits).err();
        }
        if exchange.survey.account {
            take_token(&mut head, &mut exchange, None);
        }
        let host = exchange.host.as_ref().map_or("", name_of).to_owned();
        let (method, written) = (self.method.clone(), self.target.clone());
        Question { head, exchange, method, written, host, refused }
    }

    /// The head as it would be sent.
    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
