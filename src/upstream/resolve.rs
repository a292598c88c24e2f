//! Keeps the addresses of one name current, in the background. Whoever uses them is told of changes and never
//! waits here; what an answer means is for `answers` to say, how it is had for `lookup`.

use std::collections::HashSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use tokio::sync::Notify;

use super::answers::{Answers, FamilyAnswer, Kind, LookupFailure, State};
use super::lookup::Lookup;
use super::policy::DnsPolicy;
use super::question::{Host, Question};
use super::swarm;
use crate::base::clock;
use crate::base::tasks::{self, Task};

/// How often at most the tasks behind what may be a virtual IP are asked for.
const ADVICE_INTERVAL: Duration = Duration::from_secs(60);

/// A name that is being looked up again and again; dropping it ends that.
pub struct Resolving<Q: Question = Host> {
    shared: Arc<Shared<Q>>,
    _task: Task,
}

/// Is told what happens to a name. Called by the background task, so it must not block.
pub trait Observer<T = SocketAddr>: Send + Sync + 'static {
    /// The addresses or their state have changed; the first answer is a change.
    fn changed(&self, update: &Update<T>);

    /// A question was answered or not: `ok`, `nxdomain`, `empty`, `timeout` or `error`.
    fn looked_up(&self, result: &'static str);
}

/// The addresses of a name, or what else was asked for, and what they are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update<T = SocketAddr> {
    /// Sorted, each once, at most [`super::answers::MAX_ADDRESSES`].
    pub addresses: Vec<T>,
    /// What they are worth.
    pub state: State,
}

/// What an operator wants to know of a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status<T = SocketAddr> {
    /// The name as configured.
    pub name: String,
    /// The addresses in use.
    pub addresses: Vec<T>,
    /// What they are worth.
    pub state: State,
    /// The age of the oldest answer in use; of the last good one while there is none in use.
    pub age_seconds: Option<f64>,
    /// The time to live of the answers in use, as their sender has it.
    pub ttl_seconds: Option<u64>,
    /// Who gave the last good answer; none for the hosts file.
    pub server: Option<SocketAddr>,
    /// Time to the next round of lookups.
    pub next_refresh_seconds: f64,
    /// What was wrong with the latest round.
    pub last_error: Option<String>,
    /// Questions that were answered, be it with "no such name".
    pub lookups_ok: u64,
    /// Questions that were not.
    pub lookups_failed: u64,
    /// What would be better.
    pub advice: Option<String>,
}

/// What the handle and the task have in common.
struct Shared<Q: Question> {
    name: String,
    question: Q,
    lookup: Arc<Lookup>,
    observer: Box<dyn Observer<Q::Told>>,
    hurry: Notify,
    book: Mutex<Book<Q>>,
}

/// What is known, and what was said of it. Only the task writes.
struct Book<Q: Question> {
    answers: Answers<Q::Record>,
    published: Update<Q::Told>,
    next_lookup: Instant,
    server: Option<SocketAddr>,
    last_error: Option<String>,
    failing: bool,
    lookups_ok: u64,
    lookups_failed: u64,
    advice: Option<String>,
}

/// What one round of questions brought that was not an address.
type Failures = Vec<(Kind, LookupFailure)>;

impl Resolving {
    /// Begins to look `name` up, at once and then as `policy` says, on the current Tokio runtime. Every address
    /// gets `port`.
    pub fn start(
        name: String,
        port: u16,
        policy: Arc<DnsPolicy>,
        lookup: Arc<Lookup>,
        observer: impl Observer,
    ) -> Self {
        Self::begin(name, Host(port), policy, lookup, observer)
    }

    /// Looks the same name up in another way, knowing what is known by now. Asks at once.
    #[must_use]
    pub fn renewed(&self, policy: Arc<DnsPolicy>, lookup: Arc<Lookup>, observer: impl Observer) -> Self {
        let book = {
            let old = self.shared.book();
            Book {
                answers: old.answers.clone().carried_over(Host::answers(policy)),
                published: old.published.clone(),
                next_lookup: clock::now(),
                server: old.server,
                last_error: old.last_error.clone(),
                advice: old.advice.clone(),
                ..*old
            }
        };
        // The observer may be another one than that which was told.
        observer.changed(&book.published);
        let question = Host(self.shared.question.0);
        Self::go_on(self.shared.name.clone(), question, lookup, Box::new(observer), book)
    }
}

