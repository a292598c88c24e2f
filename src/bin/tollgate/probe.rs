//! `tollgate probe`: who answers, how fast, how often not. Only flags and printing; the probe is in the library.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate::base::units::parse_duration;
use tollgate::lab::probe::{self, Options, Target};

use crate::{Exit, io, runtime};

/// Send requests to a URL; print how many each backend answered, the statuses and the latency
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 when a request got no answer, or one that is neither 2xx nor 3xx.")]
pub(crate) struct Probe {
    /// http://host[:port]/path
    url: Target,
    /// Number of requests, over all connections
    #[arg(short = 'n', long, default_value_t = 30, value_name = "N")]
    requests: u64,
    /// Number of connections
    #[arg(short = 'c', long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Field to send, may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Time for one request: 500ms, 10s, 1min
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = parse_duration)]
    timeout: Duration,
}

impl Probe {
    pub(crate) fn run(&self) -> Exit {
        runtime::block_on(async {
            let report = probe::run(&Options {
                target: self.url.clone(),
                requests: self.requests,
                connections: self.connections.into(),
                headers: self.headers.iter().cloned().collect::<HeaderMap>(),
                timeout: self.timeout,
            })
            .await;
            match io::print(&report.to_string()) {
                Exit::Fine if report.failed() > 0 => Exit::Problem,
                exit => exit,
            }
        })
    }
}

/// A field as it is written: its name, a colon, its value.
pub(crate) fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("it needs a colon: 'Name: value'")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a field name"))?;
    let value = value.trim().parse().map_err(|_| "the value has a character that no field may have".to_owned())?;
    Ok((name, value))
}
