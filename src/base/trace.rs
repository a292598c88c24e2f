//! The trace that a request belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>), and what is noted on
//! its way where somebody will want to see it. Only notes: who makes ids, decides what is recorded and sends it somewhere
//! is above.

use std::net::SocketAddr;
use std::time::Instant;

use http::{HeaderValue, Uri};

/// The flag of a trace that is recorded.
pub const SAMPLED: u8 = 1;
/// The flag of a trace whose id is random (level 2 §3.2.2.5.2).
pub const RANDOM: u8 = 2;

/// Steps of one request that are noted; further ones are not.
const MOST_STEPS: usize = 32;

/// A request's place in its trace.
#[derive(Debug)]
pub struct Trace {
    /// The trace.
    pub id: u128,
    /// The request's own span; 0 where the gateway takes no part, and what came goes on as it came.
    pub span: u64,
    /// The span that it was sent from; 0 where there is none.
    pub parent: u64,
    /// What else is told of the trace.
    pub flags: u8,
    /// What is noted, where it may be wanted.
    pub record: Option<Box<Record>>,
}

/// What is noted of a request.
#[derive(Debug, Default)]
pub struct Record {
    /// A trace and span that an untrusted peer named.
    pub linked: Option<(u128, u64)>,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

/// Something that took time on the way.
#[derive(Debug)]
pub struct Step {
    /// What it is.
    pub name: &'static str,
    /// Its span.
    pub span: u64,
    /// When it began.
    pub began: Instant,
    /// When it was over; nothing while it is not.
    pub ended: Option<Instant>,
    /// What came of it, where that was no success: a code.
    pub failure: Option<&'static str>,
    /// A request that went to an upstream.
    pub sent: Option<Sent>,
}

/// A try.
#[derive(Debug)]
pub struct Sent {
    /// Where to.
    pub address: SocketAddr,
    /// What was asked for.
    pub target: Uri,
    /// How many tries there were before.
    pub resends: u32,
    /// Why there is another.
    pub reason: Option<&'static str>,
    /// What was answered; 0 for nothing.
    pub status: u16,
}

impl Trace {
    /// Reads `traceparent`. A later version is read as far as it is known (§3.2.4).
    pub fn parse(field: &[u8]) -> Option<Self> {
        let later = field.first_chunk::<2>() != Some(b"00");
        let (known, rest) = field.split_at_checked(55)?;
        if !rest.is_empty() && (!later || rest[0] != b'-') {
            return None;
        }
        let mut parts = known.split(|&byte| byte == b'-');
        let version = hex(parts.next()?, 2)?;
        let id = hex(parts.next()?, 32)?;
        let parent = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let sound = parts.next().is_none() && version != 0xff && id != 0 && parent != 0;
        let flags = if later { flags & SAMPLED } else { flags & (SAMPLED | RANDOM) };
        sound.then_some(Self { id, span: 0, parent, flags, record: None })
    }

    /// Whether the gateway has a span in it.
    pub fn takes_part(&self) -> bool {
        self.span != 0
    }

    /// Whether it is recorded by everybody who follows it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// `traceparent` for what is sent now: the step under way is its parent, or the request itself.
    pub fn field(&self) -> Option<HeaderValue> {
        if !self.takes_part() {
            return None;
        }
        let under_way = self.record.as_ref().and_then(|record| record.steps.last());
        let span = under_way.filter(|step| step.ended.is_none()).map_or(self.span, |step| step.span);
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        digits(&mut text[3..35], self.id);
        digits(&mut text[36..52], span.into());
        digits(&mut text[53..55], self.flags.into());
        HeaderValue::from_bytes(&text).ok()
    }

    /// Begins a step, which ends what was under way.
    pub fn begin(&mut self, name: &'static str, now: Instant, sent: Option<Sent>) {
        let (id, own) = (self.id, self.span);
        let Some(record) = &mut self.record else { return };
        record.end(now, None);
        if record.steps.len() < MOST_STEPS {
            let span = child(id, own, record.steps.len());
            record.steps.push(Step { name, span, began: now, ended: None, failure: None, sent });
        }
    }

    /// Ends the step under way, if there is one.
    pub fn end(&mut self, now: Instant, failure: Option<&'static str>) {
        if let Some(record) = &mut self.record {
            record.end(now, failure);
        }
    }

