//! `{ hash = … }`: the same address for the same key, by rendezvous (Thaler and Ravishankar, 1998): the key goes to the
//! address with the highest score for it. When one leaves, only its own keys move; when one comes, it takes its share
//! from all. Scores depend on key, address and weight alone, so every gateway and every start agrees.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Search;
use super::set::Circle;
use crate::upstream::endpoint::Endpoint;

/// The number that stands for a key.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    // FNV-1a, which spreads badly by itself.
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The number that stands for an address of a client: the same however it is written.
pub(super) fn of_ip(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => of_bytes(&v4.octets()),
        IpAddr::V6(v6) => of_bytes(&v6.octets()),
    }
}

/// The number that stands for an address that requests go to.
pub(in crate::upstream) fn of_address(address: SocketAddr) -> u64 {
    mix(of_ip(address.ip()) ^ u64::from(address.port()))
}

/// Who has this key among those that will do.
pub(super) fn owner<'a>(circle: Circle<'a>, search: Search<'_>, key: u64) -> Option<&'a Arc<Endpoint>> {
    let mut best: Option<(f64, &Arc<Endpoint>)> = None;
    for endpoint in circle.members.iter().filter(|endpoint| search.allows(endpoint)) {
        let score = score(mix(key ^ endpoint.hash), endpoint.weight());
        if best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, endpoint));
        }
    }
    best.map(|(_, endpoint)| endpoint)
}

/// A number that is the highest among several with a chance in proportion to their weights.
fn score(random: u64, weight: u32) -> f64 {
    let uniform = ((random >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / uniform.ln()
}

/// Spreads a number over all its bits (Steele, Lea and Flood, SplitMix, 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::Wish;
    use super::super::trial::{Trial, address, endpoints};
    use super::*;
    use crate::upstream::policy::{Balance, HashKey, WeightedAddress};

    const KEYS: u64 = 10_000;

    fn trial(weights: &[u32]) -> Trial {
        Trial::new(Balance::Hash(HashKey::Ip), weights)
    }

    /// The address of every key.
    fn owners(trial: &Trial) -> Vec<SocketAddr> {
        (0..KEYS)
            .map(|user| Wish::Key(of_bytes(format!("user-{user}").as_bytes())))
            .map(|wish| trial.pick_for(&wish, &[], 0).unwrap().endpoint().address)
            .collect()
    }

    fn share(owners: &[SocketAddr], last: u8) -> f64 {
        owners.iter().filter(|owner| **owner == address(last)).count() as f64 / owners.len() as f64
    }

    #[test]
    fn keys_are_spread_evenly_and_by_weight() {
        let even = owners(&trial(&[1; 10]));
        (1..=10).for_each(|last| assert!((share(&even, last) - 0.1).abs() < 0.015, "{}", share(&even, last)));
        let weighted = owners(&trial(&[5, 3, 2]));
        for (last, expected) in [(1, 0.5), (2, 0.3), (3, 0.2)] {
            assert!((share(&weighted, last) - expected).abs() < 0.02, "{}", share(&weighted, last));
        }
    }

    #[test]
    fn one_of_ten_that_leaves_moves_its_own_keys_and_no_other() {
        for weights in [[1; 10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            for gone in 1..=10u8 {
                let mut trial = trial(&weights);
                let before = owners(&trial);
                let stay = (1u8..).zip(weights).filter(|(last, _)| *last != gone);
                let stay: Vec<_> = stay
                    .map(|(last, weight)| WeightedAddress { weight, ..WeightedAddress::new(address(last)) })
                    .collect();
                trial.update(&stay);
                let after = owners(&trial);
                let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
                assert!(moved.clone().all(|(before, _)| *before == address(gone)), "a key moved between survivors");
                let total: u32 = weights.iter().sum();
                let expected = f64::from(weights[usize::from(gone) - 1]) / f64::from(total);
                let moved = moved.count() as f64 / KEYS as f64;
                assert!((moved - expected).abs() < 0.02, "{moved} of the keys moved, {expected} should");
                // Back again, everything is as it was.
                let all: Vec<_> = (1u8..)
                    .zip(weights)
                    .map(|(last, weight)| WeightedAddress { weight, ..WeightedAddress::new(address(last)) })
                    .collect();
                trial.update(&all);
                assert_eq!(owners(&trial), before);
            }
        }
    }

    #[test]
    fn a_weight_that_grows_only_takes() {
        let before = owners(&trial(&[1, 1, 1]));
        let after = owners(&trial(&[1, 2, 1]));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| *after == address(2)));
        assert!((moved.count() as f64 / KEYS as f64 - 1.0 / 6.0).abs() < 0.02);
    }

    #[test]
    fn the_same_key_has_the_same_owner_in_every_process() {
        // Written down once: a change here moves every session of every user.
        assert_eq!(of_bytes(b""), 0xf52a_15e9_a9b5_e89b);
        let owners = owners(&trial(&[1; 3]));
        let first: Vec<u8> = owners
            .iter()
            .take(8)
            .map(|owner| if let IpAddr::V4(v4) = owner.ip() { v4.octets()[3] } else { 0 })
            .collect();
        assert_eq!(first, [2, 3, 1, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_second_try_goes_to_the_second_owner_and_without_a_key_there_are_turns() {
        let trial = trial(&[1; 5]);
        let wish = Wish::Key(of_bytes(b"somebody"));
        let first = trial.pick_for(&wish, &[], 0).unwrap().endpoint().address;
        let second = trial.pick_for(&wish, &[first], 1).unwrap().endpoint().address;
        assert_ne!(first, second);
        assert_eq!(trial.pick_for(&wish, &[first], 2).unwrap().endpoint().address, second);
        assert_eq!(trial.counts(10), [2; 5]);
        assert_eq!(of_ip("::ffff:10.0.0.1".parse().unwrap()), of_ip("10.0.0.1".parse().unwrap()));
        assert_ne!(endpoints(&[1, 1]).iter().map(|one| one.hash).collect::<Vec<_>>()[0], of_address(address(2)));
    }
}
