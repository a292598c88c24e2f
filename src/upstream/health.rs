//! Active health: asks each address of an upstream whether it is well, again and again, over connections that carry
//! nothing else. What an address says counts for this upstream alone, even where another has the same address.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use tokio::sync::Semaphore;

use super::Upstream;
use super::connection::{Connection, Kind, SendError};
use super::endpoint::Endpoint;
use super::interim::Interim;
use super::policy::HealthPolicy;
use crate::base::body::RequestBody;

/// Checks of one upstream that are under way at one time.
const AT_ONCE: usize = 64;

/// What the checks of an address have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none yet; the address gets nothing until there is.
    Unchecked,
    /// It is well.
    Healthy {
        /// Bad checks in a row.
        bad: u32,
    },
    /// It is not.
    Unhealthy {
        /// Good checks in a row.
        good: u32,
        /// Whether it has ever been well; if not, the first good check will do.
        proven: bool,
    },
}

impl Verdict {
    /// The verdict after another check.
    #[must_use]
    pub fn after(self, is_good: bool, policy: &HealthPolicy) -> Self {
        match (self, is_good) {
            (Self::Unchecked | Self::Healthy { .. }, true) => Self::Healthy { bad: 0 },
            (Self::Unchecked, false) => Self::Unhealthy { good: 0, proven: false },
            (Self::Healthy { bad }, false) if bad + 1 < policy.unhealthy => Self::Healthy { bad: bad + 1 },
            (Self::Healthy { .. }, false) => Self::Unhealthy { good: 0, proven: true },
            (Self::Unhealthy { proven, .. }, false) => Self::Unhealthy { good: 0, proven },
            (Self::Unhealthy { good, proven: true }, true) if good + 1 < policy.healthy => {
                Self::Unhealthy { good: good + 1, proven: true }
            }
            (Self::Unhealthy { .. }, true) => Self::Healthy { bad: 0 },
        }
    }
}

/// What lets the checks of one upstream begin.
pub fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE))
}

/// Checks an address until it leaves, or its upstream goes.
pub async fn watch(upstream: Weak<Upstream>, endpoint: Weak<Endpoint>, permits: Arc<Semaphore>) {
    while let Some(pause) = round(&upstream, &endpoint, &permits).await {
        tokio::time::sleep(pause).await;
    }
}

/// One check, and how long to wait for the next; none when there is nothing to check any more.
async fn round(upstream: &Weak<Upstream>, endpoint: &Weak<Endpoint>, permits: &Semaphore) -> Option<Duration> {
    let _permit = permits.acquire().await.ok()?;
    let endpoint = endpoint.upgrade().filter(|endpoint| !endpoint.is_retired())?;
    // The upstream may go meanwhile.
    let (policy, host) = {
        let upstream = upstream.upgrade()?;
        (upstream.health()?.clone(), upstream.check_host())
    };
    let result = check(&endpoint, &policy, host).await;
    upstream.upgrade()?.checked(&endpoint, result, &policy);
    Some(spread(policy.interval, fastrand::f64()))
}

/// Asks once; an error says what is wrong.
async fn check(endpoint: &Arc<Endpoint>, policy: &HealthPolicy, host: HeaderValue) -> Result<(), String> {
    let asked = async {
        let connection =
            Connection::open(endpoint, Kind::Plain, policy.timeout).await.map_err(|error| error.to_string())?;
        let response = connection
            .send(&mut Some(request(policy, host)), None, Interim::NOBODY)
            .await
            .map_err(|error| text(&error))?;
        Ok(response.status().as_u16())
    };
    match tokio::time::timeout(policy.timeout, asked).await {
        Ok(Ok(status)) if policy.expect.contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("it answered {status}")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("no answer within {:?}", policy.timeout)),
    }
}

fn request(policy: &HealthPolicy, host: HeaderValue) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::EMPTY);
    *request.uri_mut() = Uri::from(policy.path.clone());
    let fields = request.headers_mut();
    fields.insert(HOST, host);
    fields
        .insert(USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"), " health check")));
    fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

fn text(error: &SendError) -> String {
    match error {
        SendError::Unsent => "it closed the connection".to_owned(),
        SendError::Stale(cause) | SendError::Closed(cause) => format!("it closed the connection: {cause}"),
        SendError::Malformed(cause) => format!("it does not speak HTTP: {cause}"),
    }
}

/// The interval ± 10 %, so that many gateways do not check in step; `random` is from 0 to 1.
fn spread(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Verdict, checks: &str) -> Verdict {
        let policy = HealthPolicy { healthy: 2, unhealthy: 3, ..HealthPolicy::default() };
        checks.chars().fold(start, |verdict, check| verdict.after(check == '+', &policy))
    }

    #[test]
    fn a_new_address_is_well_after_its_first_good_check() {
        let well = Verdict::Healthy { bad: 0 };
        for checks in ["+", "-+", "---+"] {
            assert_eq!(after(Verdict::Unchecked, checks), well, "{checks}");
        }
        assert_eq!(after(Verdict::Unchecked, "-"), Verdict::Unhealthy { good: 0, proven: false });
    }

    #[test]
    fn thresholds_count_in_a_row_and_both_ways() {
        let well = Verdict::Healthy { bad: 0 };
        assert_eq!(after(well, "--+--"), Verdict::Healthy { bad: 2 });
        assert_eq!(after(well, "---"), Verdict::Unhealthy { good: 0, proven: true });
        assert_eq!(after(well, "---+-+"), Verdict::Unhealthy { good: 1, proven: true });
        assert_eq!(after(well, "---++"), well);
    }

    #[test]
    fn checks_are_spread_by_a_tenth() {
        let second = Duration::from_secs(1);
        assert_eq!((spread(second, 0.0), spread(second, 1.0)), (second.mul_f64(0.9), second.mul_f64(1.1)));
    }
}