    /// Notes the status that the try under way got, and ends it.
    pub fn answered(&mut self, now: Instant, status: u16) {
        let Some(record) = &mut self.record else { return };
        if let Some(sent) = record.steps.last_mut().and_then(|step| step.sent.as_mut()) {
            sent.status = status;
        }
        record.end(now, None);
    }
}

impl Record {
    fn end(&mut self, now: Instant, failure: Option<&'static str>) {
        if let Some(step) = self.steps.last_mut().filter(|step| step.ended.is_none()) {
            step.ended = Some(now);
            step.failure = failure;
        }
    }
}

/// The id of a step's span: another one for each, made from what is random already (splitmix64).
fn child(trace: u128, span: u64, number: usize) -> u64 {
    let mut mixed = span ^ (trace as u64).rotate_left(32);
    mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).max(1)
}

/// Lower case only, as the field must be.
fn hex(text: &[u8], length: usize) -> Option<u128> {
    if text.len() != length {
        return None;
    }
    text.iter().try_fold(0, |value: u128, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Writes the last digits of a number in hexadecimal, as many as there is room for.
pub fn digits(room: &mut [u8], mut value: u128) {
    for part in room.rchunks_mut(8) {
        let eight = eight_digits(value as u32);
        part.copy_from_slice(&eight[8 - part.len()..]);
        value >>= 32;
    }
}

/// All at once: a table would be looked up for each, which was half of what an unrecorded trace cost.
fn eight_digits(value: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Each four bits get a byte of their own.
    let mut spread = u64::from(value);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (spread + 6 * ONES) >> 4 & ONES; // one where it is more than nine
    (spread + u64::from(b'0') * ONES + u64::from(b'a' - b'9' - 1) * letters).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const FIELD: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_field_is_read_and_written() {
        let mut trace = Trace::parse(FIELD).unwrap();
        assert_eq!((trace.id, trace.parent), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7));
        assert!(trace.is_sampled() && !trace.takes_part() && trace.field().is_none());
        trace.span = 0xab;
        assert_eq!(trace.field().unwrap(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
    }

    #[test]
    fn digits_are_those_of_the_formatter() {
        for value in [0, 9, 10, 0xf, 0x9a, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX] {
            for length in [2, 16, 32] {
                let mut room = vec![b'?'; length];
                digits(&mut room, value);
                assert_eq!(String::from_utf8(room).unwrap(), format!("{value:032x}")[32 - length..]);
            }
        }
    }

    #[test]
    fn what_is_no_such_field_is_none() {
        let text = String::from_utf8(FIELD.to_vec()).unwrap();
        for bad in [
            "",
            "00",
            &text[..54],
            &format!("{text}-"),
            &format!("{text}-more"),
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &text.replacen("00-", "ff-", 1),
            &text.replacen("00-", "0x-", 1),
            &text.replacen('-', "+", 1),
            &text.replace("-01", "-0g"),
            &text.replacen("00-4", "00-g", 1),
            &text.replacen("00-4bf9", "00-4bf-", 1),
        ] {
            assert!(Trace::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Trace::parse(&[0xff; 55]).is_none());
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for more in ["", "-", "-what-the-future-brings"] {
            let text = format!("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff{more}");
            assert_eq!(Trace::parse(text.as_bytes()).unwrap().flags, SAMPLED, "{more}");
        }
        assert!(Trace::parse(b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x").is_none());
    }

    #[test]
    fn each_step_is_the_parent_of_what_is_sent_in_it() {
        let now = clock::now();
        let mut trace = Trace::parse(FIELD).unwrap();
        trace.span = 7;
        trace.begin("auth", now, None);
        assert!(trace.record.is_none(), "nobody wants to see it");
        trace.record = Some(Box::default());
        trace.begin("auth", now, None);
        trace.begin("try", now, None);
        let first = trace.field();
        trace.end(now, Some("connect"));
        assert_ne!(first, trace.field(), "nothing is under way");
        trace.begin("try", now, None);
        assert_ne!(first, trace.field());
        let record = trace.record.as_ref().unwrap();
        let failures: Vec<_> = record.steps.iter().map(|step| (step.ended.is_some(), step.failure)).collect();
        assert_eq!(failures, [(true, None), (true, Some("connect")), (false, None)]);
        (0..100).for_each(|_| trace.begin("try", now, None));
        assert_eq!(trace.record.unwrap().steps.len(), MOST_STEPS);
    }
}
