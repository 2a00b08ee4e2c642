//! What defaults take from the host: its name, its address, its processors, the environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

/// The host's name, which is the default broker name. Reference: `BrokerIdentity.defaultBrokerName`.
pub fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "DEFAULT_BROKER".to_owned()
    } else {
        name
    }
}

/// The address under which others reach this host: a public IPv4 address if it has one, else its last private IPv4
/// address, else an IPv6 address (in brackets), else 127.0.0.1. Reference: `NetworkUtil.getLocalAddress`.
pub fn address() -> String {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS
        .get_or_init(|| {
            let addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
                .unwrap_or_default()
                .into_iter()
                .filter(|interface| !is_bridge(&interface.name))
                .map(|interface| interface.ip())
                .collect();
            preferred(&addresses)
        })
        .clone()
}

/// Processors available to this process.
pub fn processors() -> i32 {
    std::thread::available_parallelism().map_or(1, |count| i32::try_from(count.get()).unwrap_or(i32::MAX))
}

/// An environment variable; empty when it is not set.
pub fn environment(variable: &str) -> String {
    std::env::var(variable).unwrap_or_default()
}

/// Bridges carry the addresses of containers behind them, which nobody else reaches.
fn is_bridge(interface: &str) -> bool {
    std::path::Path::new("/sys/class/net")
        .join(interface)
        .join("bridge")
        .exists()
}

fn preferred(addresses: &[IpAddr]) -> String {
    let ipv4: Vec<Ipv4Addr> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if !address.is_loopback() => Some(*address),
            _ => None,
        })
        .collect();
    let ipv6: Option<Ipv6Addr> = addresses.iter().find_map(|address| match address {
        IpAddr::V6(address) if !address.is_loopback() && !address.is_unicast_link_local() => Some(*address),
        _ => None,
    });
    let public = ipv4
        .iter()
        .find(|address| !address.is_private() && !address.is_link_local());
    match (public.or(ipv4.last()), ipv6) {
        (Some(address), _) => address.to_string(),
        (None, Some(address)) => format!("[{address}]"),
        (None, None) => Ipv4Addr::LOCALHOST.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred_of(addresses: &[&str]) -> String {
        let addresses: Vec<IpAddr> = addresses
            .iter()
            .map(|address| address.parse().expect("test addresses are valid"))
            .collect();
        preferred(&addresses)
    }

    #[test]
    fn a_public_ipv4_address_is_preferred_and_loopback_is_the_last_resort() {
        assert_eq!(
            preferred_of(&["127.0.0.1", "10.0.0.1", "192.0.2.7", "198.51.100.1"]),
            "192.0.2.7"
        );
        assert_eq!(
            preferred_of(&["10.0.0.1", "192.168.1.1", "2001:db8::1"]),
            "192.168.1.1"
        );
        assert_eq!(
            preferred_of(&["127.0.0.1", "::1", "fe80::1", "2001:db8::1"]),
            "[2001:db8::1]"
        );
        assert_eq!(preferred_of(&["127.0.0.1", "::1"]), "127.0.0.1");
        assert_eq!(preferred_of(&[]), "127.0.0.1");
    }

    #[test]
    fn the_host_has_a_name_an_address_and_processors() {
        assert!(!name().is_empty());
        assert!(address().trim_matches(['[', ']']).parse::<IpAddr>().is_ok());
        assert!(processors() >= 1);
    }
}
