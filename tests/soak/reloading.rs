//! A hundred reloads a second with everything under way that can be.

use std::time::Duration;

use crate::support::crowd::Size;
use crate::support::storm::Storm;

/// Event streams of the crowd end by themselves after a minute, so that a longer soak is several of these.
const ROUND: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a soak"]
async fn reloads() {
    let rounds = (super::duration().as_secs_f64() / ROUND.as_secs_f64()).ceil().max(1.0) as u32;
    let crowd = Size { websockets: 200, streams: 50, uploads: 20 };
    let storm = Storm { crowd, requests: 500, reloads: 100, duration: ROUND };
    let mut first = None;
    for round in 1..=rounds {
        let weathered = storm.run().await;
        println!("round {round} of {rounds}: {weathered:?}");
        let (early, late) = weathered.memory;
        assert!(late < early + (16 << 20), "memory grows within a round");
        let baseline = *first.get_or_insert(late);
        assert!(late < baseline + (32 << 20), "memory grows from round to round");
    }
}
