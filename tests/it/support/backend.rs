//! A backend that does what its script says, well-behaved or not, and remembers what it was sent.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::wire::{Content, Head, Wire};

/// The plainest answer.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A running backend; it ends with the value.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    notes: Arc<Notes>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    /// Its body, where the script has read it.
    pub(crate) content: Content,
    /// Which connection it came on, counted from 1.
    pub(crate) connection: usize,
}

/// One connection to the backend, in the hands of the script.
#[derive(Debug)]
pub(crate) struct Peer {
    wire: Wire,
    notes: Arc<Notes>,
    /// Which connection it is, counted from 1.
    pub(crate) number: usize,
}

impl Backend {
    /// Runs `script` for each connection.
    pub(crate) async fn start<F>(script: impl Fn(Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(Ipv4Addr::LOCALHOST, script).await
    }

    /// The same at this loopback address.
    pub(crate) async fn on<F>(address: Ipv4Addr, script: impl Fn(Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        Self::listening(listener, script)
    }

    fn listening<F>(listener: TcpListener, script: impl Fn(Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let notes = Arc::<Notes>::default();
        let noted = notes.clone();
        let task = tokio::spawn(async move {
            let mut running = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                running.spawn(script(Peer::new(stream, &noted)));
            }
        });
        Self { address, notes, task }
    }

    /// Reads each request whole and answers it with these bytes, on connections that stay open.
    pub(crate) async fn answering(bytes: impl AsRef<[u8]>) -> Self {
        let bytes: Arc<[u8]> = bytes.as_ref().into();
        Self::replying(move |_| bytes.to_vec()).await
    }

    /// Reads each request whole and answers it with what `reply` makes of it, on connections that stay open.
    pub(crate) async fn replying<R: AsRef<[u8]>>(reply: impl Fn(&Seen) -> R + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::start(move |mut peer| {
            let reply = reply.clone();
            async move {
                while let Some(seen) = peer.request().await {
                    let bytes = reply(&seen).as_ref().to_vec();
                    peer.send(bytes).await;
                }
            }
        })
        .await
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, in the order in which they were read.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.notes.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    fn new(stream: TcpStream, notes: &Arc<Notes>) -> Self {
        Self {
            wire: Wire::new(stream),
            notes: notes.clone(),
            number: notes.connections.fetch_add(1, Ordering::SeqCst) + 1,
        }
    }

    /// Reads a request head and remembers it; `None` when the connection ends before.
    pub(crate) async fn request_head(&mut self) -> Option<Head> {
        let head = self.wire.head().await?;
        self.note(head.clone(), Content::default());
        Some(head)
    }

    /// Reads a request whole and remembers it; `None` when the connection ends before.
    pub(crate) async fn request(&mut self) -> Option<Seen> {
        let head = self.wire.head().await?;
        let content = self.wire.content(&head, false).await?;
        Some(self.note(head, content))
    }

    fn note(&self, head: Head, content: Content) -> Seen {
        let seen = Seen { head, content, connection: self.number };
        self.notes.seen.lock().unwrap().push(seen.clone());
        seen
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

impl Deref for Peer {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
