//! The listening sockets: bound anew, or taken from somebody who has bound them before: systemd, or another gateway.
//! A socket that is handed on never closes, so no client is refused.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::StartError;
use crate::config::Config;
use crate::serve::listen::{self, Listener};

/// Whom a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `[server] listen`
    Clients,
    /// `[admin] listen`
    Operators,
}

/// A socket that somebody else has bound.
#[derive(Debug)]
pub struct Handed {
    /// The socket.
    pub socket: TcpListener,
    /// What it was for; a service manager does not know.
    pub origin: Option<(Role, SocketAddr)>,
}

/// The sockets that a gateway may begin with.
#[derive(Debug, Default)]
pub struct Inherited {
    handed: Vec<Handed>,
    /// Whether each of them has to be used.
    all: bool,
}

impl Inherited {
    /// From a service manager. It keeps the sockets open, so that clients would wait for ever on one that is not used.
    pub fn from_manager(sockets: Vec<TcpListener>) -> Self {
        Self { handed: sockets.into_iter().map(|socket| Handed { socket, origin: None }).collect(), all: true }
    }

    /// From another gateway, whose configuration may have had other addresses.
    pub fn from_gateway(handed: Vec<Handed>) -> Self {
        Self { handed, all: false }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.handed.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.handed.is_empty()
    }

    /// A listener at each of these addresses: handed over, or bound now.
    pub(super) fn bind_all(&mut self, role: Role, addresses: &[SocketAddr]) -> Result<Vec<Listener>, StartError> {
        let bind = |&address: &SocketAddr| {
            let handed = self.handed.iter().position(|handed| handed.is_for(role, address));
            let listener = match handed {
                Some(at) => listen::adopt(self.handed.remove(at).socket),
                None => listen::bind(address),
            };
            listener.map_err(|error| StartError::Listen { address, error })
        };
        addresses.iter().map(bind).collect()
    }

    /// Closes what is left, unless all had to be used.
    pub(super) fn finish(self) -> Result<(), StartError> {
        for handed in self.handed {
            let address = handed.socket.local_addr()?;
            if self.all {
                return Err(StartError::Unwanted { address });
            }
            tracing::info!(%address, "the gateway before listened here; this one does not");
        }
        Ok(())
    }
}

impl Handed {
    fn is_for(&self, role: Role, wanted: SocketAddr) -> bool {
        match self.origin {
            Some(origin) => origin == (role, wanted),
            None => self.socket.local_addr().is_ok_and(|bound| is_same(bound, wanted)),
        }
    }
}

/// Whether a socket bound to the one is what the other asks for. `[::]` takes IPv4 too, and is what a manager binds when
/// only a port is written.
fn is_same(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let (one, other) = (bound.ip().to_canonical(), wanted.ip().to_canonical());
    let any = |address: IpAddr| address.is_unspecified();
    bound.port() == wanted.port() && (one == other || any(one) && any(other))
}

/// Second handles of the sockets that are listened on, to be handed on.
#[derive(Debug, Default)]
pub struct Handles(Mutex<Vec<Handed>>);

impl Handles {
    /// Of these listeners; none where nobody may have them.
    pub(super) fn of(config: &Config, clients: &[Listener], admin: Option<&Listener>) -> Result<Self, StartError> {
        let clients = clients.iter().zip(&config.server.listen).map(|(one, &address)| (one, Role::Clients, address));
        let admin = admin.zip(config.admin.listen).map(|(one, address)| (one, Role::Operators, address));
        let handle = |(listener, role, address): (&Listener, Role, SocketAddr)| {
            Ok(Handed { socket: listener.duplicate()?, origin: Some((role, address)) })
        };
        Ok(Self(Mutex::new(clients.chain(admin).map(handle).collect::<Result<_, StartError>>()?)))
    }

    /// Does something with them; none are left when this gateway listens no more.
    pub fn with<T>(&self, work: impl FnOnce(&[Handed]) -> T) -> T {
        work(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes them: a socket that nobody accepts from must not take clients.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_by_its_address() {
        let same = |bound: &str, wanted: &str| is_same(bound.parse().unwrap(), wanted.parse().unwrap());
        assert!(same("127.0.0.1:80", "127.0.0.1:80"));
        assert!(same("[::]:80", "0.0.0.0:80") && same("0.0.0.0:80", "[::]:80"));
        assert!(same("[::ffff:10.0.0.1]:80", "10.0.0.1:80"));
        assert!(!same("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!same("127.0.0.1:80", "0.0.0.0:80") && !same("[::]:80", "127.0.0.1:80"));
    }

    #[test]
    fn what_a_manager_hands_over_has_to_be_used_and_what_a_gateway_does_need_not() {
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = socket();
        let address = wanted.local_addr().unwrap();
        let mut manager = Inherited::from_manager(vec![socket(), wanted]);
        let bound = manager.bind_all(Role::Clients, &[address]).unwrap();
        assert_eq!((bound[0].address, manager.len()), (address, 1));
        assert!(matches!(manager.finish(), Err(StartError::Unwanted { .. })));

        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let other = socket();
        let found = other.local_addr().unwrap();
        let handed = Handed { socket: other, origin: Some((Role::Operators, any)) };
        let mut gateway = Inherited::from_gateway(vec![handed]);
        assert_ne!(gateway.bind_all(Role::Clients, &[any]).unwrap()[0].address, found, "it was for operators");
        assert_eq!(gateway.bind_all(Role::Operators, &[any]).unwrap()[0].address, found);
        let left = Handed { socket: socket(), origin: Some((Role::Clients, any)) };
        assert!(Inherited::from_gateway(vec![left]).finish().is_ok());
    }
}
