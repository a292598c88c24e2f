//! `tollgate demo`: backends, a DNS server that names them, an issuer and the gateway in front, in one process. Only wiring: each
//! piece is in the library, and works without the others.

mod issuer;

use std::io::{BufRead as _, stdin};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tollgate::app::Gateway;
use tollgate::base::tasks;
use tollgate::config::{Config, load};
use tollgate::lab::dns::NameServer;
use tollgate::lab::replicas::{MAX_REPLICAS, ReplicaOptions, Replicas};
use tollgate::lab::serve;

use crate::{Exit, io, runtime};
use issuer::DemoIssuer;

/// The name that the backends share.
const NAME: &str = "app";
/// What Docker's DNS says, however short-lived its answers are.
const TTL_SECONDS: u32 = 600;
/// The backends' port, if it is free.
const PORT: u16 = 12345;

/// Run backends, a DNS server that names them and a gateway in front, to try it all on one machine
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Number of backends to begin with
    #[arg(long, default_value_t = 3, value_name = "N")]
    replicas: usize,
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address that takes `POST /scale?replicas=N`
    #[arg(long, default_value = "127.0.0.1:8089", value_name = "ADDRESS")]
    control: SocketAddr,
}

impl Demo {
    pub(crate) fn run(&self) -> Exit {
        runtime::block_on(async {
            match self.play().await {
                Ok(()) => Exit::Fine,
                Err(error) => {
                    io::complain(&format!("error: {error}\n"));
                    Exit::Unavailable
                }
            }
        })
    }

    async fn play(&self) -> Result<(), String> {
        let control = TcpListener::bind(self.control)
            .await
            .map_err(|error| format!("cannot listen on {} (--control): {error}", self.control))?;
        let names = NameServer::bind((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .map_err(|error| format!("cannot start a DNS server: {error}"))?;
        let names = Arc::new(names);
        let mut replicas = start_replicas(self.replicas, Arc::clone(&names)).await?;

        let issuer = DemoIssuer::start().await?;
        let config = config(self.listen, names.local_addr(), replicas.port(), &issuer)?;
        let mut stop = std::pin::pin!(runtime::stop());
        let gateway = Gateway::start(&config).map_err(|error| format!("{error} (--listen)"))?;
        let control_address = control.local_addr().unwrap_or(self.control);
        let listen = gateway.addresses().first().copied().unwrap_or(self.listen);
        say(&welcome(self.replicas, listen, control_address, gateway.admin_address(), &issuer.commands(listen)?));

        let (orders, mut ordered) = mpsc::channel(1);
        let _control = tasks::spawn(serve::serve(control, control_router(orders), std::future::pending()));
        let mut typed = typed_lines();
        loop {
            // A closed channel is passed over, so the end of standard input ends nothing and costs nothing.
            tokio::select! {
                () = &mut stop => break,
                Some(order) = ordered.recv() => {
                    let Order { count, done } = order;
                    let _ = done.send(scale(&mut replicas, count).await);
                }
                Some(line) = typed.recv() => match asked_for(&line) {
                    Some(count) => say(&scale(&mut replicas, count).await.unwrap_or_else(|error| error)),
                    None => say("write: scale N"),
                },
            }
        }
        let _ = tokio::task::spawn_blocking(move || gateway.shutdown()).await;
        replicas.stop().await;
        Ok(())
    }
}

/// Starts the backends, on their usual port or on any.
async fn start_replicas(count: usize, names: Arc<NameServer>) -> Result<Replicas<impl Fn(&[IpAddr])>, String> {
    let publish = move |addresses: &[IpAddr]| names.set(NAME, addresses.to_vec(), TTL_SECONDS);
    let options = ReplicaOptions {
        name: NAME.to_owned(),
        port: PORT,
        // Twice the time after which the gateway asks again.
        linger: Duration::from_secs(2),
        drain: Duration::from_secs(10),
    };
    let any_port = ReplicaOptions { port: 0, ..options.clone() };
    match Replicas::start(options, count, publish.clone()).await {
        Ok(replicas) => Ok(replicas),
        Err(_) => Replicas::start(any_port, count, publish)
            .await
            .map_err(|error| format!("cannot start {count} backends: {error}")),
    }
}

async fn scale<P: Fn(&[IpAddr])>(replicas: &mut Replicas<P>, count: usize) -> Result<String, String> {
    replicas.scale(count).await.map_err(|error| error.to_string())?;
    Ok(format!("{count} replicas"))
}

/// The number in `scale N`.
fn asked_for(line: &str) -> Option<usize> {
    line.trim().strip_prefix("scale ")?.trim().parse().ok().filter(|count| *count <= MAX_REPLICAS)
}

/// Lines from standard input. Its own thread, because a read of a terminal cannot be called off.
fn typed_lines() -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// A wish to have so many replicas, and where the outcome goes.
struct Order {
    count: usize,
    done: oneshot::Sender<Result<String, String>>,
}

#[derive(serde::Deserialize)]
struct Wanted {
    replicas: usize,
}

fn control_router(orders: mpsc::Sender<Order>) -> axum::Router {
    axum::Router::new()
        .route("/", get(|| async { "POST /scale?replicas=N\n" }))
        .route("/scale", post(take_order))
        .with_state(orders)
}

async fn take_order(State(orders): State<mpsc::Sender<Order>>, Query(wanted): Query<Wanted>) -> (StatusCode, String) {
    let (done, outcome) = oneshot::channel();
    let _ = orders.send(Order { count: wanted.replicas, done }).await;
    match outcome.await {
        Ok(Ok(text)) => (StatusCode::OK, text + "\n"),
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, error + "\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    }
}

/// The configuration as a user would write it, through the loader that checks it.
fn config(listen: SocketAddr, dns: SocketAddr, port: u16, issuer: &DemoIssuer) -> Result<Config, String> {
    let text = format!(
        r#"
        [server]
        listen = ["{listen}"]
        [admin]
        listen = "127.0.0.1:0"
        [log]
        access = "off"
        [dns]
        servers = ["{dns}"]
        refresh = "1s"
        [upstreams.app]
        dns = "{NAME}.:{port}"
        [[routes]]
        prefix = "/"
        upstream = "app"
        "#
    );
    let loaded = load::from_text(&(text + &issuer.config())).map_err(|problems| problems.to_string())?;
    Ok(loaded.config)
}

fn welcome(
    replicas: usize,
    listen: SocketAddr,
    control: SocketAddr,
    admin: Option<SocketAddr>,
    tokens: &str,
) -> String {
    let admin = admin.map_or_else(String::new, |admin| {
        format!("  its status       http://{admin}/status\n  its metrics      http://{admin}/metrics\n")
    });
    format!(
        "{replicas} backends, a DNS server that names them (for {TTL_SECONDS} s, it says), an issuer and a gateway are up.\n\n\
         \x20 the gateway      http://{listen}/\n{admin}\n\
         In another terminal:\n\n\
         \x20 tollgate probe http://{listen}/ -n 30\n\
         \x20 curl -i http://{listen}/echo\n\
         {tokens}\
         \x20 curl -X POST 'http://{control}/scale?replicas=5'\n\n\
         Here: `scale N` changes the number of backends, ^C ends it all."
    )
}

fn say(text: &str) {
    let _ = io::print(&format!("{text}\n"));
}
