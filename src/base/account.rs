//! What is told of a request on its own response, to whoever has asked for that with the operators' token: each layer's
//! verdict as it was spoken, then what came of it. A list of structured fields (RFC 9651), bounded, in which nothing that
//! a client or an upstream has written can end a line or a member.

use std::fmt::Write;

use http::{HeaderName, HeaderValue};

use super::exchange::Exchange;

/// `X-Tollgate-Trace`: brings the token, and takes the account back.
pub const X_TOLLGATE_TRACE: HeaderName = HeaderName::from_static("x-tollgate-trace");

/// Longest account, in bytes: what many servers and clients still take as one line.
const LONGEST: usize = 2048;
/// Bytes of it that are kept for what came of the request.
const KEPT: usize = 800;
/// Longest value of one parameter, in bytes.
const LONGEST_VALUE: usize = 96;

/// What is told so far.
#[derive(Debug, Default)]
pub struct Account {
    text: String,
    is_full: bool,
    /// What the log was to say before the layer that is being asked.
    cause: Option<Box<str>>,
}

/// Parameters of one member: names in lower case, and values that may be anything.
pub type Parameters<'a> = &'a [(&'a str, &'a str)];

impl Account {
    /// Adds a member: a word and what belongs to it. Values of digits are numbers, all others are strings. Where there is no
    /// room for it, it is left out whole, as are all that come after it.
    pub fn add(&mut self, word: &str, parameters: Parameters<'_>) {
        let before = self.text.len();
        self.push(word, parameters);
        if self.is_full || self.text.len() > LONGEST - KEPT {
            self.is_full = true;
            self.text.truncate(before);
        }
    }

    fn push(&mut self, word: &str, parameters: Parameters<'_>) {
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        self.text.push_str(word);
        for (name, value) in parameters {
            let _ = write!(self.text, ";{name}");
            if !value.is_empty() {
                self.text.push('=');
                push_value(&mut self.text, value);
            }
        }
    }

    /// A layer is asked: what the log was to say before it is not what it says.
    pub fn ask(&mut self, cause: Option<&str>) {
        self.cause = cause.map(Into::into);
    }

    /// The layer has spoken. One that lets a request go on and has something to say for the log has only observed.
    pub fn hear(&mut self, layer: &str, word: &str, cause: Option<&str>) {
        match cause.filter(|cause| word == "pass" && self.cause.as_deref() != Some(*cause)) {
            Some(cause) => self.add(layer, &[("observe", ""), ("cause", cause)]),
            None => self.add(layer, &[(word, "")]),
        }
    }

    /// The whole of it, with what the exchange knows when the response leaves with this status.
    pub fn close(mut self, exchange: &Exchange, status: u16) -> HeaderValue {
        if self.is_full {
            self.push("more", &[]);
        }
        if let Some(identity) = &exchange.identity {
            let subject = identity.subject.as_deref().map(|subject| ("subject", subject));
            let parameters: Vec<_> = [("by", &*identity.auth)].into_iter().chain(subject).collect();
            self.push("identity", &parameters);
        }
        if let Some(note) = exchange.cache {
            self.push("cache", &[(note.as_str(), "")]);
        }
        let upstream = &exchange.upstream;
        if let Some(name) = upstream.name.as_deref() {
            let address = upstream.address.map(|address| address.to_string());
            let (tries, millis) = (upstream.tries.to_string(), upstream.time.map(|time| time.as_millis().to_string()));
            let mut parameters = vec![("name", name)];
            parameters.extend(address.as_deref().map(|address| ("address", address)));
            parameters.push(("tries", &tries));
            parameters.extend(millis.as_deref().map(|millis| ("ms", millis)));
            self.push("upstream", &parameters);
        }
        let status = status.to_string();
        let mut parameters = vec![("status", status.as_str())];
        parameters.extend(exchange.answer.reason.map(|reason| ("code", reason.facts().code)));
        parameters.extend(exchange.answer.cause.as_deref().map(|cause| ("cause", cause)));
        self.push("answer", &parameters);
        HeaderValue::try_from(self.text).unwrap_or(HeaderValue::from_static("answer"))
    }
}

