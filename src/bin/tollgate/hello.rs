//! `tollgate hello`: one backend of the demo, on its own. Only flags and start; what it answers is in the library.

use std::net::SocketAddr;

use tokio::net::{TcpListener, lookup_host};
use tollgate::lab::hello;

use crate::{Exit, io, runtime};

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
    pub(crate) fn run(&self) -> Exit {
        runtime::block_on(self.serve())
    }

    async fn serve(&self) -> Exit {
        let listener = match TcpListener::bind(self.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                io::complain(&format!("error: cannot listen on {}: {error}\n", self.listen));
                return Exit::Unavailable;
            }
        };
        let address = listener.local_addr().unwrap_or(self.listen);
        let name = match &self.name {
            Some(name) => name.clone(),
            None => identity(address).await,
        };
        let stop = runtime::stop();
        let _ = io::print(&format!("{name} listens on {address}\n"));
        hello::serve(listener, name, stop).await;
        Exit::Fine
    }
}

/// The host's name and the address that others reach it by, as far as they can be had.
async fn identity(listening: SocketAddr) -> String {
    // The kernel's own word for it, in a container the container's.
    let host = tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    if !listening.ip().is_unspecified() {
        return format!("{host} {}", listening.ip());
    }
    let own = lookup_host((host, 0)).await.ok().and_then(|mut addresses| addresses.next());
    own.map_or_else(|| host.to_owned(), |own| format!("{host} {}", own.ip()))
}
