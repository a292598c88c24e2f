//! One process after the other, and no client notices: sockets that are handed on, by the process before or by a service
//! manager, under load; and what the manager is told.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Version;
use tokio_util::sync::CancellationToken;
use tollgate::base::tasks::Task;

use crate::support::crowd::{self, says_back, tunnel};
use crate::support::load::{Client, Load, ask};
use crate::support::process::Process;
use crate::support::town::Town;
use crate::support::{eventually, eventually_async};

/// Clients that connect anew for each request.
struct Newcomers {
    stop: CancellationToken,
    lanes: Vec<tokio::task::JoinHandle<(u64, Vec<String>)>>,
}

impl Newcomers {
    fn start(address: SocketAddr, count: usize) -> Self {
        let stop = CancellationToken::new();
        let lane = |_| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let (mut good, mut faults) = (0, Vec::new());
                while !stop.is_cancelled() {
                    match Client::new(address, Version::HTTP_11).ask("/app/").await {
                        Ok(answer) if answer.status == 200 => good += 1,
                        other => faults.push(format!("{other:?}")),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (good, faults)
            })
        };
        Self { lanes: (0..count).map(lane).collect(), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        for lane in self.lanes {
            let (good, faults) = lane.await.unwrap();
            assert!(faults.is_empty() && good > 0, "{good} good, {faults:?}");
        }
    }
}

