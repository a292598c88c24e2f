//! The listening sockets pass from a running gateway to the next one, over a Unix socket (`SCM_RIGHTS`, unix(7)). Both
//! accept from the same queues for a moment, then only the new one does: no client is refused.
//!
//! ```text
//! new      connects                                    to the path in `[server] takeover`
//! running  one line of JSON and the sockets            only to its own user, or root
//! new      starts, then says `ready`                   if it goes away before, nothing has happened
//! running  says `go`, finishes what it has, and ends   the new one offers the sockets at the path from now on
//! ```

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Handed, Handles, Inherited, Role};
use crate::base::tasks;

/// Sockets in one message; the system takes no more than 253.
const TOGETHER: usize = 64;
/// How long the other side may take for a message that needs no work.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the new gateway may take to start.
const START: Duration = Duration::from_secs(120);
/// Bytes in the description of the sockets.
const DESCRIPTION: usize = 64 * 1024;

/// What the sockets are, in their order.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    sockets: Vec<(Role, SocketAddr)>,
}

/// What the running gateway has given, and the way to tell it that it may go.
#[derive(Debug)]
pub struct Taken {
    stream: UnixStream,
    sockets: Vec<Handed>,
}

/// Asks whoever runs at this path for its sockets; none where nobody does. Blocks.
///
/// # Errors
/// When somebody is there and does not hand them over.
pub fn ask(path: &Path) -> io::Result<Option<Taken>> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let (line, handles) = receive(&stream)?;
    let description: Description = serde_json::from_slice(&line)?;
    if description.sockets.len() != handles.len() {
        return Err(io::Error::new(ErrorKind::InvalidData, "sockets are missing"));
    }
    let sockets = description.sockets.into_iter().zip(handles);
    let handed = sockets.map(|(origin, handle)| Handed { socket: TcpListener::from(handle), origin: Some(origin) });
    Ok(Some(Taken { sockets: handed.collect(), stream }))
}

impl Taken {
    /// The sockets, once.
    pub fn sockets(&mut self) -> Inherited {
        Inherited::from_gateway(std::mem::take(&mut self.sockets))
    }

    /// Says that this process serves, so that the other one may go. Blocks until it has heard.
    ///
    /// # Errors
    /// When it is gone already, which changes nothing.
    pub fn ready(mut self) -> io::Result<()> {
        self.stream.write_all(b"ready\n")?;
        expect(&self.stream, "go")
    }
}

/// Offers the sockets of a running gateway.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    file: SocketFile,
    handles: Arc<Handles>,
    taken_over: CancellationToken,
}

/// The name of a socket in the file system; goes with the value, unless it is another one's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Offer {
    /// Takes the path, from whoever has it. Cancels `taken_over` when another process serves.
    ///
    /// # Errors
    /// When the path cannot be had.
    pub fn bind(path: &Path, handles: Arc<Handles>, taken_over: CancellationToken) -> io::Result<Self> {
        // Bound under another name first, so that at the path there is always a socket that only its owner may use.
        let beside = PathBuf::from(format!("{}.new", path.display()));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        fs::rename(&beside, path)?;
        listener.set_nonblocking(true)?;
        let file = SocketFile { path: path.to_owned(), identity: identity(path) };
        Ok(Self { listener, file, handles, taken_over })
    }

    /// Hands the sockets to who asks for them, one after the other, until one of them serves.
    pub async fn serve(self, control: Handle) {
        let Self { listener, mut file, handles, taken_over } = self;
        let listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the sockets cannot be offered to another process"),
        };
        loop {
            let stream = match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let handles = handles.clone();
            match tasks::blocking_on(&control, move || hand_over(&stream, &handles)).await {
                Some(Ok(process)) => {
                    tracing::info!(process, "another process serves now");
                    // The path is its own from now on: it may be taking it at this moment.
                    file.identity = None;
                    return taken_over.cancel();
                }
                Some(Err(error)) => tracing::warn!(%error, "a takeover was not finished; this process serves on"),
                None => return,
            }
        }
    }
}

