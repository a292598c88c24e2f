//! Heads as bytes: how a request is written, what a response says, and how its body is framed. Pure.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};

use super::Malformed;
use crate::base::added::Added;
use crate::base::exchange::Exchange;
use crate::base::headers::{self, Survey};

/// Most fields of a response.
const FIELDS: usize = 256;
/// Most bytes of a response head.
const BYTES: usize = 64 * 1024;

/// Where the names and values of a head lie.
type Spans = Vec<(Range<usize>, Range<usize>)>;

/// The head of a response and what follows from it.
#[derive(Debug)]
pub struct Head {
    /// The head.
    pub response: Response<()>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the connection stays open after the body (RFC 9112 §9.3).
    pub keep: bool,
    /// What its fields are, as they came.
    pub survey: Survey,
}

/// How a response body is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection closes.
    Close,
}

/// Writes the head of a request (RFC 9112 §3): the target in origin form, then the fields in their order, those that are
/// `added` last, but the host first of all.
pub fn write<B>(request: &Request<B>, added: Option<(&Added, &Exchange)>, out: &mut Vec<u8>) {
    out.put_slice(request.method().as_str().as_bytes());
    out.put_u8(b' ');
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // An absolute target may have been a query alone; the path of an origin form is never empty.
    if target.starts_with('?') || target.is_empty() {
        out.put_u8(b'/');
    }
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    if let Some(host) = added.and_then(|(added, exchange)| added.host(exchange)) {
        line(out, HOST.as_str(), host);
    }
    for (name, value) in request.headers() {
        if added.is_none() || name != HOST {
            line(out, name.as_str(), value);
        }
    }
    if let Some((added, exchange)) = added {
        added.each(exchange, |name, value| line(out, name.as_str(), value));
    }
    out.put_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

/// What is kept from one head to the next, so that it need not be allocated again.
#[derive(Debug, Default)]
pub struct Room {
    spans: Spans,
    fields: HeaderMap,
    /// The names of the head before, as they were sent and as they are. An upstream mostly says the same fields again, and
    /// what is known need not be parsed: 30 instructions a field in place of 130, and no allocation for a name that is
    /// not a registered one.
    names: Vec<(Box<[u8]>, HeaderName)>,
}

impl Room {
    /// Takes a map whose fields nobody needs any more.
    pub fn refill(&mut self, mut fields: HeaderMap) {
        fields.clear();
        self.fields = fields;
    }
}

/// Takes a response head from the front of `input` once it is complete (RFC 9112 §4, §5). `to_head` tells whether the
/// request was a `HEAD`.
///
/// # Errors
/// When what is there cannot become one.
pub fn parse(input: &mut BytesMut, room: &mut Room, to_head: bool) -> Result<Option<Head>, Malformed> {
    if input.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut fields) {
        Ok(Status::Complete(length)) if length <= BYTES => length,
        Ok(Status::Partial) if input.len() < BYTES => return Ok(None),
        Ok(_) => return Err(Malformed("the response head is too long")),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("the response has too many fields")),
        Err(_) => return Err(Malformed("what came is not a response head")),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed("no such status"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let usual = parsed.reason.unwrap_or_default() == status.canonical_reason().unwrap_or_default();
    let reason = (!usual).then(|| hyper::ext::ReasonPhrase::try_from(parsed.reason.unwrap_or_default().as_bytes()));
    let start = input.as_ptr().addr();
    // What is empty may lie anywhere, and is no slice of the head.
    let span = |part: &[u8]| {
        let at = if part.is_empty() { 0 } else { part.as_ptr().addr() - start };
        at..at + part.len()
    };
    room.spans.clear();
    room.spans.extend(parsed.headers.iter().map(|field| (span(field.name.as_bytes()), span(field.value))));
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    let survey;
    (*response.headers_mut(), survey) = self::fields(input, length, room)?;
    if let Some(Ok(reason)) = reason {
        response.extensions_mut().insert(reason);
    }
    let (framing, unambiguous) = framing(&mut response, &survey, to_head)?;
    let keep = unambiguous && framing != Framing::Close && stays_open(version, response.headers(), &survey);
    Ok(Some(Head { response, framing, keep, survey }))
}

/// The fields of the first `length` bytes, their values without a copy.
fn fields(input: &mut BytesMut, length: usize, room: &mut Room) -> Result<(HeaderMap, Survey), Malformed> {
    let head = input.split_to(length).freeze();
    let mut fields = std::mem::take(&mut room.fields);
    fields.reserve(room.spans.len() + 1); // the id
    room.names.truncate(room.spans.len());
    let mut survey = Survey::default();
    for (at, (name, value)) in room.spans.iter().enumerate() {
        let value = head.slice(value.clone());
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed("a field's value"))?;
        let name = name_of(&head[name.clone()], at, &mut room.names)?;
        survey.note(name.as_str(), &value);
        fields.try_append(name, value).map_err(|_| Malformed("the response has too many fields"))?;
    }
    Ok((fields, survey))
}