struct Scene {
    town: Town,
    _container: crate::support::town::Container,
    _echo: Task,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let town = Town::new().await;
        let container = town.start("app", 1).await;
        let echo = crowd::echo(town.listen(2).await);
        town.publish("app.test", &[1]);
        Self { town, _container: container, _echo: echo, folder: tempfile::tempdir().unwrap() }
    }

    /// Writes a configuration, and returns where.
    fn file(&self, name: &str, listen: &str, server: &str) -> String {
        let text = format!(
            "[server]\nlisten = [{listen}]\nworkers = 2\n{server}\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
             [dns]\nservers = [\"{}\"]\nfamily = \"v4\"\n[[routes]]\nprefix = \"/tunnel\"\nupstream = \"http://{}\"\n{}",
            self.town.names.local_addr(),
            self.town.socket(2),
            self.town.route("app")
        );
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn socket(&self) -> String {
        self.folder.path().join("takeover.sock").to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_after_the_other_takes_the_sockets_over_under_load() {
    let scene = Scene::new().await;
    let path = scene.socket();
    let file =
        scene.file("gateway.toml", "\"127.0.0.1:0\"", &format!("takeover = \"{path}\"\nshutdown_delay = \"60s\""));
    let arguments = ["run", "--config", &file, "--takeover"];
    let mut running = Process::start(&arguments);
    running.says("nobody to take over from").await;
    running.says("serving").await;
    let addresses = running.addresses_in("serving");
    let address = addresses[0];
    eventually("the socket is there", || std::fs::metadata(&path).is_ok()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (load, newcomers) = (Load::start(address, "/app/", 3), Newcomers::start(address, 2));
    load.goes_on(20).await;
    for _ in 0..3 {
        let mut talking = tunnel(address, "/tunnel").await;
        let next = Process::start(&arguments);
        next.says("serving").await;
        assert_eq!(next.addresses_in("serving"), addresses, "the same sockets");
        running.says("another process serves now").await;
        load.goes_on(50).await;
        says_back(&mut talking, b"still here").await.unwrap();
        assert!(running.runs(), "a tunnel is open");
        drop(talking);
        assert_eq!(running.ends().await, Some(0), "{}", running.printed());
        running = next;
        load.goes_on(50).await;
    }
    load.stop().await.assert_only("app");
    newcomers.stop().await;
    assert_eq!(ask(addresses[1], "/readyz").await.status, 200);
    running.signal("TERM");
    drop(scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_start_takes_nothing_over() {
    let scene = Scene::new().await;
    let path = scene.socket();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let offers = format!("takeover = \"{path}\"");
    let file = scene.file("gateway.toml", "\"127.0.0.1:0\"", &offers);
    let mut running = Process::start(&["run", "--config", &file]);
    running.says("serving").await;
    let address = running.addresses_in("serving")[0];
    eventually("the socket is there", || std::fs::metadata(&path).is_ok()).await;
    let more = format!("\"127.0.0.1:0\", \"{}\"", taken.local_addr().unwrap());
    let mut next = Process::start(&["run", "--config", &scene.file("more.toml", &more, &offers), "--takeover"]);
    assert_eq!(next.ends().await, Some(3), "{}", next.printed());
    running.says("a takeover was not finished").await;
    assert_eq!(ask(address, "/app/").await.status, 200);
    // One with fewer addresses, named by the flag alone: what it does not listen on closes with the one before.
    let both = scene.file("both.toml", "\"127.0.0.1:0\"", "");
    let next = Process::start(&["run", "--config", &both, "--takeover", &path]);
    next.says("serving").await;
    assert_eq!(next.addresses_in("serving")[0], address);
    assert_eq!(running.ends().await, Some(0));
    assert_eq!(ask(address, "/app/").await.status, 200);
    let mut nowhere = Process::start(&["run", "--config", &both, "--takeover"]);
    assert_eq!(nowhere.ends().await, Some(1), "{}", nowhere.printed());
    nowhere.says("nobody says where").await;
}

/// `tollgate run` with this socket as systemd hands it over, from standard input since that is where a test can put it.
fn activated(socket: &TcpListener, file: &str, environment: &str) -> Process {
    let script = format!("{environment} LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" run --config '{file}' 3<&0 0</dev/null");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tollgate"));
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Process::of(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_keeps_the_socket_over_a_restart_under_load() {
    let scene = Scene::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let file = scene.file("gateway.toml", &format!("\"{address}\""), "shutdown_grace = \"10s\"");
    let mut running = activated(&socket, &file, "");
    running.says("serving").await;
    assert_eq!(running.addresses_in("serving")[0], address);
    let (load, newcomers) = (Load::start(address, "/app/", 3), Newcomers::start(address, 2));
    for _ in 0..3 {
        load.goes_on(30).await;
        running.signal("TERM");
        assert_eq!(running.ends().await, Some(0), "{}", running.printed());
        // As systemd has it: first the old one is gone, then the new one comes. Clients wait meanwhile.
        running = activated(&socket, &file, "");
        running.says("serving").await;
    }
    load.goes_on(30).await;
    load.stop().await.assert_only("app");
    newcomers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_nobody_wants_is_a_mistake() {
    let scene = Scene::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut running = activated(&socket, &scene.file("gateway.toml", "\"127.0.0.1:0\"", ""), "");
    assert_eq!(running.ends().await, Some(3), "{}", running.printed());
    running.says(&format!("a socket was handed over for {}", socket.local_addr().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_of_everything() {
    let scene = Scene::new().await;
    let path = scene.folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hears = |beginning: &str| loop {
        let mut bytes = [0; 1024];
        let length = manager.recv(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if text != "WATCHDOG=1\n" || beginning == "WATCHDOG=1" {
            assert!(text.starts_with(beginning), "{text:?}, not {beginning:?}");
            return text;
        }
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("\"{}\"", socket.local_addr().unwrap());
    let file = scene.file("gateway.toml", &listen, "");
    let environment = format!("NOTIFY_SOCKET='{}' WATCHDOG_USEC=200000", path.display());
    let mut running = activated(&socket, &file, &environment);
    hears("READY=1\n");
    hears("WATCHDOG=1");
    running.signal("HUP");
    let reloading = hears("RELOADING=1\nMONOTONIC_USEC=");
    assert!(reloading.trim_end().rsplit('=').next().unwrap().parse::<u64>().unwrap() > 0, "{reloading:?}");
    hears("READY=1\n");
    scene.file("gateway.toml", &listen, "max_connections = 77");
    running.signal("HUP");
    hears("RELOADING=1\n");
    hears("READY=1\n");
    running.says("server.max_connections").await;
    scene.file("gateway.toml", &listen, "max_connections = none");
    running.signal("HUP");
    hears("RELOADING=1\n");
    hears("READY=1\n");
    running.says("the configuration was not taken").await;
    let address = socket.local_addr().unwrap();
    eventually_async("it serves on", async || ask(address, "/app/").await.status == 200).await;
    running.signal("TERM");
    hears("STOPPING=1\n");
    assert_eq!(running.ends().await, Some(0));
}
