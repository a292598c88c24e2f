//! `tollgate hello`: one backend of the demo, on its own. Only flags and start; what it answers is in the library.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::net::{TcpListener, lookup_host};
use tollgate::lab::hello;

use crate::signals;

/// Answer "Hello, world! I am NAME", echo, wait and fail on request, until SIGTERM or ^C
#[derive(Debug, clap::Args)]
pub(crate) struct Hello {
    /// Address to serve on
    #[arg(long, default_value = "0.0.0.0:12345", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What it calls itself [default: host name and address]
    #[arg(long)]
    name: Option<String>,
}

impl Hello {
    pub(crate) async fn run(self) -> ExitCode {
        let listener = match TcpListener::bind(self.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: cannot listen on {}: {error}", self.listen);
                return ExitCode::from(3);
            }
        };
        let address = listener.local_addr().unwrap_or(self.listen);
        let name = match self.name {
            Some(name) => name,
            None => identity(address).await,
        };
        let _ = writeln!(io::stdout(), "{name} listens on {address}");
        hello::serve(listener, name, signals::stop()).await;
        ExitCode::SUCCESS
    }
}

/// The host's name and the address that others reach it by, as far as they can be had.
async fn identity(listening: SocketAddr) -> String {
    // The kernel's own word for it, in a container the container's.
    let host = tokio::fs::read_to_string("/proc/sys/kernel/hostname")
        .await
        .unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    if !listening.ip().is_unspecified() {
        return format!("{host} {}", listening.ip());
    }
    let own = lookup_host((host, 0))
        .await
        .ok()
        .and_then(|mut addresses| addresses.next());
    own.map_or_else(|| host.to_owned(), |own| format!("{host} {}", own.ip()))
}
