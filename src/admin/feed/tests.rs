//! What those who listen hear, without a listener on the network and without waiting for seconds to pass.

use std::sync::atomic::AtomicBool;

use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::admin::guard::Guard;
use crate::config::load;
use crate::runtime::Live;
use crate::runtime::build::{Tools, build};
use crate::runtime::reloads::Reloads;
use crate::telemetry::recorder::Recorder;

/// A gateway's state, of which nothing moves.
fn desk(retiring: &CancellationToken) -> Arc<Desk> {
    let text = "[[routes]]\nname = 'r'\nprefix = '/'\nupstream = 'u'\n[upstreams.u]\naddresses = ['127.0.0.1:9']";
    let config = load::from_text(text).unwrap().config;
    let recorder = Arc::new(Recorder::default());
    let tools = Tools::new(&config, 1, &recorder, &Handle::current()).unwrap();
    Arc::new(Desk {
        live: Live::new(build(&config, &tools).complete(&tools)),
        recorder,
        listeners: Vec::new(),
        draining: Arc::new(AtomicBool::new(false)),
        started: clock::now(),
        awaited: Vec::new(),
        reloads: Reloads::new().0,
        guard: Arc::new(Guard::new(None, None)),
        dial: None,
        measured: Vec::new(),
        feed: Feed::new(retiring.clone()),
        explain: |_, _, _| Err("nobody explains".to_owned()),
    })
}

fn name(event: &Bytes) -> String {
    let text = String::from_utf8_lossy(event);
    text.lines().next().unwrap().strip_prefix("event: ").unwrap().to_owned()
}

#[tokio::test]
async fn whoever_misses_frames_gets_the_whole_state_again() {
    let desk = desk(&CancellationToken::new());
    let mut slow = Box::pin(Feed::listen(desk.clone()).await.unwrap());
    let mut quick = Box::pin(Feed::listen(desk.clone()).await.unwrap());
    for stream in [&mut slow, &mut quick] {
        assert_eq!(name(&stream.next().await.unwrap().unwrap()), "snapshot");
    }
    for _ in 0..WAITING + 3 {
        desk.feed.tick(&desk);
        assert_eq!(name(&quick.next().await.unwrap().unwrap()), "frame");
    }
    assert_eq!(name(&slow.next().await.unwrap().unwrap()), "snapshot");
    desk.feed.tick(&desk);
    for stream in [&mut slow, &mut quick] {
        assert_eq!(name(&stream.next().await.unwrap().unwrap()), "frame");
        assert!(stream.next().now_or_never().is_none());
    }
}

#[tokio::test]
async fn streams_end_when_another_process_serves() {
    let retiring = CancellationToken::new();
    let desk = desk(&retiring);
    let mut stream = Box::pin(Feed::listen(desk.clone()).await.unwrap());
    stream.next().await.unwrap().unwrap();
    assert_eq!(desk.feed.listeners(), 1);
    retiring.cancel();
    assert!(stream.next().await.is_none());
    drop(stream);
    assert_eq!(desk.feed.listeners(), 0);
}

#[tokio::test]
async fn while_nobody_listens_only_the_past_is_kept() {
    let desk = desk(&CancellationToken::new());
    desk.feed.tick(&desk);
    let listening = Feed::listen(desk.clone()).await;
    assert!(desk.feed.lock().told.is_some());
    drop(listening);
    for _ in 0..500 {
        desk.feed.tick(&desk);
    }
    let mut stream = Box::pin(Feed::listen(desk.clone()).await.unwrap());
    let whole = stream.next().await.unwrap().unwrap();
    let data = String::from_utf8_lossy(&whole).lines().find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
    let told: Value = serde_json::from_str(&data.unwrap()).unwrap();
    assert_eq!(told["history"].as_array().unwrap().len(), history::LONGEST);
    assert_eq!(told["status"]["upstreams"][0]["name"], "u");
    drop(stream);
    desk.feed.tick(&desk);
    assert!(desk.feed.lock().told.is_none());
}
