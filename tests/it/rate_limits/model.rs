//! The script that takes from buckets in Redis, against an exact reference, at times that the test chooses.

use redis::{Connection, Script};
use tollgate::layers::rate_limit::shared::TAKE;

use crate::support::redis::Redis;

/// The script with a clock of its own: the last two arguments, seconds and microseconds.
fn take() -> Script {
    let clock = "redis.call('TIME')";
    assert_eq!(TAKE.matches(clock).count(), 1);
    Script::new(&TAKE.replace(clock, "{ARGV[#ARGV - 1], ARGV[#ARGV]}"))
}

/// GCRA in whole nanoseconds (ITU-T I.371 §A, virtual scheduling).
#[derive(Clone, Debug)]
struct Exact {
    unit: u128,
    burst: u128,
    arrival: u128,
}

impl Exact {
    fn new(unit: u128, burst: u128) -> Self {
        Self { unit, burst, arrival: 0 }
    }

    /// How long to wait.
    fn wait(&self, now: u128, cost: u128) -> u128 {
        (self.arrival.max(now) + cost * self.unit).saturating_sub(self.burst * self.unit).saturating_sub(now)
    }

    fn take(&mut self, now: u128, cost: u128) {
        self.arrival = self.arrival.max(now) + cost * self.unit;
    }
}

/// One bucket as the script is asked for it.
fn ask(connection: &mut Connection, script: &Script, now: u128, asked: &[(&str, &Exact, u128, bool)]) -> Vec<u128> {
    let micros = |nanos: u128| format!("{}.{:03}", nanos / 1000, nanos % 1000);
    let mut call = script.prepare_invoke();
    for (key, ..) in asked {
        call.key(*key);
    }
    for (_, bucket, cost, enforced) in asked {
        let depth = bucket.unit * bucket.burst;
        call.arg(micros(bucket.unit * cost)).arg(micros(depth)).arg(micros(bucket.unit)).arg("0.000");
        call.arg(u8::from(*enforced));
    }
    // The clock of the test is in whole microseconds, as that of Redis is, and begins in 2026.
    call.arg(1_767_225_600 + (now / 1_000_000_000) as u64).arg((now / 1000 % 1_000_000) as u64);
    let answer: Vec<i64> = call.invoke(connection).unwrap();
    answer[1..].chunks(2).map(|pair| u128::try_from(pair[0]).unwrap() * 1000).collect()
}

#[test]
fn what_conforms_passes_and_nothing_else() {
    let Some(server) = Redis::start(&[]) else { return };
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let script = take();
    // Keys must not expire while the test's own clock stands still: units of minutes and more, and odd ones.
    let rates: [(u128, u128); 5] = [
        (60_000_000_000, 5),
        (86_400_000_000_000 / 7 + 1, 3),
        (3_600_000_000_000 / 11 + 1, 20),
        (86_400_000_000_000, 1),
        (77_777_777_777, 9),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for (round, (unit, burst)) in rates.into_iter().enumerate() {
        let key = format!("model-{round}");
        let (mut exact, mut now) = (Exact::new(unit, burst), 0_u128);
        let mut passed: Vec<(u128, u128)> = Vec::new();
        for _ in 0..400 {
            let cost = random.u128(1..=burst.min(3));
            now += random.u128(0..3 * unit) / 1000 * 1000;
            let (expected, got) =
                (exact.wait(now, cost), ask(&mut connection, &script, now, &[(&key, &exact, cost, true)])[0]);
            // Numbers in Lua hold a time to a hundredth of a microsecond, and what is given out is rounded up to one.
            if expected > 1_000 {
                assert!((expected..=expected + 2_000).contains(&got), "{expected} and {got} at {now}");
                // Waiting that long is enough, and for others to be told the truth it must not be more.
                let (later, fresh) = (now + got, format!("{key}-later"));
                redis::cmd("COPY").arg(&key).arg(&fresh).arg("REPLACE").query::<i64>(&mut connection).unwrap();
                assert_eq!(ask(&mut connection, &script, later, &[(&fresh, &exact, cost, true)]), [0]);
            } else {
                assert_eq!(got, 0, "{expected} at {now}");
                exact.take(now, cost);
                passed.push((now, cost));
            }
        }
        for (at, (begin, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, cost) in &passed[at..] {
                sum += cost;
                assert!(sum <= burst + (end - begin + 1_000) / unit, "more than may pass from {begin} to {end}");
            }
        }
        assert!(passed.len() > 50, "{passed:?}");
    }
}

#[test]
fn all_are_taken_or_none() {
    let Some(server) = Redis::start(&[]) else { return };
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let script = take();
    let minute = 60_000_000_000;
    let (mut wide, mut narrow, mut watched) = (Exact::new(minute, 20), Exact::new(minute, 4), Exact::new(minute, 2));
    let (mut now, mut random) = (0, fastrand::Rng::with_seed(3));
    for _ in 0..500 {
        now += random.u128(0..minute) / 1000 * 1000;
        let asked = [("wide", &wide, 2, true), ("narrow", &narrow, 1, true), ("watched", &watched, 1, false)];
        let got = ask(&mut connection, &script, now, &asked);
        let expected = [wide.wait(now, 2), narrow.wait(now, 1), watched.wait(now, 1)];
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(*got > 0, *expected > 0, "{got} and {expected} at {now}");
        }
        if expected[0] == 0 && expected[1] == 0 {
            wide.take(now, 2);
            narrow.take(now, 1);
            if expected[2] == 0 {
                watched.take(now, 1);
            }
        }
    }
    let times = ["wide", "narrow", "watched"].map(|key| server.order(&["PTTL", key]));
    assert!(
        times.iter().all(|time| matches!(time, redis::Value::Int(left) if *left > 0)),
        "every key expires: {times:?}"
    );
}
