//! One of three addresses is faulty, in every way that there is. Where the fault shows before the response head, no
//! request that may be repeated fails; behind it, a broken answer ends broken, and is never taken for a whole one.

use std::time::Duration;

use crate::support::{Backend, Client, Gate, OK, Peer};

/// Requests of each trial: every address has its turn several times.
const REQUESTS: usize = 18;
const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";

/// How a backend treats its requests.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Takes the connection, and says nothing.
    Mute,
    /// Resets it before it has read anything.
    Reset,
    /// Reads the request, and resets.
    ResetLater,
    /// Says half a head.
    HalfHead,
    /// Says what is not HTTP.
    Garbage,
    /// Says one byte of its head after another, and would need a minute.
    Trickle,
    /// Answers well and closes, without saying so.
    CloseAfter,
    /// Says half a body.
    HalfBody,
}

/// All faults that show before the head, or do no harm.
const BEFORE: [Fault; 7] =
    [Fault::Mute, Fault::Reset, Fault::ResetLater, Fault::HalfHead, Fault::Garbage, Fault::Trickle, Fault::CloseAfter];

impl Fault {
    async fn play(self, mut peer: Peer) {
        if matches!(self, Self::Reset) {
            return peer.reset();
        }
        if peer.request().await.is_none() {
            return;
        }
        match self {
            Self::Mute => drop(peer.ended().await),
            Self::Reset | Self::ResetLater => peer.reset(),
            Self::HalfHead => peer.send("HTTP/1.1 200 OK\r\nContent-Le").await,
            Self::Garbage => peer.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n").await,
            Self::Trickle => {
                for byte in OK.as_bytes() {
                    if peer.try_send([*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Self::CloseAfter => peer.send(OK).await,
            Self::HalfBody => peer.send(HALF).await,
        }
    }
}

/// A backend whose n-th connection fails in the n-th way.
async fn faulty(faults: &'static [Fault]) -> Backend {
    Backend::start(move |peer| faults[(peer.number - 1) % faults.len()].play(peer)).await
}

/// A gateway before a faulty address and two good ones. A third of the requests needs another try, which is more than
/// the usual budget, so there is a larger one.
async fn gate(faulty: &Backend, good: &[Backend; 2]) -> Gate {
    Gate::start(&format!(
        "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n\
         [upstreams.app]\naddresses = [\"{}\", \"{}\", \"{}\"]\n\
         [upstreams.app.retry]\nbudget = 1\nper_try_timeout = \"300ms\"\n",
        faulty.address(),
        good[0].address(),
        good[1].address()
    ))
}

/// Sends requests one after the other, over one connection while that is open: each answer's body, `None` where it broke.
async fn answers(gate: &Gate, method: &str) -> Vec<Option<String>> {
    let mut client = Client::connect(gate.address()).await;
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        client.send(format!("{method} / HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n")).await;
        let answer = client.answer().await;
        if answer.is_none() {
            client = Client::connect(gate.address()).await;
        }
        answers.push(answer.map(|answer| format!("{} {}", answer.status(), answer.text())));
    }
    answers
}

async fn good() -> [Backend; 2] {
    [Backend::answering(OK).await, Backend::answering(OK).await]
}

#[tokio::test]
async fn a_fault_before_the_head_costs_nobody_an_answer() {
    let trials = BEFORE.map(async |fault| {
        let (faulty, good) = (faulty(Box::leak(Box::new([fault]))).await, good().await);
        let gate = gate(&faulty, &good).await;
        for method in ["GET", "DELETE"] {
            let answers = answers(&gate, method).await;
            assert!(answers.iter().all(|answer| answer.as_deref() == Some("200 ok")), "{fault:?} {method} {answers:?}");
        }
        assert!(faulty.connections() > 0, "{fault:?}: it was asked");
    });
    futures_util::future::join_all(trials).await;
}

#[tokio::test]
async fn mixed_faults_before_the_head_cost_nobody_an_answer() {
    let (faulty, good) = (faulty(&BEFORE).await, good().await);
    let gate = gate(&faulty, &good).await;
    let lanes = (0..4).map(async |_| {
        let answers = answers(&gate, "GET").await;
        assert!(answers.iter().all(|answer| answer.as_deref() == Some("200 ok")), "{answers:?}");
    });
    futures_util::future::join_all(lanes).await;
    assert!(faulty.connections() > 0);
}

#[tokio::test]
async fn half_a_body_ends_in_a_broken_answer_and_never_in_a_whole_one() {
    let (faulty, good) = (faulty(&[Fault::HalfBody]).await, good().await);
    let gate = gate(&faulty, &good).await;
    let answers = answers(&gate, "GET").await;
    let broken = answers.iter().filter(|answer| answer.is_none()).count();
    assert!(answers.iter().flatten().all(|answer| answer == "200 ok"), "{answers:?}");
    assert_eq!(broken, faulty.seen().len(), "each of its answers broke off, and none was made up for: {answers:?}");
    assert!(broken > 0);
}

/// What may have been acted on is not repeated, whatever the fault: the client is told, and the others serve.
#[tokio::test]
async fn an_order_meets_each_fault_at_most_once() {
    let trials = BEFORE.map(async |fault| {
        let (faulty, good) = (faulty(Box::leak(Box::new([fault]))).await, good().await);
        let gate = gate(&faulty, &good).await;
        let answers = answers(&gate, "POST").await;
        let whole = answers.iter().flatten().filter(|answer| *answer == "200 ok").count();
        let told = answers.iter().flatten().filter(|answer| answer.starts_with("50")).count();
        assert_eq!(whole + told, REQUESTS, "{fault:?} {answers:?}");
        let seen = faulty.seen().len() + good.iter().map(|backend| backend.seen().len()).sum::<usize>();
        assert!(seen <= REQUESTS, "{fault:?}: {seen} orders arrived of {REQUESTS}");
        if matches!(fault, Fault::CloseAfter) {
            assert_eq!(told, 0, "{answers:?}");
        }
    });
    futures_util::future::join_all(trials).await;
}
