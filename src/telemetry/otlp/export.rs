//! The task that sends: gathers spans into batches, and keeps at one until it is taken, refused, or not worth more tries.
//! Meanwhile the queue fills up, and what finds no room is lost; that is how a collector that is gone costs nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::client::{Client, Outcome};
use super::wait::before_again;
use super::{Collector, Exports, Span, proto};

/// Spans in one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How often one batch is sent at most.
const TRIES: u32 = 6;

/// Sends until nobody can have spans any more, and everything is sent.
pub(super) async fn run(collector: Collector, mut waiting: mpsc::Receiver<Vec<Span>>, exports: Arc<Exports>) {
    let mut hurry = exports.hurry.subscribe();
    let mut sending = Client::new(collector).map(|client| Sending { client, exports: exports.clone(), failing: false });
    while let Some(batch) = gather(&mut waiting, &mut hurry).await {
        match &mut sending {
            Some(sending) => sending.deliver(&batch, &mut hurry).await,
            None => exports.settle(&exports.failed, batch.len()),
        }
    }
}

/// The next batch; none when there will be no more.
async fn gather(waiting: &mut mpsc::Receiver<Vec<Span>>, hurry: &mut watch::Receiver<bool>) -> Option<Vec<Span>> {
    let mut batch = waiting.recv().await?;
    let late = async {
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            _ = hurry.wait_for(|hurry| *hurry) => {}
        }
    };
    let mut late = std::pin::pin!(late);
    while batch.len() < BATCH {
        tokio::select! {
            biased;
            more = waiting.recv() => match more {
                Some(more) => batch.extend(more),
                None => break,
            },
            () = &mut late => break,
        }
    }
    Some(batch)
}

/// A collector and how it does.
struct Sending {
    client: Client,
    exports: Arc<Exports>,
    failing: bool,
}

impl Sending {
    async fn deliver(&mut self, batch: &[Span], hurry: &mut watch::Receiver<bool>) {
        let body = Bytes::from(proto::request(&self.client.collector().resource, batch));
        for attempt in 1..=TRIES {
            let (why, told) = match self.client.send(body.clone()).await {
                Outcome::Taken(rejected, why) => return self.taken(batch.len(), rejected, &why),
                Outcome::Refused(why) => return self.given_up(batch.len(), &why),
                Outcome::Later(why, told) => (why, told),
            };
            if attempt == TRIES || *hurry.borrow() {
                return self.given_up(batch.len(), &why);
            }
            self.complain(&why);
            tokio::select! {
                () = tokio::time::sleep(before_again(attempt, told, fastrand::f64())) => {}
                _ = hurry.wait_for(|hurry| *hurry) => {}
            }
        }
    }

    fn taken(&mut self, spans: usize, rejected: u64, why: &str) {
        if std::mem::replace(&mut self.failing, false) {
            tracing::info!(collector = self.client.collector().url, "the collector takes traces again");
        }
        let rejected = usize::try_from(rejected).unwrap_or(usize::MAX).min(spans);
        if rejected > 0 {
            tracing::warn!(rejected, why, "the collector has not taken all spans");
            self.exports.settle(&self.exports.failed, rejected);
        }
        self.exports.settle(&self.exports.exported, spans - rejected);
    }

    fn given_up(&mut self, spans: usize, why: &str) {
        self.complain(why);
        self.exports.settle(&self.exports.failed, spans);
    }

    /// Once, until it is well again.
    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(collector = self.client.collector().url, why, "the collector does not take traces");
        }
    }
}
