//! Tells each try's server how long its answer is waited for: what is left of the one deadline over all tries. The values
//! and their fields are those of [`crate::base::time_left`].

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

use crate::base::added::Added;
use crate::base::time_left::{self, GRPC_TIMEOUT, X_REQUEST_TIMEOUT};

/// A route's budget of time, and how a field says all of it.
#[derive(Clone, Debug)]
pub struct Allotted {
    /// The budget; zero where there is none.
    pub time: Duration,
    text: HeaderValue,
}

impl Allotted {
    /// This much time; zero where there is no limit.
    pub fn new(time: Duration) -> Self {
        Self { time, text: time_left::millis(time) }
    }

    /// The time that is left as `X-Request-Timeout` says it. The first try has almost all of it, which is written
    /// already.
    fn text(&self, left: Duration) -> HeaderValue {
        let all = left <= self.time && left + Duration::from_millis(1) > self.time;
        if all { self.text.clone() } else { time_left::millis(left) }
    }
}

/// What a client says of the time that it has.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When it said so.
    pub at: Instant,
    /// What a gRPC call has from end to end.
    pub grpc: Option<Duration>,
}

/// Writes into the fields of a request, or what is added to them, what is left at `now` until `due`. A gRPC call that has
/// a time of its own is told the shorter one; where there is no deadline, its own.
pub fn tell(
    (fields, added): (&mut HeaderMap, Option<&mut Added>),
    allotted: &Allotted,
    due: Option<Instant>,
    told: Told,
    now: Instant,
) {
    let left = due.map(|due| due.saturating_duration_since(now));
    match (left, added) {
        (Some(left), Some(added)) => added.timeout = Some(allotted.text(left)),
        (Some(left), None) => drop(fields.insert(X_REQUEST_TIMEOUT, allotted.text(left))),
        (None, _) => {}
    }
    if let Some(grpc) = told.grpc {
        let own = grpc.saturating_sub(now.saturating_duration_since(told.at));
        fields.insert(GRPC_TIMEOUT, time_left::grpc(left.map_or(own, |left| left.min(own))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    fn told(deadline: Option<u64>, grpc: Option<u64>, passed: Duration) -> (Option<String>, Option<String>) {
        let start = clock::now();
        let mut fields = HeaderMap::new();
        let (allotted, ms) = (Allotted::new(Duration::from_secs(30)), Duration::from_millis);
        let told = Told { at: start, grpc: grpc.map(ms) };
        tell((&mut fields, None), &allotted, deadline.map(|due| start + ms(due)), told, start + passed);
        let text = |name| fields.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
        (text(X_REQUEST_TIMEOUT), text(GRPC_TIMEOUT))
    }

    #[test]
    fn each_try_is_told_what_is_left_and_no_more() {
        let ms = Duration::from_millis;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(told(Some(30_000), None, Duration::from_micros(10)), (some("30000"), None));
        assert_eq!(told(Some(30_000), None, ms(1)), (some("29999"), None));
        assert_eq!(told(Some(30_000), None, ms(29_500)), (some("500"), None));
        assert_eq!(told(Some(30_000), None, ms(31_000)), (some("0"), None));
        assert_eq!(told(Some(2_000), None, ms(500)), (some("1500"), None), "a client that waits for less");
        assert_eq!(told(Some(30_000), Some(5_000), ms(1_000)), (some("29000"), some("4000000u")));
        assert_eq!(told(Some(3_000), Some(5_000), ms(1_000)), (some("2000"), some("2000000u")));
        assert_eq!(told(None, Some(5_000), ms(1_000)), (None, some("4000000u")));
        assert_eq!(told(None, None, ms(1_000)), (None, None));
    }
}
