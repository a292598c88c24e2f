//! What other gateways publish, heard over a connection of its own that is made again when it breaks. What was said in
//! between is lost, and the listener is told so.

use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisError;
use futures_util::StreamExt;

use super::link;
use super::policy::RedisPolicy;

/// Pauses between attempts to connect, the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Silence after which it is found out whether anybody is still there.
const SILENCE: Duration = Duration::from_secs(5);
/// Time for the answer to that.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that is heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// What was published.
    Message(Vec<u8>),
    /// From here on everything is heard; something may have been said before.
    Gap,
}

/// Hears a channel for ever.
pub(super) async fn hear_all(policy: Arc<RedisPolicy>, channel: String, mut hear: impl FnMut(Heard)) {
    let mut pause = PAUSES.0;
    loop {
        let mut connected = false;
        if let Err(error) = hear_once(&policy, &channel, &mut hear, &mut connected).await {
            tracing::debug!(%error, channel, "the channel is not heard");
        }
        if connected {
            pause = PAUSES.0;
        }
        tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn hear_once(
    policy: &RedisPolicy,
    channel: &str,
    hear: &mut impl FnMut(Heard),
    connected: &mut bool,
) -> Result<(), RedisError> {
    let late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connecting = async {
        let mut connection = link::listen(policy).await?;
        connection.subscribe(channel).await?;
        Ok::<_, RedisError>(connection)
    };
    let (mut sink, mut stream) = tokio::time::timeout(PATIENCE, connecting).await.map_err(late)??.split();
    *connected = true;
    hear(Heard::Gap);
    loop {
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(message)) => hear(Heard::Message(message.get_payload_bytes().to_vec())),
            Ok(None) => return Ok(()),
            Err(_) => {
                tokio::time::timeout(PATIENCE, sink.ping::<::redis::Value>()).await.map_err(late)??;
            }
        }
    }
}
