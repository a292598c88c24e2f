//! A collector of traces: reads what it is sent with OpenTelemetry's own messages, and answers as a test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::backend::Seen;
use super::{Backend, eventually};

/// The plainest answer: all is taken.
pub(crate) const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// A running collector.
pub(crate) struct Collector(Backend);

/// A span as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) span: Span,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) resource: BTreeMap<String, String>,
}

impl Collector {
    /// Takes everything.
    pub(crate) async fn start() -> Self {
        Self(Backend::answering(TAKEN).await)
    }

    /// Answers each request, by its number from 0, like this.
    pub(crate) async fn answering(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let count = std::sync::atomic::AtomicUsize::new(0);
        Self(Backend::replying(move |_| answer(count.fetch_add(1, std::sync::atomic::Ordering::SeqCst))).await)
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// `[tracing]` that leads here, with these keys.
    pub(crate) fn table(&self, keys: &str) -> String {
        format!("[tracing]\notlp = 'http://{}'\n{keys}\n", self.address())
    }

    /// The requests that it got.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.0.seen()
    }

    /// The spans that it got, in order.
    pub(crate) fn spans(&self) -> Vec<Received> {
        let mut found = Vec::new();
        for seen in self.requests() {
            assert_eq!(seen.head.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(seen.head.get("content-type"), Some("application/x-protobuf"));
            let request = ExportTraceServiceRequest::decode(&seen.content.bytes[..]).unwrap();
            for from in request.resource_spans {
                let resource = texts(&from.resource.unwrap().attributes);
                let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
                found.extend(spans.map(|span| Received {
                    attributes: texts(&span.attributes),
                    resource: resource.clone(),
                    span,
                }));
            }
        }
        found
    }

    /// The spans, once there are this many.
    pub(crate) async fn received(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} spans"), || self.spans().len() >= count).await;
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

impl Received {
    /// The trace, as it is written elsewhere.
    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its id.
    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// What it is part of.
    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// An attribute, or nothing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let all: BTreeMap<String, String> = list.iter().map(|pair| (pair.key.clone(), text(pair))).collect();
    assert_eq!(all.len(), list.len(), "an attribute twice: {list:?}");
    all
}
