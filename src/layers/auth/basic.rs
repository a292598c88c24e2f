//! Names and passwords (RFC 7617): tried on slow hashes off the worker, a few at a time and with a bounded queue, and
//! remembered for a while, so that a client pays once. What is remembered is a keyed hash of what was sent, which is worth
//! nothing without the process; what did not fit is remembered apart, so that guessing pushes nobody out.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::SHA256_OUTPUT_LEN;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::failure::Failure;
use super::headers;
use super::policy::BasicPolicy;
use super::recent::Recent;
use super::tally::{Kind, Tally};
use super::users::Users;
use super::verified::Verified;
use super::watched::{BadLine, Watched};
use crate::base::identity::Identity;
use crate::base::tasks;
use crate::telemetry::recorder::Recorder;

/// How long what was sent is remembered when it fits, and when it does not.
const REMEMBERED: Duration = Duration::from_secs(300);
const REMEMBERED_WRONG: Duration = Duration::from_secs(30);
/// How many of each are remembered for certain, per worker.
const MOST: usize = 1024;
/// Different ones that may wait for their turn.
const QUEUE: usize = 64;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest password that is tried, in bytes.
const LONGEST: usize = 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What was sent, beyond recognition.
type Print = [u8; SHA256_OUTPUT_LEN];

/// What came of trying it; nothing yet while it is being tried.
type Told = Option<Result<(), Failure>>;

/// Knows users by one policy.
pub struct Basic {
    /// Its name and numbers.
    pub tally: Tally,
    mapping: Vec<(String, http::HeaderName)>,
    users: Watched<Users>,
    /// Made anew by each process.
    key: hmac::Key,
    remembered: Box<[Mutex<Remembered>]>,
    /// How many are tried at a time.
    turns: Semaphore,
    /// What is being tried at the moment, by whoever sent it first.
    running: Mutex<HashMap<(Print, u64), watch::Receiver<Told>>>,
    control: Handle,
}

/// Who asks when, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The worker that serves the request.
    pub worker: usize,
    /// Now.
    pub now: Instant,
    /// When the request must be answered.
    pub deadline: Option<Instant>,
}

/// What one worker remembers.
struct Remembered {
    right: Recent<Print, (u64, Instant, Arc<Verified>)>,
    wrong: Recent<Print, (u64, Instant, Failure)>,
}

/// A name and a password.
pub struct Sent {
    name: String,
    password: Vec<u8>,
}

/// Something to wait for: who was vouched for, or why nobody was.
pub type Judging = Pin<Box<dyn Future<Output = Result<Arc<Verified>, Failure>> + Send>>;

