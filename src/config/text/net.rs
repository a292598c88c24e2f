//! Addresses and names of the network as texts of the configuration.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::{Fault, Syntax};

/// `[admin] listen`: an address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminListen(pub Option<SocketAddr>);

/// The path of a Unix socket: absolute, so that every process means the same one, and short enough for the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(pub PathBuf);

/// A name server: `127.0.0.11` or `127.0.0.11:53`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

/// A name whose addresses are asked for, and the port that each of them gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTarget {
    /// The name, as written.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// The name of a service, which has the ports of its targets: `_http._tcp.orders` (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(pub String);

const OFF: &str = "off";
/// Bytes in the path of a Unix socket (`sun_path` without its final zero), less what a name beside it needs.
const LONGEST_PATH: usize = 107 - ".new".len();

impl Syntax for SocketPath {
    const FORMAT: &'static str = "socket-path";

    fn parse(text: &str) -> Result<Self, Fault> {
        if !text.starts_with('/') || text.ends_with('/') {
            return Err(Fault::new(format!("`{text}` is not the absolute path of a socket"))
                .hint("write it like `/run/tollgate/takeover.sock`"));
        }
        if text.len() > LONGEST_PATH {
            return Err(Fault::new(format!("the path is longer than {LONGEST_PATH} bytes")));
        }
        Ok(Self(text.into()))
    }

    fn print(&self) -> String {
        self.0.display().to_string()
    }
}

impl Syntax for SocketAddr {
    const FORMAT: &'static str = "socket-address";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.parse::<Self>() {
            Ok(address) => Ok(address),
            Err(_) => Err(not_an_address(text)),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Syntax for AdminListen {
    const FORMAT: &'static str = "admin-listen";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            OFF => Ok(Self(None)),
            _ => SocketAddr::parse(text).map(|address| Self(Some(address))),
        }
    }

    fn print(&self) -> String {
        self.0.map_or_else(|| OFF.to_owned(), |address| address.to_string())
    }
}

impl Syntax for NameServer {
    const FORMAT: &'static str = "name-server";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(Self(SocketAddr::new(ip, 53))),
            Err(_) => text.parse().map(Self).map_err(|_| {
                Fault::new(format!("`{text}` is not the address of a name server"))
                    .hint("write it like `10.0.0.53` or `127.0.0.11:53`")
            }),
        }
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

impl Syntax for IpNet {
    const FORMAT: &'static str = "network";

    fn parse(text: &str) -> Result<Self, Fault> {
        match (text.parse::<Self>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => Ok(network.trunc()),
            (_, Ok(address)) => Ok(address.into()),
            _ => Err(Fault::new(format!("`{text}` is not a network")).hint("write it like `10.0.0.0/8`")),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Syntax for DnsTarget {
    const FORMAT: &'static str = "dns-target";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
            return Err(Fault::new(format!("`{text}` is an address, not a name"))
                .hint("addresses that are known belong in `addresses = [\"10.0.0.5:80\"]`"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(Fault::new(format!("`{scheme}://` does not belong to a name")).hint(
                match rest.contains(':') {
                    true => "write it like `app:80`: a name and a port".to_owned(),
                    false => format!("write `{rest}:80`"),
                },
            ));
        }
        let Some((name, port)) = text.rsplit_once(':') else {
            return Err(Fault::new(format!("`{text}` has no port")).hint(format!("write it like `{text}:80`")));
        };
        check_dns_name(name)?;
        Ok(Self { name: name.to_owned(), port: parse_port(port)? })
    }

    fn print(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }
}

impl Syntax for ServiceName {
    const FORMAT: &'static str = "service-name";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some((name, port)) = text.rsplit_once(':') {
            return Err(Fault::new(format!("`{text}` has a port: a service's own records say its ports")).hint(
                match parse_port(port) {
                    Ok(_) => format!("write `{name}`, or `dns = \"{text}\"` for the addresses of a name"),
                    Err(_) => "write it like `_http._tcp.orders`".to_owned(),
                },
            ));
        }
        check_dns_name(text)?;
        Ok(Self(text.to_owned()))
    }

    fn print(&self) -> String {
        self.0.clone()
    }
}

/// Reads a port that can be connected to.
pub(super) fn parse_port(text: &str) -> Result<u16, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if port > 0 && digits => Ok(port),
        _ => Err(Fault::new(format!("`{text}` is not a port")).hint("ports go from 1 to 65535")),
    }
}

