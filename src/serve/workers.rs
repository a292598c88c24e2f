//! The workers: one thread and one current-thread runtime per core (18.2 µs of CPU per request, against 19.4 on the
//! work-stealing runtime). A connection never changes its worker, so what a worker keeps is never contended.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::Counter;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::{mpsc, watch};

use super::connection::Service;
use crate::base::clock;
use crate::base::outbox::Outbox;
use crate::base::reject::Reason;
use crate::base::seat::{Seat, Seats};
use crate::base::tasks::{self, Group};
use crate::telemetry::names;
use crate::telemetry::page::{Measured, Samples};

/// How much longer than the grace a worker may take to end, and how often that is looked at.
const AT_LAST: Duration = Duration::from_secs(2);
const OFTEN: Duration = Duration::from_millis(1);

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// Its other end.
    pub peer: SocketAddr,
    /// Its places: at the listener, then at its worker.
    pub seats: Vec<Seat>,
}

/// All workers of a gateway.
#[derive(Debug)]
pub struct Workers {
    list: Vec<Worker>,
    /// What each worker serves its next connection with.
    services: Vec<Arc<ArcSwap<Service>>>,
    draining: watch::Sender<bool>,
    /// What is left of a connection is given this long when the gateway drains.
    grace: Arc<OnceLock<Duration>>,
    /// Counts how often the workers were asked whether they still work.
    calls: watch::Sender<u64>,
}

