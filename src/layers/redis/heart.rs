//! A sign of life, written every second: it finds out whether Redis takes what is written, and how many gateways there are.
//! It goes on while nobody else asks, and is what lets them ask again.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Redis, RedisError, Script, Value};

/// Time between two signs while all is well, and while it is not.
const PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(200));
/// Milliseconds after which a gateway that gives no sign is none.
const LIFE: &str = "5000";

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
pub(super) async fn beat(redis: Weak<Redis>, id: String) {
    let script = Script::new(SCRIPT);
    let arguments = [id, LIFE.to_owned()];
    loop {
        let Some(alive) = redis.upgrade() else { return };
        let keys = [alive.key("{gateways}")];
        let pause = match alive.probe(&script, &keys, &arguments).await {
            Ok(Value::Int(seen)) => {
                let seen = usize::try_from(seen).unwrap_or(1).max(1);
                alive.shared.replicas.store(seen, Ordering::Relaxed);
                alive.shared.seen.set(seen as f64);
                alive.shared.is_back();
                PERIODS.0
            }
            Ok(other) => {
                tracing::warn!(answer = ?other, "redis gave a strange answer to a sign of life");
                PERIODS.0
            }
            Err(error) => {
                failed(&alive, &error);
                PERIODS.1
            }
        };
        drop(alive);
        tokio::time::sleep(pause.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
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