/// The name of the field that stands at this place.
fn name_of(bytes: &[u8], at: usize, known: &mut Vec<(Box<[u8]>, HeaderName)>) -> Result<HeaderName, Malformed> {
    if let Some((sent, name)) = known.get(at)
        && **sent == *bytes
    {
        return Ok(name.clone());
    }
    let name = HeaderName::from_bytes(bytes).map_err(|_| Malformed("a field's name"))?;
    known.truncate(at);
    known.push((bytes.into(), name.clone()));
    Ok(name)
}

/// How the body is framed (RFC 9112 §6.3), and whether that leaves no doubt. Makes one of lengths that agree
/// (RFC 9110 §8.6).
fn framing(response: &mut Response<()>, survey: &Survey, to_head: bool) -> Result<(Framing, bool), Malformed> {
    let (status, version) = (response.status(), response.version());
    let fields = response.headers_mut();
    let length = if survey.lengths > 0 { length(fields, survey)? } else { None };
    let chunked = survey.codings > 0 && is_chunked(fields)?;
    if chunked && version == Version::HTTP_10 {
        return Err(Malformed("HTTP/1.0 has no chunks"));
    }
    let without = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match length {
        _ if without || to_head => Framing::None,
        _ if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    Ok((framing, !(chunked && length.is_some())))
}

/// What all `Content-Length` fields say (RFC 9110 §8.6).
fn length(fields: &mut HeaderMap, survey: &Survey) -> Result<Option<u64>, Malformed> {
    let Some(first) = fields.get(CONTENT_LENGTH) else { return Ok(None) };
    const WRONG: Malformed = Malformed("the content length is not one number");
    let number = |text: &[u8]| {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok()).ok_or(WRONG)
    };
    if survey.lengths == 1 && !first.as_bytes().contains(&b',') {
        return number(first.as_bytes()).map(Some);
    }
    let mut agreed = None;
    for item in fields.get_all(CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        let item = number(item.trim_ascii())?;
        if agreed.replace(item).is_some_and(|before| before != item) {
            return Err(WRONG);
        }
    }
    if let Some(length) = agreed {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(agreed)
}

/// Whether the body is chunked. Nobody asked for another coding, so there is none (RFC 9112 §7.4).
fn is_chunked(fields: &HeaderMap) -> Result<bool, Malformed> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(Malformed("the transfer coding is not chunked, once")),
    }
}

/// Whether the connection stays open (RFC 9112 §9.3).
fn stays_open(version: Version, fields: &HeaderMap, survey: &Survey) -> bool {
    let says = |token| fields.get_all(CONNECTION).iter().any(|line| headers::has_token(line, token));
    let mentioned = survey.hop_by_hop.connection();
    match version {
        Version::HTTP_10 => mentioned && says("keep-alive") && !says("close"),
        _ => !mentioned || !says("close"),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