/// Whether the text can be a name in the DNS (RFC 1035 §2.3.4), underscores allowed, as service names have them.
pub(super) fn check_dns_name(name: &str) -> Result<(), Fault> {
    let absolute = name.strip_suffix('.').unwrap_or(name);
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if absolute.is_empty() {
        return Err(Fault::new("the host name is empty"));
    }
    if let Some(other) = absolute.chars().find(|&c| c != '.' && !of_a_name(c)) {
        let fault = Fault::new(format!("`{name}` is not a host name: it has `{}`", other.escape_default()));
        return Err(match other.is_ascii() {
            true => fault.hint("names have letters, digits, `-`, `_` and dots"),
            false => fault.hint("write names of other scripts in their `xn--` form"),
        });
    }
    if absolute.len() > 253 {
        return Err(Fault::new("the host name is longer than 253 characters"));
    }
    match absolute.split('.').find(|label| label.is_empty() || label.len() > 63) {
        Some("") => Err(Fault::new(format!("`{name}` is not a host name: a label is empty"))),
        Some(_) => Err(Fault::new(format!("`{name}` is not a host name: a label is longer than 63 characters"))),
        None => Ok(()),
    }
}

/// What is wrong with a text that should be `ip:port`.
fn not_an_address(text: &str) -> Fault {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Fault::new(format!("`{text}` has no port")).hint(format!("write it like `[{text}]:8080`"));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Fault::new(format!("`{text}` has no port")).hint(format!("write it like `{text}:8080`"));
    }
    let fault = Fault::new(format!("`{text}` is not an address"));
    match text.rsplit_once(':') {
        Some(("" | "*", port)) if parse_port(port).is_ok() => {
            fault.hint(format!("every address is `0.0.0.0:{port}` or `[::]:{port}`"))
        }
        Some(("localhost", port)) => fault.hint(format!("names are not looked up here: write `127.0.0.1:{port}`")),
        Some((name, port)) if check_dns_name(name).is_ok() && parse_port(port).is_ok() => {
            fault.hint(format!("names are not looked up here; an upstream has them in `dns = \"{text}\"`"))
        }
        _ => fault.hint("write it like `127.0.0.1:8080`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint<T: Syntax>(text: &str) -> String {
        T::parse(text).err().unwrap().hint.unwrap()
    }

    #[test]
    fn addresses_have_ports() {
        assert_eq!(hint::<SocketAddr>("10.0.0.5"), "write it like `10.0.0.5:8080`");
        assert_eq!(hint::<SocketAddr>("::1"), "write it like `[::1]:8080`");
        assert_eq!(hint::<SocketAddr>(":80"), "every address is `0.0.0.0:80` or `[::]:80`");
        assert_eq!(hint::<SocketAddr>("localhost:80"), "names are not looked up here: write `127.0.0.1:80`");
        assert_eq!(
            hint::<SocketAddr>("app:80"),
            "names are not looked up here; an upstream has them in `dns = \"app:80\"`"
        );
        assert_eq!(hint::<NameServer>("ns1"), "write it like `10.0.0.53` or `127.0.0.11:53`");
        assert_eq!(NameServer::parse("1.1.1.1").unwrap().print(), "1.1.1.1:53");
        assert_eq!(AdminListen::parse("off").unwrap(), AdminListen(None));
    }

    #[test]
    fn names_are_names() {
        let target = DnsTarget::parse("tasks.orders_v2.:80").unwrap();
        assert_eq!((target.name.as_str(), target.port), ("tasks.orders_v2.", 80));
        for text in [
            "orders",
            "orders:",
            "orders:0",
            "orders:+80",
            "http://orders:80",
            ":80",
            "a..b:80",
            "a b:80",
            "10.0.0.1:80",
            "[::1]:80",
        ] {
            assert!(DnsTarget::parse(text).is_err(), "{text}");
        }
        assert!(DnsTarget::parse(&format!("{}:80", "a".repeat(64))).is_err());
        assert!(DnsTarget::parse(&format!("{}a:80", "a.".repeat(127))).is_err());
    }

    #[test]
    fn networks_lose_their_host_bits() {
        assert_eq!(IpNet::parse("10.1.2.3/8").unwrap().print(), "10.0.0.0/8");
        assert_eq!(IpNet::parse("10.1.2.3").unwrap().print(), "10.1.2.3/32");
    }
}
