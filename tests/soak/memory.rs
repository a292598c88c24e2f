//! What the cache takes of the machine: resident memory while a full cache is filled anew several times over, which no
//! counter of bytes can know, since an allocator has a say in it.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::process::Process;
use crate::support::{Backend, Client, get};

/// As the files in `deploy/` have it: without it the C library raises its threshold with each large block that is freed,
/// and large bodies come to lie between others.
const TUNABLES: &str = "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=196608";
/// How often it is filled.
const ROUNDS: u64 = 8;
/// Clients at a time, and what they and what they wait for take beside the cache.
const CLIENTS: u64 = 16;
const BESIDE: u64 = 4 << 20;

/// A deterministic spread of numbers.
fn scattered(number: u64) -> u64 {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

async fn resident(operators: std::net::SocketAddr) -> u64 {
    let page = get(operators, "/metrics").await.text();
    let line = page.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    line.unwrap().parse::<f64>().unwrap() as u64
}

/// Fills a cache of so many bytes with bodies of `least` to `most` bytes.
async fn fills(memory: u64, least: u64, most: u64) {
    let backend = Backend::replying(|seen| {
        let size = seen.head.target().split('/').nth(1).unwrap().parse().unwrap();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\ncache-control: max-age=3600\r\n\r\n{}", "x".repeat(size))
    });
    let backend = backend.await;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
         [cache]\nmemory = \"{}MiB\"\n[[routes]]\nprefix = \"/\"\nupstream = \"http://{}\"\ncache = true\n",
        memory >> 20,
        backend.address()
    );
    let start = |file: &str| {
        // What it is started with has an environment of its own.
        let mut command = Command::new("/usr/bin/env");
        command.args([TUNABLES, env!("CARGO_BIN_EXE_tollgate"), "run", "--config", file]);
        Process::of(command)
    };
    let (_gateway, address, operators) = Process::serve_by(&text, start).await;
    get(address, "/10").await;
    let (before, number) = (resident(operators).await, Arc::new(AtomicU64::new(0)));
    for round in 1..=ROUNDS {
        let until = memory * 5 / 4 * round / (least.midpoint(most) + 700);
        let crowd = (0..CLIENTS).map(|_| {
            let number = number.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                loop {
                    let own = number.fetch_add(1, Ordering::Relaxed);
                    if own >= until {
                        break;
                    }
                    let size = least + scattered(own) % (most - least);
                    assert_eq!(client.get(&format!("/{size}/{own}")).await.status(), 200);
                }
            })
        });
        for one in crowd.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        let grown = resident(operators).await.saturating_sub(before);
        let _ = writeln!(
            std::io::stderr(),
            "bodies of {least} to {most} bytes, round {round}: {:.1} MiB",
            grown as f64 / f64::from(1 << 20)
        );
        assert!(grown <= memory + memory / 10 + BESIDE, "{grown} of {memory} bytes, round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a soak"]
async fn a_cache_takes_no_more_of_the_machine_than_it_may() {
    for (memory, least, most) in [(16 << 20, 0, 300), (32 << 20, 1_000, 8_000), (64 << 20, 30_000, 500_000)] {
        fills(memory, least, most).await;
    }
}