impl Basic {
    /// Reads the users, and again on the runtime behind `control` whenever the file changes.
    pub fn start(name: &str, policy: &BasicPolicy, workers: usize, control: &Handle, recorder: &Recorder) -> Arc<Self> {
        let parse = |bytes: &[u8]| Users::parse(bytes).map_err(|bad| BadLine::summary(&bad));
        let remembered =
            || Mutex::new(Remembered { right: Recent::new(MOST, usize::MAX), wrong: Recent::new(MOST, usize::MAX) });
        Arc::new(Self {
            tally: Tally::new(name, Kind::Password, policy.forward_token, recorder),
            mapping: policy.claims_to_headers.clone(),
            users: Watched::start(policy.users_file.clone(), "the users", Box::new(parse), control),
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &fastrand::u128(..).to_le_bytes())),
            remembered: (0..workers.max(1)).map(|_| remembered()).collect(),
            // Half of the cores at most: the other half serves those who are known.
            turns: Semaphore::new((workers / 2).max(1)),
            running: Mutex::default(),
            control: control.clone(),
        })
    }

    /// What is known of a name and a password already.
    pub fn known(&self, Asked { worker, now, .. }: Asked, sent: &Sent) -> Option<Result<Arc<Verified>, Failure>> {
        let (print, generation) = (self.print(sent), self.users.now().generation);
        let slot = self.remembered.get(worker).or(self.remembered.first())?;
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let counts =
            |of: u64, since: Instant, long: Duration| of == generation && now.saturating_duration_since(since) < long;
        if let Some((of, since, verified)) = slot.right.get(&print) {
            if counts(of, since, REMEMBERED) {
                return Some(Ok(verified));
            }
            slot.right.remove(&print);
        }
        if let Some((of, since, failure)) = slot.wrong.get(&print) {
            if counts(of, since, REMEMBERED_WRONG) {
                return Some(Err(failure));
            }
            slot.wrong.remove(&print);
        }
        None
    }

    /// Tries a name and a password. Whoever waits for it waits until `deadline` at most; it is tried to the end in any case,
    /// and known the next time.
    ///
    /// # Errors
    /// When too many are being tried already.
    pub fn judge(self: &Arc<Self>, asked: Asked, sent: Sent) -> Result<Judging, Failure> {
        let print = self.print(&sent);
        let generation = self.users.now().generation;
        let mut told = self.tried(print, generation, asked, &sent)?;
        let basic = self.clone();
        Ok(Box::pin(async move {
            let telling = told.wait_for(Option::is_some);
            let told = match asked.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), telling).await.ok(),
                None => Some(telling.await),
            };
            // Whoever tried it is gone when the gateway stops.
            let judged = told.and_then(Result::ok).and_then(|told| told.clone()).unwrap_or(Err(OVERLOADED));
            basic.conclude(print, generation, asked, &sent.name, judged)
        }))
    }

    /// Remembers what came of it.
    fn conclude(
        &self,
        print: Print,
        generation: u64,
        asked: Asked,
        name: &str,
        judged: Result<(), Failure>,
    ) -> Result<Arc<Verified>, Failure> {
        let judged = judged.map(|()| self.vouch(name));
        self.remember(asked, print, generation, &judged);
        judged
    }

    /// Where it will be told what came of trying it: somebody else may have sent the same a moment ago.
    fn tried(
        self: &Arc<Self>,
        print: Print,
        generation: u64,
        asked: Asked,
        sent: &Sent,
    ) -> Result<watch::Receiver<Told>, Failure> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = running.get(&(print, generation)) {
            return Ok(told.clone());
        }
        if running.len() >= QUEUE {
            return Err(OVERLOADED);
        }
        let (teller, told) = watch::channel(None);
        running.insert((print, generation), told.clone());
        let (basic, name, password) = (self.clone(), sent.name.clone(), sent.password.clone());
        tasks::detach_on(&self.control, async move {
            let judged = basic.try_on(&name, password).await;
            let _ = basic.conclude(print, generation, asked, &name, judged.clone());
            basic.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&(print, generation));
            let _ = teller.send(Some(judged));
        });
        Ok(told)
    }

    /// Tries a password when its turn comes, on a thread that may block.
    async fn try_on(&self, name: &str, password: Vec<u8>) -> Result<(), Failure> {
        let found = self.users.now().value.find(name).map(|(hash, counts)| (hash.clone(), counts));
        let (hash, counts) = found.ok_or(WRONG)?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(OVERLOADED) };
        let fits = tasks::blocking_on(&self.control, move || hash.fits(&password)).await;
        if fits == Some(true) && counts { Ok(()) } else { Err(WRONG) }
    }

    fn vouch(&self, name: &str) -> Arc<Verified> {
        let claims: Map<String, Value> = [("sub".to_owned(), Value::from(name))].into_iter().collect();
        let fields = headers::fields(&self.mapping, &claims);
        let identity = Identity { auth: self.tally.name.clone(), subject: Some(name.into()), plan: None, claims };
        Arc::new(Verified::lasting(identity, fields))
    }

    fn remember(&self, asked: Asked, print: Print, generation: u64, judged: &Result<Arc<Verified>, Failure>) {
        let Asked { worker, now, .. } = asked;
        let Some(slot) = self.remembered.get(worker).or(self.remembered.first()) else { return };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match judged {
            Ok(verified) => slot.right.insert(print, (generation, now, verified.clone()), 0),
            Err(Failure::Overloaded(_)) => {}
            Err(failure) => slot.wrong.insert(print, (generation, now, failure.clone()), 0),
        }
    }

    fn print(&self, sent: &Sent) -> Print {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&sent.name.len().to_le_bytes());
        context.update(sent.name.as_bytes());
        context.update(&sent.password);
        let mut print = Print::default();
        print.copy_from_slice(context.sign().as_ref());
        print
    }
}

const OVERLOADED: Failure = Failure::Overloaded("too many passwords are being tried");
const WRONG: Failure = Failure::Credentials("no such user and password");

