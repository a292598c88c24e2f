//! What records say, tidied up: the usable ones, each once, in an order of their own, and not too many.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::policy::WeightedAddress;

/// No name gets more addresses than this; of a longer list the lowest stay, so that every answer to the same
/// set leaves the same ones out.
pub const MAX_ADDRESSES: usize = 256;

/// What a weight of one counts when it is shared by the addresses of a target: a number that many divide.
const UNIT: u32 = 840;

/// Something that records say.
pub trait Record: Clone + Ord {
    /// One form for what means the same, nothing that cannot be used.
    fn usable(self) -> Option<Self>;
}

/// Where a service is (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Service {
    /// Whether others come first: the lowest does.
    pub priority: u16,
    /// Its share beside others of the same priority; 0 is next to nothing, unless all have it.
    pub weight: u16,
    /// The port of every address of the target.
    pub port: u16,
    /// The name that has the addresses, absolute.
    pub target: String,
}

impl Record for IpAddr {
    /// Whether a connection to the address can mean one host: not "any", not all, not a group, and not local to
    /// a link of which a record cannot say which one it is.
    fn usable(self) -> Option<Self> {
        let address = self.to_canonical();
        let usable = match &address {
            Self::V4(v4) => !(v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast()),
            Self::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()),
        };
        usable.then_some(address)
    }
}

impl Record for Service {
    /// A target of `.` says that there is no such service here; on port 0 nothing listens.
    fn usable(mut self) -> Option<Self> {
        self.target.make_ascii_lowercase();
        (self.target != "." && !self.target.is_empty() && self.port != 0).then_some(self)
    }
}

/// The usable ones, in order.
pub fn usable<R: Record>(records: Vec<R>) -> Vec<R> {
    tidy(records.into_iter().filter_map(Record::usable).collect())
}

/// Sorted, each once, at most [`MAX_ADDRESSES`].
pub fn tidy<R: Ord>(mut records: Vec<R>) -> Vec<R> {
    records.sort_unstable();
    records.dedup();
    records.truncate(MAX_ADDRESSES);
    records
}

/// The addresses of services whose targets have these. A record's weight is shared by the addresses of its target. An
/// address that several records lead to has the best of their priorities, and of those the sum of the weights.
pub fn addresses_of<'a>(services: &[Service], targets: impl Fn(&str) -> Option<&'a [IpAddr]>) -> Vec<WeightedAddress> {
    let mut found: BTreeMap<SocketAddr, WeightedAddress> = BTreeMap::new();
    for group in services.chunk_by(|one, other| one.priority == other.priority) {
        let weightless = group.iter().all(|service| service.weight == 0);
        for service in group {
            let Some(ips) = targets(&service.target).filter(|ips| !ips.is_empty()) else { continue };
            let weight = if weightless { UNIT } else { u32::from(service.weight) * UNIT };
            let share = (weight / u32::try_from(ips.len()).unwrap_or(u32::MAX)).max(1);
            for &ip in ips {
                let address = SocketAddr::new(ip, service.port);
                let new = WeightedAddress { address, weight: share, priority: service.priority };
                let known = found.entry(address).or_insert(WeightedAddress { weight: 0, ..new });
                if known.priority == new.priority {
                    known.weight = known.weight.saturating_add(share);
                }
            }
        }
    }
    let mut found: Vec<WeightedAddress> = found.into_values().collect();
    found.sort_by_key(|one| (one.priority, one.address));
    found.truncate(MAX_ADDRESSES);
    for group in found.chunk_by_mut(|one, other| one.priority == other.priority) {
        let divisor = group.iter().map(|one| one.weight).fold(0, gcd).max(1);
        group.iter_mut().for_each(|one| one.weight /= divisor);
    }
    found
}

/// The greatest common divisor; of 0 and a number, the number.
pub fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Service {
        Service { priority, weight, port, target: target.to_owned() }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Port, priority and weight of every address, by its last number.
    fn addresses(services: &[Service], targets: &[(&str, &[IpAddr])]) -> Vec<(String, u16, u32)> {
        let services = usable(services.to_vec());
        let of = |name: &str| targets.iter().find(|(target, _)| *target == name).map(|(_, ips)| *ips);
        let found = addresses_of(&services, of);
        found.into_iter().map(|one| (one.address.to_string(), one.priority, one.weight)).collect()
    }

    #[test]
    fn what_says_that_there_is_no_service_is_no_service() {
        let odd =
            vec![service(0, 0, 80, "."), service(0, 0, 0, "a."), service(1, 0, 80, "A."), service(1, 0, 80, "a.")];
        assert_eq!(usable(odd), [service(1, 0, 80, "a.")]);
    }

    #[test]
    fn a_weight_is_shared_by_the_addresses_of_its_target() {
        let services = [service(10, 3, 80, "one."), service(10, 1, 81, "two."), service(20, 0, 82, "one.")];
        let found = addresses(&services, &[("one.", &[ip(1), ip(2)]), ("two.", &[ip(3)])]);
        let expected = [
            ("10.0.0.1:80", 10, 3),
            ("10.0.0.2:80", 10, 3),
            ("10.0.0.3:81", 10, 2),
            ("10.0.0.1:82", 20, 1),
            ("10.0.0.2:82", 20, 1),
        ];
        assert_eq!(found, expected.map(|(address, priority, weight)| (address.to_owned(), priority, weight)));
    }

    #[test]
    fn without_a_weight_is_next_to_nothing_unless_nobody_has_one() {
        let targets: &[(&str, &[IpAddr])] = &[("a.", &[ip(1)]), ("b.", &[ip(2)])];
        let weights = |services: &[Service]| -> Vec<u32> {
            addresses(services, targets).into_iter().map(|(_, _, weight)| weight).collect()
        };
        assert_eq!(weights(&[service(0, 0, 80, "a."), service(0, 10, 80, "b.")]), [1, 8400]);
        assert_eq!(weights(&[service(0, 0, 80, "a."), service(0, 0, 80, "b.")]), [1, 1]);
        assert_eq!(weights(&[service(0, 7, 80, "a."), service(0, 7, 80, "gone.")]), [1]);
    }

    #[test]
    fn an_address_that_comes_twice_is_one() {
        let services = [service(1, 1, 80, "a."), service(1, 2, 80, "b."), service(2, 9, 80, "a.")];
        let found = addresses(&services, &[("a.", &[ip(1)]), ("b.", &[ip(1)])]);
        assert_eq!(found, [("10.0.0.1:80".to_owned(), 1, 1)]);
    }
}
