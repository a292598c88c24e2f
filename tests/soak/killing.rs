//! One of three backends is killed under a steady load: no request fails, and people hardly notice.

use std::time::Duration;

use tollgate::base::clock;

use crate::support::process::Process;
use crate::support::steady::Steady;
use crate::support::{Gate, eventually};

/// Requests a second.
const RATE: u32 = 500;
/// A p99 below this is the machine's own unrest, and three times of it nobody's trouble.
const UNREST: Duration = Duration::from_millis(5);

/// A backend as a process of its own, on any free port.
async fn backend(name: &str) -> (Process, std::net::SocketAddr) {
    let process = Process::start(&["hello", "--listen", "127.0.0.1:0", "--name", name]);
    process.says("127.0.0.1:").await;
    let address = process.addresses_in("127.0.0.1:")[0];
    (process, address)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a soak"]
async fn kill_one_of_three() {
    let half = super::duration() / 2;
    let (mut first, one) = backend("one").await;
    let (_second, two) = backend("two").await;
    let (_third, three) = backend("three").await;
    let gate = Gate::start(&format!(
        "[upstreams.app]\naddresses = [\"{one}\", \"{two}\", \"{three}\"]\n[[routes]]\nprefix = \"/\"\nupstream = \"app\""
    ));
    let load = Steady::start(gate.address(), "/", 20, RATE);
    let wait = async |long: Duration| {
        let until = clock::now() + long;
        tokio::time::sleep_until(until.into()).await;
    };
    wait(half / 4).await;
    assert_eq!(load.part().bad, 0);
    wait(half).await;
    let before = load.part();
    first.signal("KILL");
    eventually("it is dead", || !first.runs()).await;
    wait(half).await;
    let after = load.stop().await;
    let (calm, shaken) = (before.quantile(0.99), after.quantile(0.99));
    println!("p99 {calm:?} before, {shaken:?} after; {} and {} answers", before.times.len(), after.times.len());
    assert_eq!((before.bad, after.bad), (0, 0), "{:?} {:?}", before.faults, after.faults);
    assert_eq!(before.backends.len(), 3, "{:?}", before.backends);
    assert!(shaken < calm.max(UNREST) * 3, "p99 {calm:?} before and {shaken:?} after");
}
