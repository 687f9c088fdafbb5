//! Which address asks: that of the connection, or what proxies of our own say of it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::server::Peer;

/// The header in which proxies say for whom they speak.
const FORWARDED: &str = "x-forwarded-for";

/// The most proxies in a row.
const MAX_PROXIES: u8 = 8;

/// Whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedProxies {
    /// This many proxies in a row stand before the API, and nobody reaches it but through them. With 0 the header
    /// is not read, since anybody can send it.
    InARow(u8),
    /// Proxies in these networks, wherever they stand. From anywhere else the header is not read.
    Networks(Vec<IpNet>),
}

/// A text that says of no proxies how they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadProxies;

impl fmt::Display for BadProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is neither a number from 0 to {MAX_PROXIES} nor a list of networks such as `10.0.0.0/8,192.0.2.7`"
        )
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self::InARow(0)
    }
}

impl FromStr for TrustedProxies {
    type Err = BadProxies;

    fn from_str(text: &str) -> Result<Self, BadProxies> {
        if let Ok(number) = text.trim().parse::<u8>() {
            return if number <= MAX_PROXIES { Ok(Self::InARow(number)) } else { Err(BadProxies) };
        }
        let network = |text: &str| {
            let text = text.trim();
            text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| BadProxies)
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self::Networks)
    }
}

impl TrustedProxies {
    /// The address of the client, as far as our own proxies vouch for it.
    pub(crate) fn client(&self, headers: &HeaderMap, peer: Option<Peer>) -> IpAddr {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |p| p.0.ip()).to_canonical();
        let seen =
            || headers.get_all(FORWARDED).iter().flat_map(|v| v.to_str().unwrap_or_default().split(','));
        match self {
            Self::InARow(0) => peer,
            Self::InARow(proxies) => {
                let seen: Vec<&str> = seen().collect();
                let place = seen.len().checked_sub(usize::from(*proxies));
                place.and_then(|i| seen.get(i)).and_then(|text| address(text)).unwrap_or(peer)
            }
            Self::Networks(networks) => {
                let ours = |at: IpAddr| networks.iter().any(|network| network.contains(&at));
                let (mut client, seen) = (peer, seen().collect::<Vec<_>>());
                // Each proxy says whom it saw; what stands further left than one that is not ours, that one may
                // have written.
                for text in seen.into_iter().rev() {
                    match address(text) {
                        Some(at) if ours(client) => client = at,
                        Some(_) | None => break,
                    }
                }
                client
            }
        }
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|at| at.ip());
    text.parse::<IpAddr>().ok().or_else(with_port).map(|at| at.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(proxies: &str, from: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for text in forwarded {
            headers.append(FORWARDED, HeaderValue::from_static(text));
        }
        let proxies: TrustedProxies = proxies.parse().unwrap();
        proxies.client(&headers, Some(Peer(from.parse().unwrap()))).to_string()
    }

    #[test]
    fn only_our_proxies_are_believed() {
        let forwarded = ["6.6.6.6, 192.0.2.1", "10.0.0.2"];
        let by_number = |number: &str| seen(number, "10.0.0.1:999", &forwarded);
        assert_eq!(by_number("0"), "10.0.0.1");
        assert_eq!(by_number("1"), "10.0.0.2");
        assert_eq!(by_number("2"), "192.0.2.1");
        assert_eq!(by_number("8"), "10.0.0.1");
        // The client that our outermost proxy saw, whatever it had written itself.
        assert_eq!(seen("10.0.0.0/8", "10.0.0.1:999", &forwarded), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", "10.0.0.1:999", &forwarded), "10.0.0.2");
        // From elsewhere anybody can send the header.
        assert_eq!(seen("10.0.0.0/8", "203.0.113.9:999", &forwarded), "203.0.113.9");
        assert_eq!(seen("10.0.0.0/8, 2001:db8::/32", "[2001:db8::1]:999", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.0/8", "[::ffff:10.0.0.1]:999", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(seen("10.0.0.0/8", "10.0.0.1:999", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(seen("0.0.0.0/0", "10.0.0.1:999", &["192.0.2.1"]), "192.0.2.1");
    }

    #[test]
    fn what_names_no_proxies_is_refused() {
        for bad in ["", "9", "-1", "10.0.0.0/33", "10.0.0.0/8,", "proxy.example.org"] {
            assert_eq!(bad.parse::<TrustedProxies>(), Err(BadProxies), "{bad}");
        }
    }
}
