//! Limits that are counted in Redis: all of a request's in one script and one round trip, on the clock of the server. In a
//! Cluster a script may touch only what has one hash tag, so there is one for each key that requests are counted by, all
//! of them at once; what one of them has taken in vain is given back.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::bucket::Bucket;
use crate::layers::redis::{Redis, RedisError, Script, Value};

/// Takes from all buckets, or from none of them if one that counts is too empty. A bucket is kept as the moment at which it
/// is full and the unit that this was computed by; it is forgotten by itself when it is full. The clock counts from 2025,
/// so that the numbers of Lua hold it to a hundredth of a microsecond.
///
/// For each key: what the request costs, how much the bucket holds, its unit, how empty it is at least by the word of the
/// gateway that asks, all in microseconds, and whether a refusal counts. The answer is the clock, and for each key how
/// long to wait and how empty the bucket is.
pub const TAKE: &str = "
local clock = redis.call('TIME')
local now = (clock[1] - 1735689600) * 1000000 + clock[2]
local refused = false
local waits, debts = {}, {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local cost, depth, unit = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local debt = 0
  local kept = redis.call('GET', key)
  if kept then
    local full, was = string.match(kept, '^(%S+) (%S+)$')
    debt = math.max(0, tonumber(full) - now)
    if was ~= ARGV[at + 3] then debt = debt * unit / tonumber(was) end
  end
  debt = math.min(math.max(debt, tonumber(ARGV[at + 4])), depth)
  local wait = debt + cost - depth
  if wait < math.min(1, unit / 2) then wait = 0 end
  if wait > 0 and ARGV[at + 5] == '1' then refused = true end
  waits[i], debts[i] = wait, debt
end
local out = {now}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local taken = not refused and waits[i] == 0
  if taken then debts[i] = debts[i] + tonumber(ARGV[at + 1]) end
  if debts[i] > 0 and (taken or tonumber(ARGV[at + 4]) > 0) then
    redis.call('SET', key, string.format('%.3f %s', now + debts[i], ARGV[at + 3]), 'PX', math.ceil(debts[i] / 1000) + 1)
  end
  out[2 * i], out[2 * i + 1] = math.ceil(waits[i]), math.ceil(debts[i])
end
return out
";

/// Gives back what a request has cost. For each key: what that was.
const GIVE_BACK: &str = "
local clock = redis.call('TIME')
local now = (clock[1] - 1735689600) * 1000000 + clock[2]
for i, key in ipairs(KEYS) do
  local kept = redis.call('GET', key)
  if kept then
    local full, was = string.match(kept, '^(%S+) (%S+)$')
    local debt = tonumber(full) - now - tonumber(ARGV[i])
    if debt > 0 then
      redis.call('SET', key, string.format('%.3f %s', now + debt, was), 'PX', math.ceil(debt / 1000) + 1)
    else
      redis.call('DEL', key)
    end
  end
end
return #KEYS
";

/// What Redis is asked to do.
#[derive(Debug)]
pub struct Scripts {
    take: Script,
    give_back: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { take: Script::new(TAKE), give_back: Script::new(GIVE_BACK) }
    }
}

/// One bucket that a request has to be taken from.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which of the request's limits it is of.
    pub at: usize,
    /// What the limit is called there.
    pub label: String,
    /// The key that the request is counted by.
    pub text: String,
    /// The bucket.
    pub bucket: Bucket,
    /// How many requests this one counts for.
    pub cost: u32,
    /// How much is used up at least, in nanoseconds, whatever Redis remembers.
    pub floor: u64,
    /// Whether a refusal counts.
    pub enforced: bool,
    /// How often Redis had been lost when this was known.
    pub losses: u32,
}

/// What Redis says of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which of the request's limits it is of.
    pub at: usize,
    /// How long to wait, in nanoseconds; 0 where the request may pass.
    pub wait: u64,
    /// How much of the bucket is used up, as the time until it is full, in nanoseconds.
    pub debt: u64,
}

