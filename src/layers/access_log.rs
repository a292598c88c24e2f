//! One line per request, written by hand when its last byte has left: 0.14 µs, against 2.4 µs through a logging
//! framework. What stands in a line, and in which order, is here; how it is written down is in `write`.

mod write;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Version};
use metrics::Counter;

use self::write::{Line, Name, name};
use super::gate::Gate;
use crate::base::clock;
use crate::base::exchange::{End, Exchange, Observer};
use crate::base::reject::Reject;
use crate::base::request::Request;
use crate::base::trace::digits;
use crate::telemetry::access_log::{AccessLog as Log, Target};

/// Bytes of a moment as text, up to the second.
const SECOND: usize = "2026-01-01T00:00:00".len();
/// How often the wall clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a line is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A JSON object.
    #[default]
    Json,
    /// For people: what was asked and answered first, the rest as `name=value`.
    Text,
}

/// Writes the lines of all routes.
#[derive(Debug)]
pub struct Lines {
    log: Log<Keep>,
    form: Form,
    /// The share of good answers that have a line, of 2³².
    share: AtomicU64,
}

/// What a worker keeps for its lines.
#[derive(Debug)]
struct Keep {
    /// What the wall clock showed at a moment of the last second. Between, it goes as the other one does: to look at both
    /// for each line cost a tenth of it.
    looked: Option<(Instant, Duration)>,
    /// The second as text: formatting it anew for each line would cost as much as the line.
    second: u64,
    text: [u8; SECOND],
    random: fastrand::Rng,
}

impl Lines {
    /// Lines of as many workers as there are seeds, to this target. Those that are lost count in `dropped`.
    ///
    /// # Errors
    /// When the thread that writes cannot be started.
    pub fn start(
        seeds: impl IntoIterator<Item = u64>,
        target: Target,
        form: Form,
        dropped: Counter,
    ) -> io::Result<Self> {
        let log = Log::start(seeds.into_iter().map(Keep::new), target, dropped)?;
        Ok(Self { log, form, share: AtomicU64::new(1 << 32) })
    }

    /// Writes this share of the lines of good answers from now on: 2xx and 3xx that were delivered whole. All others have
    /// their line in any case.
    pub fn sample(&self, share: f64) {
        let share = (share.clamp(0.0, 1.0) * (1_u64 << 32) as f64) as u64;
        self.share.store(share, Ordering::Relaxed);
    }

    /// Hands over whatever is buffered.
    pub fn flush(&self) {
        self.log.flush();
    }

    /// Opens the file anew, where the lines go to one.
    pub fn reopen(&self) {
        self.log.reopen();
    }

    fn wants(&self, exchange: &Exchange, random: &mut fastrand::Rng) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        let good = (200..400).contains(&exchange.answer.status) && exchange.answer.end == End::Ok;
        share >= 1 << 32 || !good || u64::from(random.u32(..)) < share
    }
}

impl Keep {
    fn new(seed: u64) -> Self {
        Self { looked: None, second: u64::MAX, text: [b'-'; SECOND], random: fastrand::Rng::with_seed(seed) }
    }

    /// This moment on the wall clock: the second as text, and the milliseconds.
    fn stamp(&mut self, now: Instant) -> (&[u8; SECOND], u32) {
        let known = self.looked.map(|(then, showed)| (now.saturating_duration_since(then), showed));
        let wall = match known.filter(|(since, _)| *since < LOOK_EVERY) {
            Some((since, showed)) => showed + since,
            None => {
                let showed = clock::since_1970();
                self.looked = Some((now, showed));
                showed
            }
        };
        if self.second != wall.as_secs() {
            let second = i64::try_from(wall.as_secs()).unwrap_or_default();
            let text = jiff::Timestamp::from_second(second).unwrap_or_default().to_string();
            // Of all years with four digits this is the whole of it but the `Z`.
            self.text = text.as_bytes().first_chunk().copied().unwrap_or([b'-'; SECOND]);
            self.second = wall.as_secs();
        }
        (&self.text, wall.subsec_millis())
    }
}

