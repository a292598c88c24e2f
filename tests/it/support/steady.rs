//! A steady rate: clients on keep-alive connections that ask at fixed times, whether the answers come soon or late, as
//! people do. An answer's time counts from the moment at which it should have been asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Version;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tollgate::base::clock;
use tollgate::base::tasks::{self, Task};

use super::load::Client;

/// Faults that are remembered with their text.
const REMEMBERED: usize = 20;

/// Clients that ask at a steady rate.
pub(crate) struct Steady {
    stop: CancellationToken,
    seen: Arc<Mutex<Asked>>,
    lanes: Vec<Task>,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The times of the good answers, since the last [`Steady::part`].
    pub(crate) times: Vec<Duration>,
    /// The good answers by backend.
    pub(crate) backends: BTreeMap<String, u64>,
    /// What was no good answer.
    pub(crate) bad: u64,
    /// The first of it.
    pub(crate) faults: Vec<String>,
}

impl Steady {
    /// So many clients, which GET `path` so often a second, all together.
    pub(crate) fn start(address: SocketAddr, path: &str, clients: u32, per_second: u32) -> Self {
        let (stop, seen) = (CancellationToken::new(), Arc::<Mutex<Asked>>::default());
        let period = Duration::from_secs(1) * clients / per_second;
        let lane = |number: u32| {
            let (stop, seen, path) = (stop.clone(), seen.clone(), path.to_owned());
            let first = clock::now() + period * number / clients;
            tasks::spawn(async move {
                let mut client = Client::new(address, Version::HTTP_11);
                let mut ticks = tokio::time::interval_at(first.into(), period);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
                loop {
                    let due = tokio::select! {
                        due = ticks.tick() => due.into_std(),
                        () = stop.cancelled() => return,
                    };
                    let answer = client.ask(&path).await;
                    note(&seen, answer, due);
                }
            })
        };
        Self { lanes: (0..clients).map(lane).collect(), stop, seen }
    }

    /// What came back since the last part was taken.
    pub(crate) fn part(&self) -> Asked {
        std::mem::take(&mut lock(&self.seen))
    }

    /// Lets every client finish what it has asked. Returns what came back since the last part was taken.
    pub(crate) async fn stop(self) -> Asked {
        self.stop.cancel();
        for lane in self.lanes {
            lane.finished().await;
        }
        std::mem::take(&mut lock(&self.seen))
    }
}

impl Asked {
    /// The time within which this share of the answers came.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (share * (times.len() as f64 - 1.0)).round().max(0.0) as usize;
        times.get(at).copied().unwrap_or_default()
    }
}

fn note(seen: &Mutex<Asked>, answer: Result<super::load::Answer, String>, due: Instant) {
    let took = due.elapsed();
    let mut seen = lock(seen);
    let fault = match answer {
        Ok(answer) if answer.status.is_success() => {
            seen.times.push(took);
            *seen.backends.entry(answer.backend).or_default() += 1;
            return;
        }
        Ok(answer) => format!("{} {}", answer.status, answer.body),
        Err(error) => error,
    };
    seen.bad += 1;
    if seen.faults.len() < REMEMBERED {
        seen.faults.push(fault);
    }
}

fn lock(seen: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