/// A number, or a string in which only what is printable stands as it is (RFC 9651 §3.3.3).
fn push_value(text: &mut String, value: &str) {
    if value.len() <= 15 && value.bytes().all(|byte| byte.is_ascii_digit()) {
        text.push_str(value);
        return;
    }
    text.push('"');
    let begin = text.len();
    for byte in value.bytes() {
        if text.len() - begin >= LONGEST_VALUE {
            text.push_str("...");
            break;
        }
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::base::cache::CacheNote;
    use crate::base::client::Client;
    use crate::base::clock;
    use crate::base::exchange::{Origin, UpstreamNotes};
    use crate::base::identity::Identity;
    use crate::base::reject::Reason;

    fn exchange() -> Exchange {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let origin = Origin { peer, trusted: false, scheme: "http", worker: 0 };
        let (head, ()) = http::Request::new(()).into_parts();
        Exchange::new(origin, Client::new(peer.ip(), Vec::new()).begin(false), clock::now(), &head)
    }

    #[test]
    fn it_tells_the_layers_and_then_what_came_of_it() {
        let mut exchange = exchange();
        exchange.cache = Some(CacheNote::Miss);
        exchange.upstream = UpstreamNotes {
            name: Some("app".into()),
            address: Some(SocketAddr::from(([10, 0, 0, 1], 80))),
            time: Some(std::time::Duration::from_micros(12_900)),
            tries: 2,
        };
        let mut account = Account::default();
        account.add("route", &[("name", "r")]);
        account.add("rate_limit", &[("pass", ""), ("per-client", "ip 10.0.0.9")]);
        assert_eq!(
            account.close(&exchange, 200),
            "route;name=\"r\", rate_limit;pass;per-client=\"ip 10.0.0.9\", cache;miss, \
             upstream;name=\"app\";address=\"10.0.0.1:80\";tries=2;ms=12, answer;status=200"
        );
        exchange.upstream = UpstreamNotes::default();
        exchange.cache = None;
        exchange.answer.reason = Some(Reason::NoRoute);
        assert_eq!(Account::default().close(&exchange, 404), "answer;status=404;code=\"no_route\"");
    }

    #[test]
    fn nothing_that_is_told_can_end_a_line_or_a_member() {
        let mut account = Account::default();
        account
            .add("route", &[("name", "a\"; b=\\c\r\nx: y\u{e9}\0"), ("count", "12"), ("digits", "1234567890123456")]);
        let told = account.close(&exchange(), 200);
        assert_eq!(
            told,
            "route;name=\"a\\\"; b=\\\\c%0D%0Ax: y%C3%A9%00\";count=12;digits=\"1234567890123456\", answer;status=200"
        );
    }

    #[test]
    fn it_is_bounded_and_says_so() {
        let mut account = Account::default();
        account.add("route", &[("name", &"\u{0}\"".repeat(10_000))]);
        assert!(account.text.len() < 2 * LONGEST_VALUE, "{}", account.text);
        for number in 0..100 {
            account.add("rate_limit", &[("key", &format!("{number}{}", "k".repeat(90)))]);
        }
        let mut long = exchange();
        let text = "x\u{7f}".repeat(1000);
        long.identity = Some(std::sync::Arc::new(Identity {
            auth: text.as_str().into(),
            subject: Some(text.as_str().into()),
            ..Identity::default()
        }));
        long.upstream = UpstreamNotes { name: Some(text.as_str().into()), tries: u32::MAX, ..UpstreamNotes::default() };
        long.answer.cause = Some(text.into());
        long.answer.reason = Some(Reason::DeadlineExceeded);
        long.cache = Some(CacheNote::NotCached);
        let told = account.close(&long, 504);
        let text = told.to_str().unwrap();
        assert!((LONGEST - KEPT..=LONGEST).contains(&text.len()), "{}: {text}", text.len());
        assert!(text.contains(", more, identity;") && text.contains(", answer;status=504;"), "{text}");
    }

    #[test]
    fn a_layer_that_only_observes_says_so_and_the_next_one_does_not() {
        let mut account = Account::default();
        account.ask(None);
        account.hear("auth", "pass", Some("no credential"));
        account.ask(Some("no credential"));
        account.hear("body_limit", "pass", Some("no credential"));
        assert_eq!(account.text, "auth;observe;cause=\"no credential\", body_limit;pass");
    }
}