impl Observer for Lines {
    fn ended(&self, exchange: &Exchange) {
        let took = exchange.ended.saturating_duration_since(exchange.started);
        self.log.append(exchange.origin.worker, |buffer, keep| {
            if !self.wants(exchange, &mut keep.random) {
                return;
            }
            let mut line = Line::new(buffer, self.form);
            let (second, millis) = keep.stamp(exchange.ended);
            line.time(second, millis);
            match self.form {
                Form::Json => {
                    write_ids(&mut line, exchange);
                    write_request(&mut line, exchange);
                    write_answer(&mut line, exchange, took);
                }
                Form::Text => {
                    write_summary(&mut line, exchange, took);
                    write_answer(&mut line, exchange, took);
                    write_ids(&mut line, exchange);
                }
            }
            line.end();
        });
    }
}

/// What people look for first.
fn write_summary(line: &mut Line<'_>, exchange: &Exchange, took: Duration) {
    line.bare(|line| line.ip(exchange.client));
    line.bare(|line| line.quoted(exchange.method.as_str().as_bytes()));
    line.bare(|line| line.quoted(exchange.host.as_ref().map_or(b"-".as_slice(), |host| host.as_bytes())));
    line.bare(|line| line.target(&exchange.target));
    line.bare(|line| line.decimal(u64::from(exchange.answer.status)));
    line.bare(|line| line.millis(took));
    line.text(name!("route"), exchange.route.as_deref().unwrap_or("none"));
}

fn write_ids(line: &mut Line<'_>, exchange: &Exchange) {
    if let Some(id) = &exchange.id {
        line.plain(name!("request_id"), id.as_bytes());
    }
    if let Some(trace) = &exchange.trace {
        let mut text = [0; 32];
        digits(&mut text, trace.id);
        line.bytes(name!("trace_id"), &text);
    }
}

fn write_request(line: &mut Line<'_>, exchange: &Exchange) {
    if exchange.client == exchange.origin.peer.ip() {
        // The connection has it as text.
        line.plain(name!("client_ip"), exchange.busy.client().peer().as_bytes());
    } else {
        line.field(name!("client_ip"), |line| line.in_quotes(|line| line.ip(exchange.client)));
    }
    line.plain(name!("method"), exchange.method.as_str().as_bytes());
    if let Some(host) = &exchange.host {
        // In its canonical form there is nothing to escape.
        line.plain(name!("host"), host.as_bytes());
    }
    line.field(name!("path"), |line| line.target(&exchange.target));
    line.text(name!("route"), exchange.route.as_deref().unwrap_or("none"));
    line.number(name!("status"), u64::from(exchange.answer.status));
}

fn write_answer(line: &mut Line<'_>, exchange: &Exchange, took: Duration) {
    let (answer, upstream) = (&exchange.answer, &exchange.upstream);
    if let Some(reason) = answer.reason {
        line.plain(name!("code"), reason.facts().code.as_bytes());
    }
    if let Some(cause) = &answer.cause {
        line.text(name!("cause"), cause);
    }
    line.number(name!("bytes_in"), exchange.bytes_in());
    line.number(name!("bytes_out"), answer.bytes);
    if line.form() == Form::Json {
        line.field(name!("duration_ms"), |line| line.millis(took));
    }
    if let Some(name) = &upstream.name {
        line.text(name!("upstream"), name);
    }
    if let Some(address) = upstream.address {
        line.field(name!("address"), |line| line.in_quotes(|line| line.address(address)));
    }
    if let Some(time) = upstream.time {
        line.field(name!("upstream_ms"), |line| line.millis(time));
    }
    if upstream.tries > 0 {
        line.number(name!("tries"), u64::from(upstream.tries));
    }
    if let Some(cache) = exchange.cache {
        line.plain(name!("cache"), cache.as_str().as_bytes());
    }
    if let Some(identity) = &exchange.identity {
        line.text(name!("auth"), &identity.auth);
        if let Some(subject) = &identity.subject {
            line.text(name!("subject"), subject);
        }
    }
    if let Some(limit) = exchange.limit() {
        line.text(name!("limit"), limit);
    }
    if let Some(agent) = &exchange.user_agent {
        line.bytes(name!("user_agent"), agent.as_bytes());
    }
    // What most lines say is one piece each.
    match exchange.version {
        Version::HTTP_2 => line.plain(name!("protocol"), b"HTTP/2"),
        Version::HTTP_10 => line.plain(name!("protocol"), b"HTTP/1.0"),
        _ => line.plain(name!("protocol"), b"HTTP/1.1"),
    }
    match answer.end {
        End::Ok => line.plain(name!("end"), b"ok"),
        end => line.plain(name!("end"), end.as_str().as_bytes()),
    }
}

