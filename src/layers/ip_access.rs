//! Refuses clients by their address: the peer's own, or what trusted proxies say it is; a field that anybody else sent
//! changes nothing. What is denied wins over what is allowed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::gate::Gate;
use crate::base::reject::{Reason, Reject};
use crate::base::request::Request;

/// Which addresses may use a route. IPv4 addresses are IPv4 in whatever form they come: `::ffff:10.0.0.1` is `10.0.0.1`
/// (RFC 4291 §2.5.5.2), in the lists as well as of clients.
#[derive(Debug)]
pub struct IpAccess {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl IpAccess {
    /// The policy of these lists; none where both are empty, for then everybody may. An empty `allow` allows everybody
    /// who is not denied.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Option<Self> {
        let canonical = |list: &[IpNet]| list.iter().copied().map(canonical).collect();
        (!allow.is_empty() || !deny.is_empty()).then(|| Self { allow: canonical(allow), deny: canonical(deny) })
    }

    /// The list that keeps this client out, by its key.
    fn against(&self, client: IpAddr) -> Option<&'static str> {
        let client = client.to_canonical();
        let has = |list: &[IpNet]| list.iter().any(|network| network.contains(&client));
        match () {
            () if has(&self.deny) => Some("in deny_ips"),
            () if !self.allow.is_empty() && !has(&self.allow) => Some("not in allow_ips"),
            () => None,
        }
    }
}

impl Gate for IpAccess {
    const NAME: Option<&'static str> = Some("ip_access");

    type Pass = ();
    fn finishes(&self, _: &Self::Pass) -> bool {
        false
    }

    fn check(&self, request: &mut Request) -> Result<(), Reject> {
        let client = request.exchange.client;
        match self.against(client) {
            None => Ok(()),
            Some(list) => {
                let reject = Reject::new(Reason::IpDenied, "your address may not use this");
                Err(reject.because(format_args!("{} is {list}", client.to_canonical())))
            }
        }
    }
}

/// A network of IPv4-mapped addresses as the network of IPv4 that it stands for.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(long) = network else { return network };
    let short = long.network().to_ipv4_mapped().zip(long.prefix_len().checked_sub(MAPPED));
    short.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(allow: &[&str], deny: &[&str], client: &str) -> bool {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let policy = IpAccess::new(&list(allow), &list(deny));
        policy.is_none_or(|policy| policy.against(client.parse().unwrap()).is_none())
    }

    #[test]
    fn empty_lists_are_no_policy() {
        assert!(IpAccess::new(&[], &[]).is_none());
    }

    #[test]
    fn who_is_allowed_may_and_who_is_denied_may_not_whatever_else_is_written() {
        for (allow, deny, client, expected) in [
            (&["10.0.0.0/8"][..], &[][..], "10.1.2.3", true),
            (&["10.0.0.0/8"], &[], "11.0.0.1", false),
            (&["10.0.0.0/8"], &[], "::1", false),
            (&["10.0.0.0/8", "::1/128"], &[], "::1", true),
            (&[], &["10.0.0.0/8"], "10.1.2.3", false),
            (&[], &["10.0.0.0/8"], "11.0.0.1", true),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.2.3", true),
            (&["10.1.2.3/32"], &["10.0.0.0/8"], "10.1.2.3", false),
            (&["2001:db8::/32"], &["2001:db8:1::/48"], "2001:db8:2::1", true),
            (&["2001:db8::/32"], &["2001:db8:1::/48"], "2001:db8:1::1", false),
            (&["0.0.0.0/0"], &[], "::1", false),
            (&["::/0"], &[], "127.0.0.1", false),
        ] {
            assert_eq!(may(allow, deny, client), expected, "{client}: allow {allow:?}, deny {deny:?}");
        }
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_stays_what_it_is() {
        assert!(!may(&[], &["10.0.0.0/8"], "::ffff:10.1.2.3"));
        assert!(may(&["10.0.0.0/8"], &[], "::ffff:10.1.2.3"));
        assert!(!may(&[], &["::ffff:10.0.0.0/104"], "10.1.2.3"));
        assert!(!may(&[], &["::ffff:10.0.0.0/104"], "::ffff:10.1.2.3"));
        assert!(may(&[], &["::ffff:10.0.0.0/104"], "11.1.2.3"));
        assert!(!may(&["::/0"], &[], "::ffff:10.1.2.3"), "all of IPv6 has none of IPv4");
    }
}
