//! How a reload is asked for, and what came of it: the words between those who ask (signals, changed files, operators)
//! and the one task that does it, so that there is one reload at a time.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::change::Change;
use crate::config::Config;

/// Orders that may wait. What is asked for beyond them is covered by those that wait.
const WAITING: usize = 64;
/// Reloads that are remembered.
const REMEMBERED: usize = 10;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// A file that has changed.
    File,
    /// An operator.
    Api,
    /// The program that the gateway is part of.
    Program,
}

/// Something wrong with a configuration that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// The key, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// The new configuration runs.
    Ok(Box<Change>),
    /// The old one runs on.
    Failed {
        /// Why.
        problems: Vec<Trouble>,
    },
}

/// A reload that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Who asked; of several who waited together, the first.
    pub trigger: Trigger,
    /// When it was over.
    pub at: String,
}

impl Verdict {
    /// Whether the configuration that was asked for runs.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok(_))
    }
}

impl Trouble {
    /// A problem that has no place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), key: None, place: None, help: None }
    }
}

/// A wish for a reload.
#[derive(Debug)]
pub struct Order {
    /// Who asks.
    pub trigger: Trigger,
    /// To this configuration; without one, to what the files say.
    pub config: Option<Box<Config>>,
    /// Whoever waits for the outcome.
    pub reply: Option<oneshot::Sender<Arc<Verdict>>>,
}

/// Asks for reloads. Clones ask the same gateway.
#[derive(Clone, Debug)]
pub struct Reloads {
    orders: mpsc::Sender<Order>,
    told: watch::Receiver<Vec<Arc<Verdict>>>,
}

/// The other end: what the one who reloads hears, and where the outcomes go.
#[derive(Debug)]
pub struct Orders {
    /// What is asked for.
    pub inbox: mpsc::Receiver<Order>,
    /// Where outcomes go.
    pub outcomes: Outcomes,
}

/// What came of the last reloads, the latest first.
#[derive(Clone, Debug)]
pub struct Outcomes(watch::Sender<Vec<Arc<Verdict>>>);

impl Outcomes {
    /// One more is over.
    pub fn tell(&self, verdict: Arc<Verdict>) {
        self.0.send_modify(|told| {
            told.truncate(REMEMBERED - 1);
            told.insert(0, verdict);
        });
    }
}

impl Reloads {
    /// Both ends.
    pub fn new() -> (Self, Orders) {
        let (orders, inbox) = mpsc::channel(WAITING);
        let (outcomes, told) = watch::channel(Vec::new());
        (Self { orders, told }, Orders { inbox, outcomes: Outcomes(outcomes) })
    }

    /// Reloads from the files, and waits for the outcome; none when the gateway is going down.
    pub async fn from_files(&self, trigger: Trigger) -> Option<Arc<Verdict>> {
        self.ask(trigger, None).await
    }

    /// Goes over to this configuration, and waits for the outcome; none when the gateway is going down.
    pub async fn to(&self, config: Config) -> Option<Arc<Verdict>> {
        self.ask(Trigger::Program, Some(Box::new(config))).await
    }

    /// Reloads from the files soon. Waits for nothing.
    pub fn hint(&self, trigger: Trigger) {
        // Where there is no room, those that wait will see the same files.
        let _ = self.orders.try_send(Order { trigger, config: None, reply: None });
    }

    /// What came of the last reload, if there was one.
    pub fn last(&self) -> Option<Arc<Verdict>> {
        self.told.borrow().first().cloned()
    }

    /// What came of the last ones, the latest first.
    pub fn recent(&self) -> Vec<Arc<Verdict>> {
        self.told.borrow().clone()
    }

    async fn ask(&self, trigger: Trigger, config: Option<Box<Config>>) -> Option<Arc<Verdict>> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order { trigger, config, reply: Some(reply) }).await.ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_remembered_the_latest_first() {
        let (reloads, orders) = Reloads::new();
        assert_eq!((reloads.last(), reloads.recent()), (None, Vec::new()));
        for number in 0..REMEMBERED + 5 {
            let outcome = Outcome::Failed { problems: vec![Trouble::new(number.to_string())] };
            orders.outcomes.tell(Arc::new(Verdict { outcome, trigger: Trigger::File, at: number.to_string() }));
        }
        let at: Vec<String> = reloads.recent().iter().map(|verdict| verdict.at.clone()).collect();
        let expected: Vec<String> = (5..REMEMBERED + 5).rev().map(|number| number.to_string()).collect();
        assert_eq!(at, expected);
        assert_eq!(reloads.last().map(|verdict| verdict.at.clone()), at.first().cloned());
    }
}
