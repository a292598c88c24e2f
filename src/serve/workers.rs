//! The workers: one thread and one current-thread runtime per core (18.2 µs of CPU per request, against 19.4 on the
//! work-stealing runtime). A connection never changes its worker, so what a worker keeps is never contended.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{mpsc, watch};

use super::connection::Service;
use crate::base::reject::Reason;
use crate::base::seat::{Seat, Seats};
use crate::base::tasks::Group;

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
    draining: watch::Sender<bool>,
}

#[derive(Debug)]
struct Worker {
    inbox: mpsc::UnboundedSender<Accepted>,
    seats: Arc<Seats>,
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
    /// Starts a thread for each of `services`. When the gateway drains, each gives its connections `grace`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start(services: Vec<Service>, refusals: &CodecRefusals, grace: Duration) -> io::Result<Self> {
        let draining = watch::Sender::new(false);
        let all: Arc<[Arc<Seats>]> = services.iter().map(|_| Arc::default()).collect();
        let start = |(service, seats): (Service, &Arc<Seats>)| {
            let (inbox, accepted) = mpsc::unbounded_channel();
            let seats = seats.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (all, draining, refusals) = (all.clone(), draining.subscribe(), refusals.clone());
            let name = format!("worker-{}", service.worker);
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                runtime.block_on(work(Arc::new(service), accepted, all, draining, refusals, grace));
                runtime.shutdown_background();
            })?;
            Ok(Worker { inbox, seats, thread: std::sync::Mutex::new(Some(thread)) })
        };
        let list = services.into_iter().zip(all.iter()).map(start).collect::<io::Result<_>>()?;
        Ok(Self { list, draining })
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

    /// Takes no further request, and waits for those in flight, at most for the grace that the workers were given.
    /// Blocks: call it where that is allowed.
    pub fn drain(&self) {
        self.draining.send_replace(true);
        for worker in &self.list {
            let thread = worker.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(thread) = thread {
                let _ = thread.join();
            }
        }
    }
}

async fn work(
    service: Arc<Service>,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    all: Arc<[Arc<Seats>]>,
    mut draining: watch::Receiver<bool>,
    refusals: CodecRefusals,
    grace: Duration,
) {
    let connections = Group::default();
    let begin = |Accepted { stream, peer, seats }: Accepted, draining: watch::Receiver<bool>| {
        let (service, refusals) = (service.clone(), refusals.clone());
        connections.spawn(async move {
            let Ok(stream) = adopt(stream) else { return };
            let client = service.serve(stream, peer, seats, draining).await;
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
    let _ = tokio::time::timeout(grace, everybody).await;
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
                let worker = Worker { inbox, seats: Arc::default(), thread: std::sync::Mutex::default() };
                (worker, accepted)
            })
            .unzip();
        let draining = watch::Sender::new(false);
        (Workers { list, draining }, inboxes)
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
