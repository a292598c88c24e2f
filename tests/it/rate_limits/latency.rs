//! What a request waits at the layer itself, without sockets around it: little while Redis answers, and next to nothing while
//! it does not.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::base::body::RequestBody;
use tollgate::base::client::Client;
use tollgate::base::clock;
use tollgate::base::exchange::{Exchange, Origin};
use tollgate::base::request::Request;
use tollgate::config::load;
use tollgate::layers::gate::{Gate, Verdict};
use tollgate::layers::rate_limit::limit::{Bound, Limit};
use tollgate::layers::rate_limit::memory::Memories;
use tollgate::layers::rate_limit::{RateLimit, Standing};
use tollgate::layers::redis::{Redis, Tools};
use tollgate::telemetry::recorder::Recorder;

use crate::support::eventually;
use crate::support::redis::Redis as Server;

fn request(client: u32) -> Request {
    let (head, ()) = http::Request::new(()).into_parts();
    let peer = IpAddr::from(Ipv4Addr::from_bits(client));
    let origin = Origin { peer: (peer, 1).into(), trusted: false, scheme: "http", worker: 0 };
    let busy = Client::new(peer, Vec::new()).begin(false);
    let exchange = Box::new(Exchange::new(origin, busy, clock::now(), &head));
    Request { head: Box::new(head), body: RequestBody::EMPTY, exchange }
}

/// How long one request is at the gate.
async fn at_the_gate(gate: &RateLimit, client: u32) -> Duration {
    let mut request = request(client);
    let begun = Instant::now();
    match gate.look(&mut request) {
        Verdict::Ask(deciding) => drop(deciding.await(&mut request)),
        Verdict::Pass(_) | Verdict::Refuse(_) => {}
        Verdict::Wait(_) | Verdict::Answer(_) => panic!("it decides, or asks"),
    }
    begun.elapsed()
}

/// The time that 99 of a hundred requests do not exceed, of those that come in this time, some of them at once.
async fn p99(gate: &RateLimit, during: Duration) -> Duration {
    let (until, mut times) = (Instant::now() + during, Vec::new());
    while Instant::now() < until {
        for client in 0..20 {
            times.push(at_the_gate(gate, client).await);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort_unstable();
    assert!(times.len() > 1000, "{}", times.len());
    times[times.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_redis_that_is_gone_or_stands_still() {
    let Some(mut server) = Server::start(&[]) else { return };
    let text = format!("[rate_limits.shared]\nrate = \"1000/s\"\nstore = \"redis\"\n{}", server.table());
    let config = load::from_text(&text).unwrap().config;
    let recorder = Arc::new(Recorder::default());
    let tools = Tools { control: tokio::runtime::Handle::current(), workers: 1, recorder: recorder.clone() };
    let redis = Redis::start(&config.redis.unwrap(), &tools);
    let limit = Limit::start(&config.rate_limits[0], &Memories::default(), Some(&redis));
    let bounds = vec![Bound::new(limit, 1, "app")];
    let gate = RateLimit::new(bounds, Standing::Late, &"app".into(), &recorder, &Arc::default());
    at_the_gate(&gate, 1).await;
    server.pause();
    let first = at_the_gate(&gate, 1).await;
    assert!(first < Duration::from_millis(200), "one waits for its 25 ms: {first:?}");
    eventually("it is not asked", || !redis.is_up()).await;
    let standing = p99(&gate, Duration::from_millis(2500)).await;
    server.resume();
    eventually("it is asked again", || redis.is_up()).await;
    server.kill();
    eventually("it is not asked", || !redis.is_up()).await;
    let gone = p99(&gate, Duration::from_millis(1500)).await;
    assert!(standing < Duration::from_millis(2), "{standing:?} while it stands still");
    assert!(gone < Duration::from_millis(2), "{gone:?} while it is gone");
}
