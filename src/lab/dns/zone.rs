//! What the name server says: a query in, a reply out. Knows no sockets and does not wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The most that fits into a UDP reply to a client without EDNS (RFC 1035, section 2.3.4).
const PLAIN_UDP: u16 = 512;

/// Aliases followed within one answer.
const LONGEST_CHAIN: usize = 8;

/// How a question is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// With what is set: the addresses, no record where there is none of this type, NXDOMAIN for unknown names.
    #[default]
    Normal,
    /// "Server failure".
    ServFail,
    /// "Refused".
    Refused,
    /// Not at all.
    Silence,
    /// "No such name", whatever is set.
    NxDomain,
    /// "No such record", whatever is set.
    Empty,
    /// Over UDP only "truncated, ask over TCP", however short the answer is.
    Truncate,
    /// Like [`Self::Normal`], this much later.
    Delay(Duration),
    /// With the addresses set, but as records of this other name.
    WrongName(String),
    /// "That is an alias of", and what this name has, if it is known here.
    Alias(String),
    /// With bytes that are no message.
    Garbage,
    /// With the next of these lists each time.
    Flap(Vec<Vec<IpAddr>>),
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What goes back, and how long to wait before.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) after: Duration,
}

/// All names, and what was asked about them.
#[derive(Debug, Default)]
pub(super) struct Zone {
    names: HashMap<String, Entry>,
    silent: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// None: the name does not exist.
    addresses: Option<Vec<IpAddr>>,
    /// None: likewise, unless there are addresses.
    services: Option<Vec<Service>>,
    /// In seconds.
    ttl: u32,
    a: Script,
    aaaa: Script,
    srv: Script,
}

/// Where a service is (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The lowest comes first.
    pub priority: u16,
    /// The share beside others of the same priority.
    pub weight: u16,
    /// The port of the target's addresses.
    pub port: u16,
    /// The name that has the addresses.
    pub target: String,
}

/// One type of question about one name.
#[derive(Clone, Debug, Default)]
struct Script {
    behaviour: Behaviour,
    asked: u64,
}

impl Zone {
    pub(super) fn set(&mut self, name: &str, addresses: Vec<IpAddr>, ttl: u32) {
        let entry = self.entry(name);
        entry.addresses = Some(addresses);
        entry.ttl = ttl;
    }

    pub(super) fn set_services(&mut self, name: &str, services: Vec<Service>, ttl: u32) {
        let entry = self.entry(name);
        entry.services = Some(services);
        entry.ttl = ttl;
    }

    pub(super) fn remove(&mut self, name: &str) {
        let entry = self.entry(name);
        (entry.addresses, entry.services) = (None, None);
    }

    pub(super) fn behave(&mut self, name: &str, kind: RecordType, behaviour: Behaviour) {
        if let Some(script) = self.entry(name).script(kind) {
            script.behaviour = behaviour;
        }
    }

    pub(super) fn queries(&mut self, name: &str, kind: RecordType) -> u64 {
        self.entry(name).script(kind).map_or(0, |script| script.asked)
    }

    pub(super) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// The reply to a query; none to what is no query, and where silence is told.
    pub(super) fn answer(&mut self, query: &[u8], transport: Transport) -> Option<Reply> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let script = self.count(&question);
        let mut reply = reply_to(&query, &question);
        let mut after = Duration::ZERO;
        let mut limit = usize::from(query.edns.as_ref().map_or(PLAIN_UDP, Edns::max_payload).max(PLAIN_UDP));
        match script.behaviour {
            _ if self.silent => return None,
            Behaviour::Silence => return None,
            Behaviour::Garbage => {
                return Some(Reply { bytes: garbage(query.id), after });
            }
            Behaviour::ServFail => reply.metadata.response_code = ResponseCode::ServFail,
            Behaviour::Refused => reply.metadata.response_code = ResponseCode::Refused,
            Behaviour::NxDomain => reply.metadata.response_code = ResponseCode::NXDomain,
            Behaviour::Empty => {}
            Behaviour::Normal => self.fill(&mut reply, &question, script.asked),
            Behaviour::Truncate => {
                limit = 0;
                self.fill(&mut reply, &question, script.asked);
            }
            Behaviour::Delay(delay) => {
                after = delay;
                self.fill(&mut reply, &question, script.asked);
            }
            Behaviour::WrongName(other) => {
                self.fill(&mut reply, &question, script.asked);
                let other = absolute(&other)?;
                reply.answers.iter_mut().for_each(|record| record.name = other.clone());
            }
            Behaviour::Alias(target) => self.follow(&mut reply, &question, target, script.asked)?,
            Behaviour::Flap(lists) => {
                let list = lists.get(usize::try_from(script.asked).ok()?.checked_rem(lists.len())?)?;
                let ttl = self.entry(&question.name.to_ascii()).ttl;
                reply.add_answers(records(&question.name, question.query_type, list, ttl));
            }
        }
        let bytes = encode(&reply, transport, limit)?;
        Some(Reply { bytes, after })
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.names.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default()
    }

    /// Counts the question, and says how to answer it.
    fn count(&mut self, question: &Query) -> Script {
        let Some(script) = self.entry(&question.name.to_ascii()).script(question.query_type) else {
            return Script::default();
        };
        let now = script.clone();
        script.asked += 1;
        now
    }

    /// Adds what is set for the name; the `turn` says which record comes first.
    fn fill(&mut self, reply: &mut Message, question: &Query, turn: u64) {
        let entry = self.entry(&question.name.to_ascii());
        if entry.addresses.is_none() && entry.services.is_none() {
            reply.metadata.response_code = ResponseCode::NXDomain;
            return;
        }
        let mut found = match question.query_type {
            RecordType::SRV => services(&question.name, entry.services.as_deref().unwrap_or_default(), entry.ttl),
            kind => records(&question.name, kind, entry.addresses.as_deref().unwrap_or_default(), entry.ttl),
        };
        let turn = turn.checked_rem(found.len() as u64).unwrap_or(0);
        found.rotate_left(usize::try_from(turn).unwrap_or(0));
        reply.add_answers(found);
    }

    /// Adds the chain of aliases that begins with the question's name, and what its end has, if it is known.
    fn follow(&mut self, reply: &mut Message, question: &Query, target: String, turn: u64) -> Option<()> {
        let mut question = question.clone();
        let mut next = Some(target);
        for _ in 0..LONGEST_CHAIN {
            let Some(target) = next else { break };
            let target = absolute(&target)?;
            let alias = RData::CNAME(CNAME(target.clone()));
            reply.add_answer(Record::from_rdata(question.name, self.entry(&target.to_ascii()).ttl, alias));
            question.name = target;
            next = match self.entry(&question.name.to_ascii()).script(question.query_type) {
                Some(Script { behaviour: Behaviour::Alias(further), .. }) => Some(further.clone()),
                _ => None,
            };
        }
        if self.entry(&question.name.to_ascii()).addresses.is_some() {
            self.fill(reply, &question, turn);
        }
        Some(())
    }
}

