//! The messages of OTLP that spans take, in the names and numbers of `opentelemetry/proto/{collector/trace, trace, common,
//! resource}/v1`. The protocol is stable: fields are added to it, never changed. Fields that are never sent are left out.

use prost::Message;

use super::{Kind, Span, Value};

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Spans by what they are from.
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

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

/// `ResourceSpans`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    /// What they are from.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// The spans, by the part of the program.
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

/// `Resource`.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// What is known of it.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// `ScopeSpans`.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    /// The part of the program.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The spans.
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<SpanMessage>,
}

/// `InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
pub struct Scope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `Span`.
#[derive(Clone, PartialEq, Message)]
pub struct SpanMessage {
    /// Sixteen bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// Eight bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// Eight bytes, or none.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// What it is.
    #[prost(string, tag = "5")]
    pub name: String,
    /// `SpanKind`.
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// Since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// Since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// What is known of it.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Spans of other traces.
    #[prost(message, repeated, tag = "13")]
    pub links: Vec<Link>,
    /// How it ended.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
    /// Flags of the trace.
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
}

/// `Span.Link`.
#[derive(Clone, PartialEq, Message)]
pub struct Link {
    /// Sixteen bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// Eight bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
}

/// `Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// What there is to say.
    #[prost(string, tag = "2")]
    pub message: String,
    /// `StatusCode`: 0 unset, 2 error.
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// `AnyValue`.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// One of them.
    #[prost(oneof = "Any", tags = "1, 3")]
    pub value: Option<Any>,
}

/// What an `AnyValue` can be here.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Any {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// A number.
    #[prost(int64, tag = "3")]
    Number(i64),
}

const ERROR: i32 = 2;

/// The request for these spans, all from one thing.
pub fn request(resource: &[(&'static str, Value)], spans: &[Span]) -> Vec<u8> {
    let scope = Scope { name: "tollgate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans = spans.iter().map(span).collect();
    let resource = Resource { attributes: attributes(resource) };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    Request { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }.encode_to_vec()
}

fn span(span: &Span) -> SpanMessage {
    let id = |id: u64| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    let link = |(trace, span): (u128, u64)| Link { trace_id: trace.to_be_bytes().to_vec(), span_id: id(span) };
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    SpanMessage {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: id(span.id),
        parent_span_id: id(span.parent),
        name: span.name.clone().into_owned(),
        kind: match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        },
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end.max(span.start)),
        attributes: attributes(&span.attributes),
        links: span.link.map(link).into_iter().collect(),
        status: span.error.clone().map(|message| Status { message, code: ERROR }),
        flags: u32::from(span.flags),
    }
}

fn attributes(list: &[(&'static str, Value)]) -> Vec<KeyValue> {
    let any = |value: &Value| match value {
        Value::Text(text) => Any::Text(text.clone().into_owned()),
        Value::Number(number) => Any::Number(*number),
    };
    let pair = |(key, value): &(&'static str, Value)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(any(value)) }),
    };
    list.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Theirs;

    use super::*;

    #[test]
    fn others_read_what_is_written() {
        let sent = Span {
            trace: 0x0102,
            id: 3,
            parent: 0,
            flags: 1,
            name: "GET shop".into(),
            kind: Kind::Server,
            start: Duration::new(5, 6),
            end: Duration::new(7, 8),
            attributes: vec![("http.request.method", "GET".into()), ("http.response.status_code", 503.into())],
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
