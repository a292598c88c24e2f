//! `tollgate explain`

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use tollgate::admin::explain::{Order, TEXT};
use tollgate::app::explain::Inquiry;

use crate::operators::{Operators, Token};
use crate::probe::field;
use crate::source::Source;
use crate::{Exit, io, runtime};

/// Say what would become of a request, and why: the route that takes it, the verdict of each layer, and what the upstream
/// would see. Nothing is sent, and no gateway need run; one that does is asked with --live.
#[derive(Args, Debug)]
#[command(after_help = "Exit code 0 when it could be explained, whatever becomes of the request.")]
pub(crate) struct Explain {
    #[command(flatten)]
    source: Source,
    /// Method of the request
    #[arg(value_name = "METHOD")]
    method: Method,
    /// http://host[:port]/path, or a path; taken as it is written
    #[arg(value_name = "URL")]
    url: String,
    /// Field of the request, may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Address that the connection comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// Look names up and fetch keys, as a gateway does when it starts
    #[arg(long)]
    online: bool,
    /// Ask a gateway that runs instead of the configuration file: with its addresses, its keys, its limits and its cache
    /// as they are. It only looks
    #[arg(long, conflicts_with = "online")]
    live: bool,
    #[command(flatten)]
    operators: Operators,
    #[command(flatten)]
    token: Token,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(&self) -> Exit {
        if self.live {
            return runtime::block_on(self.ask());
        }
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let mut fields = HeaderMap::new();
        for (name, value) in &self.headers {
            fields.append(name, value.clone());
        }
        let mut inquiry = match Inquiry::new(self.method.clone(), &self.url, fields, self.from) {
            Ok(inquiry) => inquiry,
            Err(error) => return complain(&error, Exit::Problem),
        };
        inquiry.online = self.online;
        match inquiry.explain(&loaded.config) {
            Ok(explanation) if self.json => match serde_json::to_string_pretty(&explanation) {
                Ok(text) => io::print(&(text + "\n")),
                Err(error) => complain(&error.to_string(), Exit::Problem),
            },
            Ok(explanation) => io::print(&explanation.to_string()),
            Err(error) => complain(&format!("cannot start: {error}"), Exit::Unavailable),
        }
    }

    /// Has a gateway that runs explain it.
    async fn ask(&self) -> Exit {
        let text = |(name, value): &(HeaderName, HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let order = Order {
            method: self.method.to_string(),
            url: self.url.clone(),
            headers: self.headers.iter().map(text).collect(),
            from: self.from,
        };
        let accept = (!self.json).then_some((ACCEPT, TEXT)).into_iter().collect();
        match self.operators.post("/api/v1/explain", &order, &self.token, accept).await {
            Ok(answer) if self.json => {
                let pretty =
                    serde_json::from_str::<Value>(&answer).and_then(|value| serde_json::to_string_pretty(&value));
                io::print(&(pretty.unwrap_or(answer) + "\n"))
            }
            Ok(answer) => io::print(&answer),
            Err(problem) => complain(&problem, Exit::Problem),
        }
    }
}

fn complain(error: &str, exit: Exit) -> Exit {
    io::complain(&format!("error: {error}\n"));
    exit
}