impl<Q: Question> Resolving<Q> {
    /// Begins to ask the question about `name`, at once and then as `policy` says, on the current Tokio runtime.
    pub fn begin(
        name: String,
        question: Q,
        policy: Arc<DnsPolicy>,
        lookup: Arc<Lookup>,
        observer: impl Observer<Q::Told>,
    ) -> Self {
        let book = Book {
            answers: Q::answers(policy),
            published: Update { addresses: Vec::new(), state: State::Waiting },
            next_lookup: clock::now(),
            server: None,
            last_error: None,
            failing: false,
            lookups_ok: 0,
            lookups_failed: 0,
            advice: None,
        };
        Self::go_on(name, question, lookup, Box::new(observer), book)
    }

    fn go_on(
        name: String,
        question: Q,
        lookup: Arc<Lookup>,
        observer: Box<dyn Observer<Q::Told>>,
        book: Book<Q>,
    ) -> Self {
        let shared =
            Arc::new(Shared { name, question, lookup, observer, hurry: Notify::new(), book: Mutex::new(book) });
        let task = tasks::spawn(run(Arc::clone(&shared)));
        Self { shared, _task: task }
    }

    /// Asks for a round out of turn, because an address turned out to be dead. Returns at once, from any thread.
    /// Rounds stay `min_refresh` apart: within that time the round is postponed to its end, never lost.
    pub fn ask_now(&self) {
        self.shared.hurry.notify_one();
    }

    /// What there is to tell of the name.
    pub fn status(&self) -> Status<Q::Told> {
        let now = clock::now();
        let book = self.shared.book();
        let current = book.answers.current(now);
        Status {
            name: self.shared.name.clone(),
            addresses: self.shared.told(&current.records),
            state: current.state,
            age_seconds: current
                .since
                .or_else(|| book.answers.last_good())
                .map(|since| now.saturating_duration_since(since).as_secs_f64()),
            ttl_seconds: current.ttl.map(|ttl| ttl.as_secs()),
            server: book.server,
            next_refresh_seconds: book.next_lookup.saturating_duration_since(now).as_secs_f64(),
            last_error: book.last_error.clone(),
            lookups_ok: book.lookups_ok,
            lookups_failed: book.lookups_failed,
            advice: book.advice.clone(),
        }
    }
}

/// The task: a round of questions, then rest until the next, for as long as the handle lives.
async fn run<Q: Question>(shared: Arc<Shared<Q>>) {
    let mut advised = None;
    loop {
        let asked = clock::now();
        // This round is for whoever was in a hurry until here.
        let _ = shared.hurry.notified().now_or_never();
        shared.round().await;
        shared.watching(shared.advise(&mut advised)).await;
        let next = {
            let mut book = shared.book();
            book.next_lookup = book.answers.next_lookup(asked, clock::now(), fastrand::f64());
            book.next_lookup
        };
        shared.watching(shared.rest(asked, next)).await;
    }
}