impl Entry {
    fn script(&mut self, kind: RecordType) -> Option<&mut Script> {
        match kind {
            RecordType::A => Some(&mut self.a),
            RecordType::AAAA => Some(&mut self.aaaa),
            RecordType::SRV => Some(&mut self.srv),
            _ => None,
        }
    }
}

/// An empty reply with the question repeated.
fn reply_to(query: &Message, question: &Query) -> Message {
    let mut reply = Message::response(query.id, query.op_code);
    reply.metadata.recursion_desired = query.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    if query.edns.is_some() {
        reply.set_edns(Edns::new());
    }
    reply
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn records(name: &Name, kind: RecordType, addresses: &[IpAddr], ttl: u32) -> Vec<Record> {
    let all = addresses.iter().map(|&address| Record::from_rdata(name.clone(), ttl, RData::from(address)));
    all.filter(|record| record.record_type() == kind).collect()
}

fn services(name: &Name, services: &[Service], ttl: u32) -> Vec<Record> {
    let record = |service: &Service| {
        let srv = SRV::new(service.priority, service.weight, service.port, absolute(&service.target)?);
        Some(Record::from_rdata(name.clone(), ttl, RData::SRV(srv)))
    };
    services.iter().filter_map(record).collect()
}

/// The bytes of a reply; over UDP, one that is too long is cut to its question (RFC 2181, section 9).
fn encode(reply: &Message, transport: Transport, limit: usize) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    if transport == Transport::Udp && bytes.len() > limit { reply.truncate().to_vec().ok() } else { Some(bytes) }
}

/// The right number in front, and then what no parser takes for a message.
fn garbage(id: u16) -> Vec<u8> {
    [id.to_be_bytes().as_slice(), &[0xff; 30]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(zone: &mut Zone, edns: Option<u16>, transport: Transport) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii("App.").unwrap(), RecordType::A));
        if let Some(size) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            query.set_edns(edns);
        }
        let reply = zone.answer(&query.to_vec().unwrap(), transport).unwrap();
        Message::from_vec(&reply.bytes).unwrap()
    }

    #[test]
    fn a_reply_is_cut_to_what_the_client_takes_over_udp() {
        let mut zone = Zone::default();
        zone.set("app", (1..=50).map(|n| IpAddr::from([10, 0, 0, n])).collect(), 600);
        assert!(ask(&mut zone, None, Transport::Udp).truncation);
        assert_eq!(ask(&mut zone, Some(1232), Transport::Udp).answers.len(), 50);
        assert_eq!(ask(&mut zone, None, Transport::Tcp).answers.len(), 50);
    }

    #[test]
    fn every_reply_begins_with_another_address() {
        let mut zone = Zone::default();
        zone.set("app", vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])], 600);
        let first = ask(&mut zone, None, Transport::Udp).answers[0].data.clone();
        assert_ne!(first, ask(&mut zone, None, Transport::Udp).answers[0].data);
        assert_eq!(zone.queries("APP.", RecordType::A), 2);
    }

    #[test]
    fn an_unknown_name_and_an_unknown_type_are_two_things() {
        let mut zone = Zone::default();
        assert_eq!(ask(&mut zone, None, Transport::Udp).response_code, ResponseCode::NXDomain);
        zone.set("app", vec![IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])], 600);
        let reply = ask(&mut zone, None, Transport::Udp);
        assert_eq!((reply.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    }
}
