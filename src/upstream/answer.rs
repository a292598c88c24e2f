//! What an upstream's response looks like to the client: framed in one way, without what ends at this hop. Knows nothing
//! of how the response came or where its body goes.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use crate::base::headers::{self, KEEP_ALIVE, Survey};
use crate::base::reject::{Reason, Reject};

/// Turns the upstream's head into the client's, by a look at its fields as they came. Returns how long the upstream says to keep an idle connection.
///
/// # Errors
/// When the body is coded in a way that could not be undone: nobody asked for that (RFC 9112 §7.4), and the client
/// would not hear of it.
pub fn clean<B>(response: &mut Response<B>, survey: &Survey) -> Result<Option<Duration>, Reject> {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    // The upstream's version ends here too: the client gets its own (RFC 9110 §6.2).
    *response.version_mut() = Version::HTTP_11;
    let fields = response.headers_mut();
    if survey.codings > 0
        && let Some(coding) = fields.get(TRANSFER_ENCODING)
    {
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") || survey.codings > 1 {
            let cause = format!("the transfer coding is {coding:?}");
            return Err(Reject::new(Reason::UpstreamProtocol, "the upstream did not answer properly").because(cause));
        }
        // The chunks frame the body (RFC 9112 §6.3); a length beside them would frame it again, and perhaps shorter.
        fields.remove(CONTENT_LENGTH);
    }
    let keeps = if survey.hop_by_hop.any() { fields.get(KEEP_ALIVE).and_then(idle_time) } else { None };
    let protocol = switches.then(|| fields.get(UPGRADE).cloned()).flatten();
    headers::remove_surveyed(fields, survey);
    if let Some(protocol) = protocol {
        fields.insert(UPGRADE, protocol);
    }
    Ok(keeps)
}

/// The `timeout` of a `Keep-Alive` field (RFC 2068 §19.7.1.1), in seconds.
fn idle_time(value: &HeaderValue) -> Option<Duration> {
    let mut pairs = value.to_str().ok()?.split(',').filter_map(|pair| pair.split_once('='));
    let (_, seconds) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    seconds.trim().trim_matches('"').parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

/// Whether the body is a stream of events, which may be silent for as long as it likes.
pub fn is_event_stream(fields: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    fields
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().get(..TYPE.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&'static str, &'static str)]) -> Option<Vec<String>> {
        let mut response = Response::new(());
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        let survey = Survey::of(response.headers());
        clean(&mut response, &survey).ok()?;
        Some(response.headers().keys().map(ToString::to_string).collect())
    }

    #[test]
    fn a_body_is_framed_by_its_chunks_alone() {
        let both = [("transfer-encoding", "Chunked"), ("content-length", "3"), ("x", "1")];
        assert_eq!(cleaned(&both).unwrap(), ["x"]);
        assert_eq!(cleaned(&[("content-length", "3")]).unwrap(), ["content-length"]);
    }

    #[test]
    fn a_coding_that_would_be_lost_is_refused() {
        for coding in ["gzip", "gzip, chunked", "chunked, chunked", "identity", ""] {
            assert_eq!(cleaned(&[("transfer-encoding", coding)]), None, "{coding}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(cleaned(&twice), None);
    }

    #[test]
    fn what_is_said_of_idle_connections_is_read_before_it_goes() {
        for (text, expected) in [
            ("timeout=5", Some(5)),
            ("max=100, Timeout = 60", Some(60)),
            ("timeout=\"7\", max=2", Some(7)),
            ("timeout=-1", None),
            ("timeout=4294967296", None),
            ("max=5", None),
            ("timeout", None),
        ] {
            let mut response = Response::new(());
            response.headers_mut().insert("keep-alive", text.parse().unwrap());
            let survey = Survey::of(response.headers());
            assert_eq!(clean(&mut response, &survey).unwrap(), expected.map(Duration::from_secs), "{text}");
            assert!(response.headers().is_empty());
        }
    }

    #[test]
    fn event_streams_are_known_by_their_type() {
        let is_stream = |kind: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, kind.parse().unwrap());
            is_event_stream(&fields)
        };
        assert!(is_stream("text/event-stream") && is_stream("Text/Event-Stream; charset=utf-8"));
        assert!(!is_stream("text/event") && !is_stream("text/html") && !is_event_stream(&HeaderMap::new()));
    }
}
