//! The messages of OTLP that spans take, in the names and numbers of `opentelemetry/proto/{collector/trace, trace, common,
//! resource}/v1`. The protocol is stable: fields are added to it, never changed. Spans are written as they lie, without
//! messages in between, which would be a hundred allocations a request: every text of them a copy.

use std::time::Duration;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{Kind, Span, Value};

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// What was not taken of a request that was.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// How many were not.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

const ERROR: u64 = 2;

/// `ExportTraceServiceRequest`: these spans, all from one thing.
pub fn request(resource: &[(&'static str, Value)], spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + 1024 * spans.len());
    message(1, &mut out, |of_resource| {
        message(1, of_resource, |out| attributes(1, resource, out));
        message(2, of_resource, |of_scope| {
            message(1, of_scope, |out| {
                bytes(1, b"tollgate", out);
                bytes(2, env!("CARGO_PKG_VERSION").as_bytes(), out);
            });
            for one in spans {
                message(2, of_scope, |out| span(one, out));
            }
        });
    });
    out
}

/// `Span`.
fn span(span: &Span, out: &mut Vec<u8>) {
    let kind = match span.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    bytes(1, &span.trace.to_be_bytes(), out);
    bytes(2, &span.id.to_be_bytes(), out);
    if span.parent != 0 {
        bytes(4, &span.parent.to_be_bytes(), out);
    }
    bytes(5, span.name.as_bytes(), out);
    number(6, kind, out);
    nanos(7, span.start, out);
    nanos(8, span.end.max(span.start), out);
    attributes(9, &span.attributes, out);
    if let Some((trace, id)) = span.link {
        message(13, out, |out| {
            bytes(1, &trace.to_be_bytes(), out);
            bytes(2, &id.to_be_bytes(), out);
        });
    }
    if let Some(why) = &span.error {
        message(15, out, |out| {
            bytes(2, why.as_bytes(), out);
            number(3, ERROR, out);
        });
    }
    encode_key(16, WireType::ThirtyTwoBit, out);
    out.extend(u32::from(span.flags).to_le_bytes());
}

/// `KeyValue`s with an `AnyValue` each.
fn attributes(tag: u32, list: &[(&'static str, Value)], out: &mut Vec<u8>) {
    for (key, value) in list {
        message(tag, out, |out| {
            bytes(1, key.as_bytes(), out);
            message(2, out, |out| match value {
                Value::Text(text) => bytes(1, text.as_bytes(), out),
                // As two's complement, which is how a negative number is written.
                Value::Number(value) => number(3, value.cast_unsigned(), out),
            });
        });
    }
}

fn bytes(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn number(tag: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(value, out);
}

fn nanos(tag: u32, time: Duration, out: &mut Vec<u8>) {
    encode_key(tag, WireType::SixtyFourBit, out);
    out.extend(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
}

/// A message within the one that is written. How long it is comes before it and is known behind it: most are shorter than
/// 128 bytes, for which there is room; a longer one is moved.
fn message(tag: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    out.push(0);
    let start = out.len();
    write(out);
    let length = out.len() - start;
    let more = encoded_len_varint(length as u64) - 1;
    if more > 0 {
        out.extend(std::iter::repeat_n(0, more));
        out.copy_within(start..start + length, start + more);
    }
    let mut at = &mut out[start - 1..start + more];
    encode_varint(length as u64, &mut at);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Theirs;

    use super::*;

    #[test]
    fn others_read_what_is_written() {
        let long = "x".repeat(300);
        let sent = Span {
            trace: 0x0102,
            id: 3,
            parent: 0,
            flags: 1,
            name: "GET shop".into(),
            kind: Kind::Server,
            start: Duration::new(5, 6),
            end: Duration::new(7, 8),
            attributes: vec![
                ("http.request.method", "GET".into()),
                ("http.response.status_code", 503.into()),
                ("n", (-1).into()),
                ("long", long.clone().into()),
            ],
            error: Some("no address".to_owned()),
            link: Some((9, 10)),
        };
        let child = Span { id: 4, parent: 3, kind: Kind::Client, error: None, link: None, ..sent.clone() };
        let bytes = request(&[("service.name", "edge".into())], &[sent, child]);
        let read = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        let from = &read.resource_spans[0];
        let resource = &from.resource.as_ref().unwrap().attributes[0];
        assert_eq!(resource.key, "service.name");
        let scope = &from.scope_spans[0];
        assert_eq!(scope.scope.as_ref().unwrap().name, "tollgate");
        let [first, second] = &scope.spans[..] else { panic!("{scope:?}") };
        assert_eq!(
            (first.trace_id.len(), &first.trace_id[14..], &first.span_id[..]),
            (16, &[1, 2][..], &[0, 0, 0, 0, 0, 0, 0, 3][..])
        );
        assert_eq!((first.parent_span_id.len(), &second.parent_span_id), (0, &first.span_id));
        assert_eq!((first.name.as_str(), first.kind, second.kind, first.flags), ("GET shop", 2, 3, 1));
        assert_eq!((first.start_time_unix_nano, first.end_time_unix_nano), (5_000_000_006, 7_000_000_008));
        let values: Vec<_> = first
            .attributes
            .iter()
            .map(|pair| (pair.key.as_str(), pair.value.clone().unwrap().value.unwrap()))
            .collect();
        let expected = [
            ("http.request.method", Theirs::StringValue("GET".to_owned())),
            ("http.response.status_code", Theirs::IntValue(503)),
            ("n", Theirs::IntValue(-1)),
            ("long", Theirs::StringValue(long)),
        ];
        assert_eq!(values, expected);
        let status = first.status.as_ref().unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, "no address"));
        assert_eq!((first.links.len(), &first.links[0].span_id[7..], &second.status), (1, &[10][..], &None));
    }

    #[test]
    fn what_others_answer_is_read() {
        let told = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let bytes = ExportTraceServiceResponse { partial_success: Some(told) }.encode_to_vec();
        let read = Response::decode(&bytes[..]).unwrap().partial_success.unwrap();
        assert_eq!((read.rejected_spans, read.error_message.as_str()), (3, "too old"));
        assert_eq!(Response::decode(&b""[..]).unwrap().partial_success, None);
    }
}
