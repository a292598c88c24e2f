//! A sign of life, written again and again: it finds out whether Redis takes what is written, and how many gateways there are.
//! It goes on while nobody else asks, and is what lets them ask again.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::policy::Heartbeat;
use super::{Redis, RedisError, Script, Value};
use crate::base::clock;

/// Notes this gateway, forgets those that give no sign, and counts the rest. On the server's clock, as all share it.
const SCRIPT: &str = "
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
";

/// What this gateway is called among the others, until it ends.
pub(super) fn id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Gives signs of life until the connection is dropped.
pub(super) async fn beat(redis: Weak<Redis>, id: String, times: Heartbeat) {
    let script = Script::new(SCRIPT);
    let arguments = [id, times.life.as_millis().to_string()];
    let mut census = Census::new(times.life);
    loop {
        let Some(alive) = redis.upgrade() else { return };
        let keys = [alive.key("{gateways}")];
        let pause = match alive.probe(&script, &keys, &arguments).await {
            Ok(Value::Int(seen)) => {
                let seen = census.take(usize::try_from(seen).unwrap_or(1).max(1), clock::now());
                alive.shared.replicas.store(seen, Ordering::Relaxed);
                alive.shared.seen.set(seen as f64);
                alive.shared.is_back();
                times.period
            }
            Ok(other) => {
                tracing::warn!(answer = ?other, "redis gave a strange answer to a sign of life");
                times.period
            }
            Err(error) => {
                failed(&alive, &error);
                times.hurry
            }
        };
        drop(alive);
        tokio::time::sleep(pause.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
    }
}

/// How many gateways there are, as far as can be told. A Redis that comes back with nothing knows only those that have
/// given a sign since: fewer than before are believed once nobody else has for as long as a sign counts. Otherwise each
/// would take the share of all of them for its own, should Redis go away again.
#[derive(Debug)]
struct Census {
    /// How long a sign counts.
    life: Duration,
    known: usize,
    fewer_since: Option<Instant>,
}

impl Census {
    /// Of nobody yet.
    fn new(life: Duration) -> Self {
        Self { life, known: 0, fewer_since: None }
    }

    /// So many were seen now.
    fn take(&mut self, seen: usize, now: Instant) -> usize {
        let since = *self.fewer_since.get_or_insert(now);
        if seen >= self.known || since + self.life <= now {
            (self.known, self.fewer_since) = (seen, None);
        }
        self.known
    }
}

fn failed(redis: &Redis, error: &RedisError) {
    match redis.is_up() {
        true => redis.shared.is_down(error),
        // Attempts to end the pause do not make it longer. But a connection that leads nowhere must not stay.
        false => {
            redis.shared.slots.iter().rev().take(1).for_each(super::Slot::drop_link);
            redis.shared.note(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_gateways_are_believed_when_the_others_have_been_silent_for_long_enough() {
        let mut census = Census::new(Heartbeat::default().life);
        let begun = clock::now();
        let mut at = |seconds, seen| census.take(seen, begun + Duration::from_secs(seconds));
        assert_eq!((at(0, 1), at(1, 3)), (1, 3));
        // Redis has forgotten all of them, and hears of one after the other.
        assert_eq!((at(2, 1), at(3, 2), at(4, 3)), (3, 3, 3));
        // One has ended.
        assert_eq!((at(5, 2), at(9, 2), at(10, 2)), (3, 3, 2));
        assert_eq!((at(11, 1), at(15, 1), at(16, 1)), (2, 2, 1));
    }
}
