//! Responses made of what is stored: whole, in part, or only that nothing has changed.

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    LAST_MODIFIED,
};
use http::{StatusCode, response};

use super::ask::Ask;
use super::freshness::Moment;
use super::range::{self, Slice};
use super::validation::is_not_modified;
use crate::base::body::ResponseBody;
use crate::base::exchange::Exchange;
use crate::base::request::Response;

/// The body that an answer is made of.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Whole(Bytes),
    /// What comes, from its beginning.
    Coming(ResponseBody),
}

/// The answer to a request, whose fields are `client`, made of this head and body.
pub fn answer(
    mut head: response::Parts,
    content: Content,
    (ask, client): (&Ask, &HeaderMap),
    now: Moment,
    exchange: Box<Exchange>,
) -> Response {
    let unmodified = ask.conditional && head.status.is_success();
    if unmodified && is_not_modified(client, &head.headers, now.unix, now.unix) {
        return Response { head: unchanged(head), body: ResponseBody::Empty, exchange };
    }
    let full = |bytes: Bytes| if bytes.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(bytes) };
    let body = match content {
        _ if ask.head => ResponseBody::Empty,
        Content::Whole(whole) if ask.range && head.status == StatusCode::OK => {
            full(part(&mut head, &whole, client, now))
        }
        Content::Whole(whole) => full(whole),
        Content::Coming(body) => body,
    };
    Response { head, body, exchange }
}

/// The part of a body that the client asks for, and what the head has to say of it (RFC 9110 §14.4, §15.3.7).
fn part(head: &mut response::Parts, whole: &Bytes, client: &HeaderMap, now: Moment) -> Bytes {
    let (status, range, bytes) = match range::slice(client, &head.headers, whole.len(), now.unix) {
        Slice::Whole => return whole.clone(),
        Slice::Part(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, whole.len());
            (StatusCode::PARTIAL_CONTENT, text, whole.slice(range))
        }
        Slice::Nowhere => {
            head.headers.remove(CONTENT_ENCODING);
            (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{}", whole.len()), Bytes::new())
        }
    };
    head.status = status;
    if let Ok(range) = HeaderValue::try_from(range) {
        head.headers.insert(CONTENT_RANGE, range);
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    bytes
}

/// The same head for a client that has the body (RFC 9110 §15.4.5).
fn unchanged(mut head: response::Parts) -> response::Parts {
    head.status = StatusCode::NOT_MODIFIED;
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, CONTENT_RANGE] {
        head.headers.remove(name);
    }
    if head.headers.contains_key(ETAG) {
        head.headers.remove(LAST_MODIFIED);
    }
    head
}
