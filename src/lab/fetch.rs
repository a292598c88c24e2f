//! One request over a connection of its own, its answer whole: for trials that ask a few things. HTTP/1.1 over plain
//! TCP, bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::base::tasks::{self, Task};
use crate::lab::probe::Target;

/// Time for the whole of it.
const TIME: Duration = Duration::from_secs(10);
/// Bytes of a body.
const MOST: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Nobody listens there.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The answer is no HTTP, or broke off.
    #[error("no answer: {0}")]
    Answer(#[from] hyper::Error),
    /// A body that is too long, or broke off.
    #[error("the body broke off, or has more than 1 MiB")]
    Body,
    /// It took too long.
    #[error("no answer within 10 s")]
    Time,
}

/// GET with these fields; `host` is the target's own.
///
/// # Errors
/// There is no whole answer.
pub async fn get(target: &Target, fields: &HeaderMap) -> Result<(StatusCode, Bytes), FetchError> {
    ask(Method::GET, target, fields, Bytes::new()).await
}

/// POST with these fields and this body.
///
/// # Errors
/// There is no whole answer.
pub async fn post(
    target: &Target,
    fields: &HeaderMap,
    body: impl Into<Bytes>,
) -> Result<(StatusCode, Bytes), FetchError> {
    ask(Method::POST, target, fields, body.into()).await
}

async fn ask(
    method: Method,
    target: &Target,
    fields: &HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Bytes), FetchError> {
    tokio::time::timeout(TIME, send(method, target, fields, body)).await.unwrap_or(Err(FetchError::Time))
}

async fn send(
    method: Method,
    target: &Target,
    fields: &HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Bytes), FetchError> {
    let (response, _driver) = open(method, target, fields, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|_| FetchError::Body)?;
    Ok((status, body.to_bytes()))
}

/// The head of an answer whose body is still to come, for as long as the task lives.
pub(super) async fn open(
    method: Method,
    target: &Target,
    fields: &HeaderMap,
    body: Bytes,
) -> Result<(Response<Incoming>, Task), FetchError> {
    let stream = TcpStream::connect(target.address()).await;
    let stream = stream.map_err(|error| FetchError::Connect(target.address().to_owned(), error))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let driver = tasks::spawn(async move { drop(connection.await) });
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.path().into();
    *request.headers_mut() = fields.clone();
    request.headers_mut().insert(header::HOST, target.host().clone());
    Ok((sender.send_request(request).await?, driver))
}
