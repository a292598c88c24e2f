//! What the charts are drawn from: the numbers of each route for each second, and the last few minutes of them for a page
//! that has just been opened. Kept as the text that is sent, so that its size is known and nothing is written twice.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use crate::layers::metrics::{Reading, RouteMetrics};

/// Seconds that are kept.
pub(super) const LONGEST: usize = 180;
/// Bytes that are kept: with many busy routes these are fewer seconds.
const HEAVIEST: usize = 2 << 20;

/// What was read of each route the last time.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<Arc<str>, Reading>);

/// The last minutes, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    frames: VecDeque<String>,
    bytes: usize,
}

impl Numbers {
    /// What has happened since the last call, as an object of those routes where something has:
    /// `[client errors, server errors, bucket, requests, bucket, requests, …]`.
    pub(super) fn since(&mut self, routes: &[Arc<RouteMetrics>]) -> String {
        let mut text = String::from("{");
        let mut now = HashMap::with_capacity(routes.len());
        for route in routes {
            let reading = route.read();
            if let Some(before) = self.0.get(route.route()) {
                write(&mut text, route.route(), before, &reading);
            }
            now.insert(route.route().clone(), reading);
        }
        self.0 = now;
        text.push('}');
        text
    }
}

fn write(text: &mut String, route: &str, before: &Reading, now: &Reading) {
    // A route that was gone and has come back counts from zero.
    let took = |bucket: usize| now.took[bucket].saturating_sub(before.took[bucket]);
    if (0..now.took.len()).all(|bucket| took(bucket) == 0) {
        return;
    }
    if text.len() > 1 {
        text.push(',');
    }
    let name = serde_json::to_string(route).unwrap_or_default();
    let (client, server) = (now.client_errors, now.server_errors);
    let client = client.saturating_sub(before.client_errors);
    let server = server.saturating_sub(before.server_errors);
    // Writing to a string cannot fail.
    let _ = write!(text, "{name}:[{client},{server}");
    for (bucket, count) in (0..now.took.len()).map(|bucket| (bucket, took(bucket))).filter(|(_, count)| *count > 0) {
        let _ = write!(text, ",{bucket},{count}");
    }
    text.push(']');
}

impl History {
    /// One second more.
    pub(super) fn push(&mut self, frame: String) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.frames.len() > LONGEST || self.bytes > HEAVIEST {
            self.bytes -= self.frames.pop_front().map_or(self.bytes, |oldest| oldest.len());
        }
    }

    /// A list of all that is kept.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes + self.frames.len() + 2);
        text.push('[');
        for (at, frame) in self.frames.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(frame);
        }
        text.push(']');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_told_of_when_something_has_happened_there() {
        let mut text = String::from("{");
        let mut before = Reading { client_errors: 7, server_errors: 1, ..Reading::default() };
        before.took[3] = 10;
        let mut now = before;
        write(&mut text, "quiet", &before, &now);
        now.took[3] = 12;
        now.took[13] = 1;
        now.server_errors = 3;
        write(&mut text, "a\"b</script>", &before, &now);
        write(&mut text, "back", &now, &before);
        write(&mut text, "c", &before, &now);
        let told: serde_json::Value = serde_json::from_str(&format!("{text}}}")).unwrap();
        assert_eq!(told, serde_json::json!({"a\"b</script>": [0, 2, 3, 2, 13, 1], "c": [0, 2, 3, 2, 13, 1]}));
    }

    #[test]
    fn the_past_is_bounded_in_length_and_in_weight() {
        let mut history = History::default();
        assert_eq!(history.text(), "[]");
        for number in 0..LONGEST + 7 {
            history.push(format!("{{\"time\":{number}}}"));
        }
        let told: Vec<serde_json::Value> = serde_json::from_str(&history.text()).unwrap();
        assert_eq!((told.len(), &told[0]["time"]), (LONGEST, &7.into()));
        for _ in 0..4 {
            history.push("0".repeat(HEAVIEST / 3));
        }
        assert_eq!((history.frames.len(), history.bytes), (3, HEAVIEST / 3 * 3));
        history.push("0".repeat(HEAVIEST + 1));
        assert_eq!((history.frames.len(), history.bytes), (0, 0));
    }
}