impl<Q: Question> Shared<Q> {
    fn book(&self) -> MutexGuard<'_, Book<Q>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, records: &[Q::Record]) -> Vec<Q::Told> {
        records.iter().map(|record| self.question.tell(record)).collect()
    }

    /// Asks every question once, all at the same time. Addresses are told as they come; that there are none is
    /// told only when all questions are answered, because it depends on the other family what that means.
    async fn round(&self) {
        let questions = self.book().answers.questions();
        let ask = |kind| async move { (kind, Q::ask(&self.lookup, &self.name, kind).await) };
        let mut pending: FuturesUnordered<_> = questions.into_iter().map(ask).collect();
        let mut failures = Failures::new();
        while let Some((kind, result)) = self.watching(pending.next()).await {
            let failure = result.as_ref().err().cloned();
            self.record(kind, result);
            match failure {
                Some(failure) => failures.push((kind, failure)),
                None => self.publish(),
            }
        }
        self.judge(&failures);
        self.publish();
    }

    /// Takes in what one question brought.
    fn record(&self, kind: Kind, result: Result<FamilyAnswer<Q::Record>, LookupFailure>) {
        self.observer.looked_up(result.as_ref().map_or_else(LookupFailure::label, |_| "ok"));
        let mut book = self.book();
        match &result {
            Err(failure) if failure.is_failure() => book.lookups_failed += 1,
            _ => book.lookups_ok += 1,
        }
        if let Ok(answer) = &result {
            book.server = answer.server;
        }
        book.answers.record(clock::now(), kind, result);
    }

    /// Remembers what was wrong with a round, and logs where failing begins and where it ends.
    fn judge(&self, failures: &Failures) {
        let mut book = self.book();
        let harmless = failures.len() < book.answers.questions().len();
        let wrong = failures.iter().filter(|(_, failure)| !(harmless && *failure == LookupFailure::Empty));
        let texts: Vec<String> = wrong.map(|(kind, failure)| format!("{kind:?}: {failure}")).collect();
        book.last_error = (!texts.is_empty()).then(|| texts.join("; "));
        let failing = book.answers.failing();
        match (book.failing, failing) {
            (false, true) => tracing::warn!(name = %self.name, error = book.last_error, "lookups fail"),
            (true, false) => tracing::info!(name = %self.name, "lookups work again"),
            _ => {}
        }
        book.failing = failing;
    }

    /// Tells the observer and the log what has changed, if anything has.
    fn publish(&self) {
        let (before, update) = {
            let mut book = self.book();
            let current = book.answers.current(clock::now());
            let update = Update { addresses: self.told(&current.records), state: current.state };
            if update == book.published {
                return;
            }
            (std::mem::replace(&mut book.published, update.clone()), update)
        };
        log_change(&self.name, &before, &update);
        self.observer.changed(&update);
    }

    /// Does `work`, and meanwhile tells of what only the passing of time changes.
    async fn watching<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let change = self.book().answers.next_change(clock::now());
            tokio::select! {
                done = &mut work => return done,
                () = sleep_until(change) => self.publish(),
            }
        }
    }

    /// Waits until `next`, or less when somebody is in a hurry.
    async fn rest(&self, asked: Instant, next: Instant) {
        tokio::select! {
            () = sleep_until(Some(next)) => {}
            () = self.hurry.notified() => {
                let sooner = {
                    let mut book = self.book();
                    book.next_lookup = next.min(book.answers.soonest(asked));
                    book.next_lookup
                };
                sleep_until(Some(sooner)).await;
            }
        }
    }

    /// Finds out, now and then, whether the name is a Swarm service's virtual IP.
    async fn advise(&self, advised: &mut Option<Instant>) {
        let suspect = {
            let book = self.book();
            let addresses = book.published.addresses.len();
            Q::MAY_BE_VIRTUAL
                && book.server.is_some_and(|server| swarm::may_be_virtual_ip(&self.name, server.ip(), addresses))
        };
        if !suspect {
            return self.set_advice(None);
        }
        let now = clock::now();
        if advised.is_some_and(|last| now.saturating_duration_since(last) < ADVICE_INTERVAL) {
            return;
        }
        *advised = Some(now);
        match self.lookup.lookup(&swarm::tasks_name(&self.name), Kind::A).await {
            Ok(answer) => {
                let tasks: HashSet<IpAddr> = answer.records.into_iter().collect();
                self.set_advice(swarm::advice(&self.name, tasks.len()));
            }
            Err(failure) if failure.is_failure() => {}
            Err(_) => self.set_advice(None),
        }
    }

    fn set_advice(&self, advice: Option<String>) {
        let mut book = self.book();
        if let Some(advice) = advice.as_ref().filter(|_| book.advice.is_none()) {
            tracing::warn!(name = %self.name, "{advice}");
        }
        book.advice = advice;
    }
}

fn log_change<T: Clone + PartialEq + std::fmt::Debug>(name: &str, before: &Update<T>, after: &Update<T>) {
    let missing = |from: &Update<T>, of: &Update<T>| -> Vec<T> {
        from.addresses.iter().filter(|address| !of.addresses.contains(address)).cloned().collect()
    };
    let (added, removed) = (missing(after, before), missing(before, after));
    match after.state {
        State::Holding => tracing::warn!(name, ?removed, "the name is gone: its last addresses are held"),
        State::Empty => tracing::warn!(name, ?removed, "the name has no addresses"),
        _ if added.is_empty() && removed.is_empty() => {}
        _ => tracing::info!(name, ?added, ?removed, count = after.addresses.len(), "addresses have changed"),
    }
}

/// Waits until the moment comes; for ever if there is none.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