/// Writes a line for each request of a route.
#[derive(Debug)]
pub struct AccessLog(pub Arc<Lines>);

impl Gate for AccessLog {
    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        request.exchange.user_agent = agent(&request.head.headers, request.exchange.survey.agent).cloned();
        request.exchange.logged = true;
        request.exchange.observe(self.0.clone());
        Ok(())
    }
}

/// Who says to be asking; looked up where it was seen to stand, for a third of the cost.
fn agent(headers: &HeaderMap, place: usize) -> Option<&HeaderValue> {
    match headers.iter().nth(place.checked_sub(1)?) {
        Some((name, value)) if name == USER_AGENT => Some(value),
        // Something has been taken away since.
        _ => headers.get(USER_AGENT),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use super::*;
    use crate::base::client::Client;
    use crate::base::clock;
    use crate::base::exchange::Origin;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn exchange(status: u16, end: End) -> Exchange {
        let origin = Origin { peer: SocketAddr::from(([10, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
        let (head, ()) = http::Request::new(()).into_parts();
        let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
        let mut exchange = Exchange::new(origin, busy, clock::now(), &head);
        exchange.answer.status = status;
        exchange.answer.end = end;
        exchange.target = "/a%20b?token=secret".parse().unwrap();
        exchange.user_agent = Some(HeaderValue::from_bytes(b"x\" end=ok y\tz").unwrap());
        exchange
    }

    /// What is written of these.
    fn written(form: Form, share: f64, exchanges: &[Exchange]) -> String {
        let target = Shared::default();
        let lines = Lines::start([7], Target::stream(target.clone()), form, Counter::noop()).unwrap();
        lines.sample(share);
        exchanges.iter().for_each(|exchange| lines.ended(exchange));
        drop(lines);
        let text = target.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_share_of_the_good_is_written_and_all_the_rest() {
        let good: Vec<Exchange> = (0..1000).map(|_| exchange(200, End::Ok)).collect();
        let count = written(Form::Json, 0.1, &good).lines().count();
        assert!((50..200).contains(&count), "{count}");
        assert_eq!(written(Form::Json, 0.0, &good), "");
        assert_eq!(written(Form::Json, 1.0, &good).lines().count(), 1000);
        let rest = [(404, End::Ok), (500, End::Ok), (0, End::ClientGone), (101, End::Ok), (200, End::UpstreamReset)];
        let rest: Vec<Exchange> = rest.map(|(status, end)| exchange(status, end)).into();
        assert_eq!(written(Form::Json, 0.0, &rest).lines().count(), 5);
    }

    #[test]
    fn moments_are_those_of_the_wall_clock_though_it_is_looked_at_once_a_second() {
        let (mut keep, begun) = (Keep::new(7), clock::now());
        let mut shown = |after: u64| {
            let (second, millis) = keep.stamp(begun + Duration::from_millis(after));
            let text = format!("{}.{millis:03}Z", String::from_utf8_lossy(second));
            let at: jiff::Timestamp = text.parse().unwrap();
            Duration::from_millis(at.as_millisecond().try_into().unwrap())
        };
        let first = shown(0);
        assert!(clock::since_1970() - first < Duration::from_secs(5), "{first:?}");
        for after in [0, 1, 137, 999] {
            assert_eq!(shown(after), first + Duration::from_millis(after));
        }
        // What the clock shows then is no second later yet.
        assert!(shown(1000) < first + Duration::from_secs(1));
    }

    #[test]
    fn text_can_be_read_and_not_be_forged() {
        let line = written(Form::Text, 1.0, &[exchange(404, End::Ok)]);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.len() == 24, "{line}");
        assert!(rest.starts_with("10.0.0.1 GET - /a%20b?token=*** 404 "), "{line}");
        let quoted = " user_agent=\"x\\\" end=ok y\\u0009z\" protocol=HTTP/1.1 end=ok\n";
        assert!(rest.contains("ms route=none ") && rest.ends_with(quoted), "{line}");
    }
}