impl Sent {
    /// Reads what stands behind `Basic`.
    ///
    /// # Errors
    /// When it is not base64 of a name, a colon and a password, without control characters.
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        let bytes = BASE64.decode(text).map_err(|_| Failure::Malformed("not base64 behind Basic"))?;
        let colon = bytes.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or(Failure::Malformed("no colon behind Basic"))?;
        let (name, password) = (&bytes[..colon], &bytes[colon + 1..]);
        let name = std::str::from_utf8(name).map_err(|_| Failure::Malformed("a name that is not UTF-8"))?;
        if bytes.iter().any(u8::is_ascii_control) || password.len() > LONGEST {
            return Err(Failure::Malformed("control characters, or a password longer than 1024 bytes"));
        }
        Ok(Self { name: name.to_owned(), password: password.to_owned() })
    }
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Basic({})", self.tally.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    fn basic(lines: &str) -> (tempfile::TempDir, Arc<Basic>) {
        let folder = tempfile::tempdir().unwrap();
        let users_file = folder.path().join("users");
        std::fs::write(&users_file, lines).unwrap();
        let policy = BasicPolicy { users_file, forward_token: false, claims_to_headers: Vec::new() };
        (folder, Basic::start("main", &policy, 1, &Handle::current(), &Recorder::default()))
    }

    fn sent(name: &str, password: &str) -> Sent {
        Sent { name: name.to_owned(), password: password.into() }
    }

    fn asked(now: Instant) -> Asked {
        Asked { worker: 0, now, deadline: None }
    }

    fn alice() -> String {
        format!("alice:{}\n", bcrypt::hash_with_salt("secret", 4, [3; 16]).unwrap())
    }

    #[tokio::test]
    async fn what_was_tried_is_known_for_a_while_and_guessing_pushes_nobody_out() {
        let (_folder, basic) = basic(&alice());
        let now = clock::now();
        assert!(basic.known(asked(now), &sent("alice", "secret")).is_none());
        let judged = basic.judge(asked(now), sent("alice", "secret")).unwrap().await.unwrap();
        assert_eq!(judged.identity.subject.as_deref(), Some("alice"));
        assert!(basic.judge(asked(now), sent("alice", "wrong")).unwrap().await.is_err());
        assert!(basic.known(asked(now), &sent("alice", "wrong")).is_some_and(|known| known.is_err()));
        for number in 0..3 * MOST {
            let print = basic.print(&sent("alice", &number.to_string()));
            basic.remember(asked(now), print, 1, &Err(WRONG));
        }
        assert!(basic.known(asked(now), &sent("alice", "secret")).is_some_and(|known| known.is_ok()));
        let slot = basic.remembered[0].lock().unwrap();
        assert!(slot.wrong.len() <= 2 * MOST && slot.right.len() == 1);
        drop(slot);
        let later = now + REMEMBERED;
        assert!(basic.known(asked(later), &sent("alice", "secret")).is_none(), "and is tried again then");
    }

    #[tokio::test]
    async fn the_same_is_tried_once_and_different_ones_have_a_queue() {
        let (_folder, basic) = basic(&alice());
        let now = clock::now();
        let same: Vec<_> = (0..500).map(|_| basic.judge(asked(now), sent("alice", "secret")).unwrap()).collect();
        assert_eq!(basic.running.lock().unwrap().len(), 1);
        let others: Vec<_> =
            (0..QUEUE).map(|number| basic.judge(asked(now), sent("bob", &number.to_string()))).collect();
        assert_eq!(others.iter().filter(|judging| judging.is_err()).count(), 1);
        for judging in same {
            assert!(judging.await.is_ok());
        }
        for judging in others.into_iter().flatten() {
            assert_eq!(judging.await.unwrap_err(), WRONG);
        }
        assert!(basic.running.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_cannot_wait_is_known_the_next_time() {
        let (_folder, basic) = basic(&alice());
        let now = clock::now();
        let hurried = Asked { deadline: Some(now), ..asked(now) };
        let judged = basic.judge(hurried, sent("alice", "secret")).unwrap().await;
        if let Err(failure) = judged {
            assert_eq!(failure, OVERLOADED, "which is no judgement of the password");
        }
        let known = || basic.known(asked(now), &sent("alice", "secret")).is_some_and(|known| known.is_ok());
        tokio::time::timeout(Duration::from_secs(10), async {
            while !known() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
    }

    #[test]
    fn prints_differ_and_mean_nothing_elsewhere() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let ((_a, one), (_b, other)) = (basic(&alice()), basic(&alice()));
        assert_eq!(one.print(&sent("a", "bc")), one.print(&sent("a", "bc")));
        assert_ne!(one.print(&sent("a", "bc")), one.print(&sent("ab", "c")));
        assert_ne!(one.print(&sent("a", "bc")), other.print(&sent("a", "bc")));
    }

    #[test]
    fn only_a_name_a_colon_and_a_password_are_read() {
        for (text, read) in [
            (&b"YTpi"[..], Some(("a", &b"b"[..]))),
            (b"YTpiOmM=", Some(("a", b"b:c"))),
            (b"YTpiOmM", Some(("a", b"b:c"))),
            (b"Og==", Some(("", b""))),
            (b"YTo", Some(("a", b""))),
            (b"YQ==", None),
            (b"", None),
            (b"YTpi YTpi", None),
            (b"YTpi=", None),
            (b"-_:", None),
            (b"YToK", None),
            (b"/zph", None),
        ] {
            let parsed = Sent::parse(text).ok();
            assert_eq!(parsed.as_ref().map(|sent| (&*sent.name, &*sent.password)), read, "{text:?}");
        }
    }
}
