//! Reload after reload under load, with long things under way: what a test runs for seconds and a soak for minutes.

use std::time::Duration;

use axum::routing::post;
use tollgate::base::clock;
use tollgate::lab::hello;

use super::Gate;
use super::crowd::{self, Crowd, Size};
use super::steady::Steady;
use super::town::Town;

/// How hard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) crowd: Size,
    /// Requests a second.
    pub(crate) requests: u32,
    /// Reloads a second.
    pub(crate) reloads: u32,
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Weathered {
    pub(crate) requests: usize,
    pub(crate) reloads: usize,
    /// What the crowd heard.
    pub(crate) heard: usize,
    /// The time within which 99 of 100 requests were answered, once all were under way.
    pub(crate) p99: Duration,
    /// How much memory the process had after a quarter of the time, and at the end, in bytes.
    pub(crate) memory: (u64, u64),
}

/// Two configurations that differ in all that may differ; the routes in use are in both.
fn configuration(town: &Town, odd: bool) -> String {
    let (port, tunnel) = (town.port, town.socket(9));
    let server = town.names.local_addr();
    let own = match odd {
        true => {
            "[upstreams.extra]\naddresses = [\"127.0.0.1:9\"]\n[[routes]]\nprefix = \"/extra\"\nupstream = \"extra\""
        }
        false => "[[routes]]\nprefix = \"/other\"\nhosts = [\"*.example.com\"]\nupstream = \"http://127.0.0.1:9\"",
    };
    let (refresh, keep, limit) = if odd { (500, 50, 900) } else { (700, 60, 1000) };
    format!(
        "[server]\nworkers = 2\nmax_connections = {limit}\n[dns]\nservers = [\"{server}\"]\nfamily = \"v4\"\n\
         refresh = \"{refresh}ms\"\nmin_refresh = \"20ms\"\n[upstreams.app]\ndns = \"app.test.:{port}\"\n\
         keep_alive = \"{keep}s\"\n[upstreams.echo]\naddresses = [\"{tunnel}\"]\n\
         [[routes]]\nprefix = \"/app\"\nstrip_prefix = true\nupstream = \"app\"\ntimeout = \"{keep}s\"\n\
         [[routes]]\nprefix = \"/tunnel\"\nupstream = \"echo\"\n{own}\n"
    )
}

impl Storm {
    /// Runs it. Whatever is closed or fails ends the test.
    pub(crate) async fn run(self) -> Weathered {
        let town = Town::new().await;
        let container = async |last: u8| {
            let router = hello::router(&format!("app@{}", town.address(last)));
            town.start_with(router.route("/count", post(crowd::count)), last).await
        };
        let _containers = (container(1).await, container(2).await);
        let _echo = crowd::echo(town.listen(9).await);
        town.publish("app.test", &[1, 2]);
        let gate = Gate::start(&configuration(&town, false));
        let crowd = Crowd::start(gate.address(), self.crowd).await;
        let steady = Steady::start(gate.address(), "/app/", 10, self.requests);
        let began = clock::now();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.reloads);
        let (mut reloads, mut early, mut requests) = (0, 0, 0);
        while began.elapsed() < self.duration {
            ticks.tick().await;
            reloads += 1;
            let verdict = gate.reload(&configuration(&town, reloads % 2 == 1)).await;
            assert!(verdict.is_ok(), "{verdict:?}");
            if early == 0 && began.elapsed() > self.duration / 4 {
                early = memory();
                let first = steady.part();
                assert_eq!(first.bad, 0, "{:?}", first.faults);
                requests = first.times.len();
            }
        }
        let late = memory();
        let asked = steady.stop().await;
        assert_eq!(asked.bad, 0, "{:?}", asked.faults);
        assert_eq!(asked.backends.len(), 2, "{:?}", asked.backends);
        let heard = crowd.finish().await;
        gate.counted(&format!("tollgate_config_reloads_total{{result=\"ok\"}} {reloads}")).await;
        let p99 = asked.quantile(0.99);
        Weathered { requests: requests + asked.times.len(), reloads, heard, p99, memory: (early, late) }
    }
}

/// What the process has in memory, in bytes: all of it, the test's own clients and backends too.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