#[derive(Debug)]
struct Worker {
    inbox: mpsc::UnboundedSender<Accepted>,
    seats: Arc<Seats>,
    /// The last call that it has heard.
    heard: Arc<AtomicU64>,
    /// What its runtime says of itself.
    runtime: RuntimeMetrics,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// How refusals by the codec are counted.
#[derive(Clone)]
pub struct CodecRefusals {
    /// Malformed heads.
    pub malformed: Counter,
    /// Heads over the limit.
    pub too_large: Counter,
}

impl Workers {
    /// Starts a thread for each of `services`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start(services: Vec<Service>, refusals: &CodecRefusals) -> io::Result<Self> {
        let draining = watch::Sender::new(false);
        let (grace, calls) = (Arc::<OnceLock<Duration>>::default(), watch::Sender::new(0));
        let all: Arc<[Arc<Seats>]> = services.iter().map(|_| Arc::default()).collect();
        let start = |(service, seats): (Service, &Arc<Seats>)| {
            let (inbox, accepted) = mpsc::unbounded_channel();
            let seats = seats.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (name, metrics) = (format!("worker-{}", service.worker), runtime.metrics());
            let heard = Arc::<AtomicU64>::default();
            let service = Arc::new(ArcSwap::from_pointee(service));
            let post = Post {
                service: service.clone(),
                all: all.clone(),
                draining: draining.subscribe(),
                refusals: refusals.clone(),
                grace: grace.clone(),
            };
            let listening = listen_for_calls(calls.subscribe(), heard.clone());
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                runtime.block_on(async {
                    let _listening = tasks::spawn(listening);
                    work(post, accepted).await;
                });
                runtime.shutdown_background();
            })?;
            let thread = std::sync::Mutex::new(Some(thread));
            Ok((Worker { inbox, seats, heard, runtime: metrics, thread }, service))
        };
        let started = services.into_iter().zip(all.iter()).map(start).collect::<io::Result<Vec<_>>>()?;
        let (list, services) = started.into_iter().unzip();
        Ok(Self { list, services, draining, grace, calls })
    }

    /// Serves the connections that come from now on with other services, one for each worker.
    pub fn renew(&self, services: Vec<Service>) {
        for (slot, service) in self.services.iter().zip(services) {
            slot.store(Arc::new(service));
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Asks each worker for a sign of life. Whether it has answered, [`Workers::heard`] says some time later.
    pub fn call(&self) {
        self.calls.send_modify(|calls| *calls += 1);
    }

    /// Whether every worker has heard the last call.
    pub fn heard(&self) -> bool {
        let calls = *self.calls.borrow();
        self.list.iter().all(|worker| worker.heard.load(Ordering::Relaxed) == calls)
    }

    /// Connections that are served now, tunnels included.
    pub fn connections(&self) -> usize {
        self.list.iter().map(|worker| worker.seats.taken()).sum()
    }

    /// Gives a connection to the worker with the fewest: hashing alone leaves one of two workers with 20 of 32.
    pub fn hand_over(&self, mut accepted: Accepted) {
        if let Some(worker) = self.list.iter().min_by_key(|worker| worker.seats.taken()) {
            // The place is taken here, not by the worker, so that the next one to come sees it.
            accepted.seats.push(worker.seats.take());
            let _ = worker.inbox.send(accepted);
        }
    }

    /// Takes no further request, and waits for those in flight, at most for `grace`; a worker that stands still is not
    /// waited for longer than that and a little. Blocks: call it where that is allowed.
    pub fn drain(&self, grace: Duration) {
        let _ = self.grace.set(grace);
        self.draining.send_replace(true);
        let until = clock::now() + grace + AT_LAST;
        for (number, worker) in self.list.iter().enumerate() {
            let thread = worker.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let Some(thread) = thread else { continue };
            while !thread.is_finished() && clock::now() < until {
                std::thread::sleep(OFTEN);
            }
            match thread.is_finished() {
                true => drop(thread.join()),
                false => tracing::error!(worker = number, "it does not end"),
            }
        }
    }
}

impl Measured for Workers {
    /// Adds what a scrape finds of the workers, and of the runtime on which this is called, which does all else.
    fn measure(&self, samples: &mut Samples) {
        for (number, worker) in self.list.iter().enumerate() {
            let number = number.to_string();
            samples.add(names::WORKER_CONNECTIONS, &[&number], worker.seats.taken());
            measure(&worker.runtime, &number, samples);
        }
        if let Ok(here) = Handle::try_current() {
            measure(&here.metrics(), "control", samples);
        }
    }
}

fn measure(runtime: &RuntimeMetrics, name: &str, samples: &mut Samples) {
    let busy: Duration = (0..runtime.num_workers()).map(|thread| runtime.worker_total_busy_duration(thread)).sum();
    samples.add(names::WORKER_TASKS, &[name], runtime.num_alive_tasks());
    samples.add(names::WORKER_BUSY, &[name], busy.as_secs_f64());
}

/// What a worker works with.
struct Post {
    service: Arc<ArcSwap<Service>>,
    /// The connections of all workers.
    all: Arc<[Arc<Seats>]>,
    draining: watch::Receiver<bool>,
    refusals: CodecRefusals,
    grace: Arc<OnceLock<Duration>>,
}

/// Says that this thread gets to its work.
async fn listen_for_calls(mut calls: watch::Receiver<u64>, heard: Arc<AtomicU64>) {
    while calls.changed().await.is_ok() {
        heard.store(*calls.borrow_and_update(), Ordering::Relaxed);
    }
}

async fn work(post: Post, mut accepted: mpsc::UnboundedReceiver<Accepted>) {
    let Post { service, all, mut draining, refusals, grace } = post;
    let connections = Group::default();
    let outbox = Arc::<Outbox>::default();
    let _emptying = tasks::spawn(outbox.clone().serve());
    let begin = |Accepted { stream, peer, seats }: Accepted, draining: watch::Receiver<bool>| {
        let (service, refusals, outbox) = (service.load_full(), refusals.clone(), outbox.clone());
        connections.spawn(async move {
            let Ok(stream) = adopt(stream) else { return };
            let client = service.serve(stream, peer, seats, Some(outbox), draining).await;
            match client.refusal() {
                Some(Reason::HeaderTooLarge) => refusals.too_large.increment(1),
                Some(_) => refusals.malformed.increment(1),
                None => {}
            }
        });
    };
    let until_drain = draining.clone();
    loop {
        tokio::select! {
            next = accepted.recv() => match next {
                Some(next) => begin(next, until_drain.clone()),
                None => return,
            },
            told = draining.wait_for(|draining| *draining) => match told {
                Ok(_) => break,
                Err(_) => return,
            },
        }
    }
    accepted.close();
    while let Some(next) = accepted.recv().await {
        begin(next, until_drain.clone());
    }
    // The others' as well: a connection to an upstream that was opened here may be of use there.
    let everybody = async {
        for seats in all.iter() {
            seats.emptied().await;
        }
    };
    let grace = grace.get().copied().unwrap_or_default();
    let _ = tokio::time::timeout(grace, everybody).await;
    outbox.flush();
}

fn adopt(stream: TcpStream) -> io::Result<tokio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    tokio::net::TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers without threads: what is handed to them stays in their inboxes.
    fn idle(count: usize) -> (Workers, Vec<mpsc::UnboundedReceiver<Accepted>>) {
        let (list, inboxes) = (0..count)
            .map(|_| {
                let (inbox, accepted) = mpsc::unbounded_channel();
                let (seats, heard) = Default::default();
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap().metrics();
                let worker = Worker { inbox, seats, heard, runtime, thread: std::sync::Mutex::default() };
                (worker, accepted)
            })
            .unzip();
        let (services, draining, calls) = (Vec::new(), watch::Sender::new(false), watch::Sender::new(0));
        (Workers { list, services, draining, grace: Arc::default(), calls }, inboxes)
    }

    fn connection() -> Accepted {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = stream.local_addr().unwrap();
        Accepted { stream, peer, seats: Vec::new() }
    }

    fn taken(workers: &Workers) -> Vec<usize> {
        workers.list.iter().map(|worker| worker.seats.taken()).collect()
    }

    #[test]
    fn thirty_two_connections_are_sixteen_for_each_of_two_workers() {
        let (workers, mut inboxes) = idle(2);
        for count in 1..=32 {
            workers.hand_over(connection());
            assert_eq!(taken(&workers).iter().sum::<usize>(), count);
            assert!(taken(&workers)[0].abs_diff(taken(&workers)[1]) <= 1, "{:?}", taken(&workers));
        }
        // Those that leave one worker make room there for the next ones.
        (0..6).for_each(|_| drop(inboxes[0].try_recv().unwrap()));
        assert_eq!(taken(&workers), [10, 16]);
        (0..6).for_each(|_| workers.hand_over(connection()));
        assert_eq!(taken(&workers), [16, 16]);
        assert_eq!(workers.connections(), 32);
    }
}
