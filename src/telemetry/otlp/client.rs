//! The connection to a collector: HTTP/1.1, kept between requests, over TLS where the URL says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Collector;
use super::proto::Response;
use super::wait::retry_after;
use crate::base::tls::{self, TlsError};
use crate::base::{clock, tasks};

/// Time for one request, the connection included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken, but for so many spans, for this reason.
    Taken(u64, String),
    /// It was not, and may be sent again, after this time if it was told.
    Later(String, Option<Duration>),
    /// It was not, and never will be.
    Refused(String),
}

/// Talks to one collector.
pub(super) struct Client {
    collector: Collector,
    uri: Uri,
    connection: Option<(SendRequest<Full<Bytes>>, tasks::Task)>,
}

impl Client {
    /// For this collector; nothing is connected yet. None where its URL is none.
    pub(super) fn new(collector: Collector) -> Option<Self> {
        let base = collector.url.trim_end_matches('/');
        let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let uri: Uri = url.parse().ok().filter(|uri: &Uri| uri.authority().is_some())?;
        Some(Self { collector, uri, connection: None })
    }

    /// What all spans are from.
    pub(super) fn collector(&self) -> &Collector {
        &self.collector
    }

    /// Sends a request, over the connection that there is or a new one.
    pub(super) async fn send(&mut self, body: Bytes) -> Outcome {
        match tokio::time::timeout(PATIENCE, self.ask(body)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                self.connection = None;
                Outcome::Later(error, None)
            }
            Err(_) => {
                self.connection = None;
                Outcome::Later("no answer within 10 s".to_owned(), None)
            }
        }
    }

    async fn ask(&mut self, body: Bytes) -> Result<Outcome, String> {
        let usable = self.connection.as_ref().is_some_and(|(sender, _)| !sender.is_closed());
        if !usable {
            self.connection = Some(self.connect().await?);
        }
        let request = self.request(body)?;
        let Some((sender, _)) = &mut self.connection else { return Err("no connection".to_owned()) };
        sender.ready().await.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map_err(|error| error.to_string())?.to_bytes();
        let told = head.headers.get(RETRY_AFTER).and_then(|field| field.to_str().ok());
        let told = told.and_then(|field| retry_after(field, clock::unix_seconds()));
        Ok(judge(head.status.as_u16(), told, &body))
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(target)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.collector.headers.iter().cloned());
        Ok(request)
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, tasks::Task), String> {
        let (port, encrypted) = tls::port(&self.uri);
        let stream = TcpStream::connect((tls::host(&self.uri), port))
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        if !encrypted {
            return speak(stream).await;
        }
        let untrusted = |error: TlsError| format!("no trusted TLS connection: {error}");
        let config = tls::trusting(None).await.map_err(untrusted)?;
        speak(tls::encrypt(Arc::new(config), stream, &self.uri).await.map_err(untrusted)?).await
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(SendRequest<Full<Bytes>>, tasks::Task), String> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    Ok((sender, tasks::spawn(async move { drop(connection.await) })))
}

/// What an answer means (OTLP 1.x, "OTLP/HTTP Response").
fn judge(status: u16, told: Option<Duration>, body: &[u8]) -> Outcome {
    match status {
        200..=299 => {
            // An answer that is none is still a success.
            let rejected = Response::decode(body).ok().and_then(|response| response.partial_success);
            let rejected = rejected.unwrap_or_default();
            Outcome::Taken(u64::try_from(rejected.rejected_spans).unwrap_or(0), rejected.error_message)
        }
        429 | 502 | 503 | 504 => Outcome::Later(format!("the answer has status {status}"), told),
        _ => Outcome::Refused(format!("the answer has status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::proto::PartialSuccess;

    #[test]
    fn only_what_the_protocol_says_is_sent_again() {
        let told = Some(Duration::from_secs(3));
        for status in [429, 502, 503, 504] {
            assert!(matches!(judge(status, told, b""), Outcome::Later(_, Some(_))), "{status}");
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert!(matches!(judge(status, told, b""), Outcome::Refused(_)), "{status}");
        }
        assert_eq!(judge(200, None, b""), Outcome::Taken(0, String::new()));
        assert_eq!(judge(202, None, b"no message at all"), Outcome::Taken(0, String::new()));
        let partial = PartialSuccess { rejected_spans: 2, error_message: "old".to_owned() };
        let body = Response { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(judge(200, None, &body), Outcome::Taken(2, "old".to_owned()));
    }

    #[test]
    fn spans_go_below_the_base_url() {
        let at = |url: &str| {
            let collector = Collector { url: url.to_owned(), headers: Vec::new(), resource: Vec::new() };
            Some(Client::new(collector)?.uri.to_string())
        };
        assert_eq!(at("http://c:4318").as_deref(), Some("http://c:4318/v1/traces"));
        assert_eq!(at("https://c/otlp/").as_deref(), Some("https://c/otlp/v1/traces"));
        assert_eq!(at("http://c/v1/traces").as_deref(), Some("http://c/v1/traces"));
        assert_eq!(at("nothing"), None);
    }
}
