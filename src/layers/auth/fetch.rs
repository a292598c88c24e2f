//! Gets a document from an issuer: over TLS, within a time, up to a size, from the host that was named and no other. One
//! connection a document; they are fetched rarely, and never by a request.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, HOST, HeaderMap, LOCATION, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::base::tasks;
use crate::base::tls::{self, TlsError};

/// Time for a document, redirects included.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest document, in bytes.
pub const LARGEST: usize = 1 << 20;
/// Most redirects.
const REDIRECTS: usize = 3;

/// A document.
#[derive(Debug)]
pub struct Document {
    /// What it holds.
    pub body: Bytes,
    /// How long its sender says that it is good for (RFC 9111 §4.2.1).
    pub max_age: Option<Duration>,
}

/// Why there is none.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Not a URL that may be asked.
    #[error("`{0}` is not an https URL")]
    Url(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No TLS, or a certificate that nobody vouches for.
    #[error("no trusted TLS connection: {0}")]
    Tls(#[from] TlsError),
    /// It took too long.
    #[error("no answer within 3 s")]
    Timeout,
    /// Not HTTP.
    #[error("not an HTTP answer: {0}")]
    Protocol(String),
    /// Another status than 200.
    #[error("the answer has status {0}")]
    Status(u16),
    /// It leads to another host, or nowhere.
    #[error("redirected to `{0}`, where nobody said that keys are")]
    Redirect(String),
    /// Larger than [`LARGEST`].
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    /// Not what it should be.
    #[error("{0}")]
    Content(String),
}

impl FetchError {
    /// Every word for it in metrics.
    pub const WORDS: [&str; 8] =
        ["redirect", "connect", "tls", "timeout", "protocol", "status", "too_large", "content"];

    /// Its word in metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Redirect(_) => "redirect",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::Protocol(_) => "protocol",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Content(_) => "content",
        }
    }
}

/// How documents may be had.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Whether without TLS too.
    pub allow_http: bool,
    /// A PEM file of the authorities that vouch for issuers, instead of the system's.
    pub ca: Option<PathBuf>,
}

impl Fetcher {
    /// Gets the document behind a URL.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn get(&self, url: &str) -> Result<Document, FetchError> {
        tokio::time::timeout(PATIENCE, self.follow(url)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn follow(&self, url: &str) -> Result<Document, FetchError> {
        let mut url = self.parse(url).ok_or_else(|| FetchError::Url(url.to_owned()))?;
        for _ in 0..=REDIRECTS {
            let connection = connect(&url).await?;
            let answer = match url.scheme_str() {
                Some("https") => ask(self.encrypt(connection, &url).await?, &url).await?,
                _ => ask(connection, &url).await?,
            };
            match answer {
                Answer::Document(document) => return Ok(document),
                Answer::Elsewhere(location) => {
                    url = self.redirected(&url, &location).ok_or(FetchError::Redirect(location))?;
                }
            }
        }
        Err(FetchError::Redirect(url.to_string()))
    }

    /// A URL that may be asked.
    fn parse(&self, url: &str) -> Option<Uri> {
        let uri: Uri = url.parse().ok()?;
        let sound = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let scheme = uri.scheme_str()?;
        (sound && (scheme == "https" || scheme == "http" && self.allow_http)).then_some(uri)
    }

    /// Where a redirect leads, if it stays where it was.
    fn redirected(&self, from: &Uri, location: &str) -> Option<Uri> {
        let absolute = match location.starts_with('/') && !location.starts_with("//") {
            true => format!("{}://{}{location}", from.scheme_str()?, from.authority()?),
            false => location.to_owned(),
        };
        let to = self.parse(&absolute)?;
        (to.scheme() == from.scheme() && to.authority() == from.authority()).then_some(to)
    }

    async fn encrypt(&self, stream: TcpStream, url: &Uri) -> Result<TlsStream<TcpStream>, FetchError> {
        let config = tls::trusting(self.ca.clone()).await?;
        Ok(tls::encrypt(Arc::new(config), stream, url).await?)
    }
}

async fn connect(url: &Uri) -> Result<TcpStream, FetchError> {
    let stream = TcpStream::connect((tls::host(url), tls::port(url).0)).await;
    stream.map_err(FetchError::Connect)
}

enum Answer {
    Document(Document),
    Elsewhere(String),
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Uri) -> Result<Answer, FetchError> {
    let protocol = |error: hyper::Error| FetchError::Protocol(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
    let _driving = tasks::spawn(async move { drop(connection.await) });
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target)
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, "application/json, application/jwk-set+json")
        .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Protocol(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(protocol)?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> Result<Answer, FetchError> {
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        return Ok(Answer::Elsewhere(location.unwrap_or_default().to_owned()));
    }
    if status != http::StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    let max_age = max_age(response.headers());
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
        Ok(_) => FetchError::TooLarge,
        Err(error) => FetchError::Protocol(error.to_string()),
    })?;
    Ok(Answer::Document(Document { body: body.to_bytes(), max_age }))
}

/// How long an answer is good for from now on (RFC 9111 §4.2.1, §5.2.2); zero where it must not be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let is = |name: &str| directives.iter().any(|directive| directive.eq_ignore_ascii_case(name));
    if is("no-store") || is("no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = directives.iter().find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    })?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    Some(Duration::from_secs(seconds.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_where_it_was() {
        let fetcher = |allow_http| Fetcher { allow_http, ca: None };
        let from: Uri = "https://a.example/keys".parse().unwrap();
        let to = |location: &str| fetcher(true).redirected(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/other?x").as_deref(), Some("https://a.example/other?x"));
        assert_eq!(to("https://a.example/b").as_deref(), Some("https://a.example/b"));
        for location in [
            "https://b.example/keys",
            "http://a.example/keys",
            "https://a.example:8443/keys",
            "//b.example/keys",
            "https://a.example@b.example/",
            "ftp://a.example/",
            "keys",
            "",
        ] {
            assert_eq!(to(location), None, "{location}");
        }
        assert!(fetcher(false).parse("http://a/").is_none() && fetcher(true).parse("http://a/").is_some());
    }

    #[test]
    fn an_answer_says_how_long_it_is_good() {
        let age = |line: &'static str, age: &'static str| {
            let fields = [(CACHE_CONTROL, line.parse().unwrap()), (AGE, age.parse().unwrap())];
            max_age(&fields.into_iter().collect()).map(|age| age.as_secs())
        };
        assert_eq!(age("public, Max-Age=300", "x"), Some(300));
        assert_eq!(age("max-age=\"300\"", "100"), Some(200));
        assert_eq!(age("max-age=300, no-cache", ""), Some(0));
        assert_eq!(age("s-maxage=9", "0"), None);
        assert_eq!(age("max-age=-1", "0"), None);
        assert_eq!(age("max-age=10", "20"), Some(0));
    }
}