impl Wanted {
    /// The time in which what it takes comes back, in nanoseconds.
    pub fn weight(&self) -> u64 {
        self.bucket.unit().saturating_mul(u64::from(self.cost))
    }

    fn key(&self, redis: &Redis) -> String {
        redis.key(&format!("{}:{{{}}}", self.label, self.text))
    }

    fn arguments(&self) -> [String; 5] {
        let cost = self.bucket.unit() as f64 * f64::from(self.cost);
        [
            micros(cost),
            micros(self.bucket.depth() as f64),
            micros(self.bucket.unit() as f64),
            micros(self.floor as f64),
            u8::from(self.enforced).to_string(),
        ]
    }
}

fn micros(nanos: f64) -> String {
    format!("{:.3}", nanos / 1000.0)
}

/// Asks for all of them.
///
/// # Errors
/// When Redis does not say it of each of them in time.
pub async fn take(
    redis: &Arc<Redis>,
    scripts: &Scripts,
    worker: usize,
    wanted: &[Wanted],
) -> Result<Vec<Answer>, RedisError> {
    let mut groups: BTreeMap<&str, Vec<&Wanted>> = BTreeMap::new();
    for one in wanted {
        let tag = if redis.is_cluster() { one.text.as_str() } else { "" };
        groups.entry(tag).or_default().push(one);
    }
    let answers = join_all(groups.values().map(async |group| {
        let keys: Vec<String> = group.iter().map(|one| one.key(redis)).collect();
        let arguments: Vec<String> = group.iter().flat_map(|one| one.arguments()).collect();
        read(group, &redis.run(worker, &scripts.take, &keys, &arguments).await?)
    }));
    let answers = answers.await;
    let refuses = |answer: &Answer| answer.wait > 0 && wanted.iter().any(|one| one.at == answer.at && one.enforced);
    let refusing: Vec<bool> =
        answers.iter().map(|group| group.as_ref().map_or(true, |group| group.iter().any(&refuses))).collect();
    if refusing.contains(&true) && refusing.contains(&false) {
        let others = groups.values().zip(&refusing).zip(&answers).filter(|((_, refusing), _)| !**refusing);
        let taken =
            |answers: &[Answer], one: &Wanted| answers.iter().any(|answer| answer.at == one.at && answer.wait == 0);
        let in_vain = others.flat_map(|((group, _), answers)| {
            let answers = answers.as_deref().unwrap_or_default();
            group.iter().filter(move |one| taken(answers, one)).map(|one| (*one).clone())
        });
        give_back(redis, scripts, worker, in_vain.collect::<Vec<_>>().as_slice()).await;
    }
    Ok(answers.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

/// Gives back what was taken in vain. If that cannot be done, time will.
pub async fn give_back(redis: &Arc<Redis>, scripts: &Scripts, worker: usize, taken: &[Wanted]) {
    let given = join_all(taken.iter().map(async |one| {
        let [cost, ..] = one.arguments();
        redis.run(worker, &scripts.give_back, &[one.key(redis)], &[cost]).await
    }));
    for failed in given.await.into_iter().filter_map(Result::err) {
        tracing::debug!(error = %failed, "what was taken from a limit in vain was not given back");
    }
}

fn read(group: &[&Wanted], answer: &Value) -> Result<Vec<Answer>, RedisError> {
    let strange = || {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "an answer that is none to a limit");
        RedisError::Failed(error.into())
    };
    let Value::Array(numbers) = answer else { return Err(strange()) };
    let numbers: Option<Vec<u64>> = numbers
        .iter()
        .map(|number| match number {
            Value::Int(number) => u64::try_from(*number).ok()?.checked_mul(1000),
            _ => None,
        })
        .collect();
    // The first one is the clock.
    let numbers = numbers.filter(|numbers| numbers.len() == 2 * group.len() + 1).ok_or_else(strange)?;
    let pairs = numbers[1..].chunks_exact(2).zip(group);
    Ok(pairs.map(|(pair, one)| Answer { at: one.at, wait: pair[0], debt: pair[1] }).collect())
}
