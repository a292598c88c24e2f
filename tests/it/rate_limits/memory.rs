//! Keys that nobody stops inventing: what they cost, and whom. The full figure is in docs/benchmarks.md.

use super::{gate, passing, status};
use crate::support::{Client, Gate};

/// Sends so many requests in one go, each with a key of its own, and reads the answers.
async fn invent(gate: &Gate, from: usize, count: usize) -> usize {
    let mut client = Client::connect(gate.address()).await;
    let request = |number| format!("GET / HTTP/1.1\r\nHost: gate\r\nX-Who: invented-{number}\r\n\r\n");
    let mut passed = 0;
    for batch in (from..from + count).collect::<Vec<_>>().chunks(50) {
        client.send(batch.iter().map(request).collect::<String>()).await;
        for _ in batch {
            passed += usize::from(client.answer().await.unwrap().status() == 200);
        }
    }
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_share_a_bucket_and_clients_that_are_known_keep_theirs() {
    let limits = "[rate_limits.who]\nkey = \"header:x-who\"\nrate = \"20/h\"\nmax_keys = 50\n";
    let (gate, _backend) = gate("\"who\"", limits).await;
    for known in 0..50 {
        assert_eq!(passing(&gate, 1, &format!("X-Who: {known}\r\n")).await, 1);
    }
    assert_eq!(invent(&gate, 0, 3000).await, 20, "one bucket for all of them");
    let limit = &status(&gate).await["limits"][0];
    assert_eq!((&limit["keys"], &limit["overflows"]), (&50.into(), &3000.into()), "{limit}");
    for known in 0..50 {
        assert_eq!(passing(&gate, 25, &format!("X-Who: {known}\r\n")).await, 19, "{known}");
    }
    gate.counted("tollgate_rate_limit_keys{limit=\"who\"} 50").await;
    gate.counted("tollgate_rate_limit_overflows_total{limit=\"who\"} 3000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_made_by_those_who_have_nothing_used_up() {
    let limits = "[rate_limits.who]\nkey = \"header:x-who\"\nrate = \"1000/s\"\nmax_keys = 20\n";
    let (gate, _backend) = gate("\"who\"", limits).await;
    assert_eq!(invent(&gate, 0, 2000).await, 2000, "each is full again after a millisecond");
    let limit = &status(&gate).await["limits"][0];
    assert!(limit["keys"].as_u64().unwrap() <= 20, "{limit}");
    assert!(limit["evictions"].as_u64().unwrap() > 1000, "{limit}");
}