/// One takeover. Returns the process that serves now.
fn hand_over(stream: &UnixStream, handles: &Handles) -> io::Result<i32> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(START))?;
    let peer = sockopt::socket_peercred(stream)?;
    if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it was asked for by another user"));
    }
    handles.with(|handed| send(stream, handed))?;
    expect(stream, "ready")?;
    let mut stream = stream;
    // Whether the other side hears this or not, it serves.
    let _ = stream.write_all(b"go\n");
    Ok(peer.pid.as_raw_nonzero().get())
}

fn expect(stream: &UnixStream, word: &str) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, 64)).read_line(&mut line)?;
    match line.trim_end() {
        said if said == word => Ok(()),
        "" => Err(io::Error::new(ErrorKind::UnexpectedEof, "the other process went away")),
        said => Err(io::Error::new(ErrorKind::InvalidData, format!("the other process said {said:?}"))),
    }
}

/// The sockets go with blanks, which mean nothing before JSON; the line that says what they are comes after them.
fn send(mut stream: &UnixStream, handed: &[Handed]) -> io::Result<()> {
    let known = handed.iter().filter_map(|handed| Some((handed.origin?, handed.socket.as_fd())));
    let (sockets, handles): (Vec<_>, Vec<BorrowedFd<'_>>) = known.unzip();
    for chunk in handles.chunks(TOGETHER) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(chunk)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        sendmsg(stream, &[IoSlice::new(b" ")], &mut control, SendFlags::NOSIGNAL)?;
    }
    let mut line = serde_json::to_vec(&Description { sockets })?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads a line and all sockets that come with it.
fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut handles) = (Vec::new(), Vec::new());
    while line.last() != Some(&b'\n') {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                handles.extend(sockets);
            }
        }
        if received.bytes == 0 || line.len() > DESCRIPTION {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it did not hand its sockets over"));
        }
        line.extend_from_slice(&bytes[..received.bytes]);
    }
    Ok((line, handles))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_socket_arrives_and_is_the_same_one() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound: Vec<TcpListener> = (0..TOGETHER + 3).map(|_| TcpListener::bind(any).unwrap()).collect();
        let addresses: Vec<_> = bound.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let origin = |at: usize| (if at == 0 { Role::Operators } else { Role::Clients }, any);
        let handed: Vec<Handed> =
            bound.into_iter().enumerate().map(|(at, socket)| Handed { socket, origin: Some(origin(at)) }).collect();
        let (one, other) = UnixStream::pair().unwrap();
        let sending = std::thread::spawn(move || {
            send(&one, &handed).unwrap();
            drop(handed);
        });
        let (line, handles) = receive(&other).unwrap();
        sending.join().unwrap();
        let description: Description = serde_json::from_slice(&line).unwrap();
        assert_eq!(description.sockets[0], (Role::Operators, any));
        let received: Vec<TcpListener> = handles.into_iter().map(TcpListener::from).collect();
        assert_eq!(received.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), addresses);
        let mut client = std::net::TcpStream::connect(addresses[70 - 4]).unwrap();
        let (mut server, _) = received[70 - 4].accept().unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 1);
    }

    #[tokio::test]
    async fn who_was_taken_over_leaves_the_path_to_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let taken_over = CancellationToken::new();
        let offer = Offer::bind(&path, Arc::default(), taken_over.clone()).unwrap();
        let successor = path.clone();
        let taking = tokio::task::spawn_blocking(move || ask(&successor).unwrap().unwrap().ready().unwrap());
        offer.serve(Handle::current()).await;
        taking.await.unwrap();
        assert!(taken_over.is_cancelled() && path.exists());
        drop(Offer::bind(&path, Arc::default(), CancellationToken::new()).unwrap());
        assert!(!path.exists(), "nobody can take over from who has just ended");
    }

    #[test]
    fn where_nobody_listens_there_is_nothing_to_take() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(ask(&path).unwrap().is_none(), "no file");
        drop(UnixListener::bind(&path).unwrap());
        assert!(ask(&path).unwrap().is_none(), "a file that was left behind");
        let silent = UnixListener::bind(folder.path().join("t")).unwrap();
        let closing = std::thread::spawn(move || drop(silent.accept().unwrap()));
        assert!(ask(&folder.path().join("t")).is_err(), "somebody who says nothing");
        closing.join().unwrap();
    }
}
