//! Whose request it is: the address that a client is known by, behind proxies or not.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use actix_web::http::header::{HeaderMap, X_FORWARDED_FOR};
use ipnet::IpNet;

/// The address of all clients of which none is known.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The proxies whose `X-Forwarded-For` and `X-Request-Start` are believed, beside whatever connects to a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// What a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// A program on this box that may use our socket file.
    Socket,
    /// An address; `None` when the connection was gone before it could be asked for.
    Tcp(Option<IpAddr>),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// A trusted program on this box, by itself or through the box's own proxy.
    Own,
    /// Anyone else, by address; IPv4 never as IPv6.
    At(IpAddr),
}

impl TrustedProxies {
    fn trust(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// Whether what this peer says of its client is believed.
    pub(crate) fn believe(&self, peer: Peer) -> bool {
        match peer {
            Peer::Socket => true,
            Peer::Tcp(ip) => ip.is_some_and(|ip| self.trust(ip.to_canonical())),
        }
    }

    /// The client of a request: the peer, or where that is a trusted proxy, the rightmost forwarded address that is none.
    /// What stands left of it is the client's own claim. An entry that is no address ends the walk at the last one known.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> Client {
        let (mut known, mut own) = match peer {
            Peer::Socket => (UNKNOWN, true),
            Peer::Tcp(peer) => {
                let ip = peer.map_or(UNKNOWN, |ip| ip.to_canonical());
                if !self.trust(ip) {
                    return Client::At(ip);
                }
                (ip, ip.is_loopback())
            }
        };
        let lines = headers.get_all(X_FORWARDED_FOR).rev();
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            let Some(ip) = address(entry) else {
                own = false;
                break;
            };
            known = ip;
            own &= ip.is_loopback();
            if !self.trust(ip) {
                own = false;
                break;
            }
        }
        if own { Client::Own } else { Client::At(known) }
    }
}

/// One entry: an address, also with a port as some proxies write it.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let ip = match text.parse::<SocketAddr>() {
        Ok(address) => address.ip(),
        Err(_) => bare().unwrap_or(text).parse().ok()?,
    };
    Some(ip.to_canonical())
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<TrustedProxies, String> {
        if text == "none" {
            return Ok(TrustedProxies(Vec::new()));
        }
        text.split(',').map(network).collect::<Result<_, _>>().map(TrustedProxies)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse::<IpNet>().ok();
    let network =
        network.or_else(|| text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical().into()));
    match network {
        Some(net) if net.prefix_len() == 0 => {
            Err(format!("{text} would let every client choose the address it is known by"))
        }
        // Peers are judged as IPv4: such a range would hold nobody.
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
            Err(format!("write {text} as an IPv4 range"))
        }
        Some(net) => Ok(net),
        None => Err(format!("`{text}` is no address range such as 10.0.0.0/8; or say none")),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const DEFAULT: &str = "127.0.0.0/8,::1/128";

    fn tcp(text: &str) -> Peer {
        Peer::Tcp(Some(text.parse().unwrap()))
    }

    fn client(trusted: &str, peer: Peer, forwarded: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        trusted.parse::<TrustedProxies>().unwrap().client(peer, &headers)
    }

    fn at(text: &str) -> Client {
        Client::At(text.parse().unwrap())
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        let check = |peer: &str, expect: &str| {
            for forwarded in [&[][..], &["203.0.113.9"], &["127.0.0.1"], &["garbage"]] {
                assert_eq!(client(DEFAULT, tcp(peer), forwarded), at(expect), "{peer}");
            }
        };
        check("198.51.100.1", "198.51.100.1");
        check("::ffff:198.51.100.1", "198.51.100.1");
        check("2001:db8::1", "2001:db8::1");
        // Nothing is trusted beside what is named.
        assert_eq!(client("127.0.0.1", tcp("127.0.0.2"), &["203.0.113.9"]), at("127.0.0.2"));
        assert_eq!(client("none", tcp("127.0.0.1"), &["203.0.113.9"]), at("127.0.0.1"));
    }

    #[test]
    fn behind_a_trusted_proxy_the_rightmost_untrusted_address_is_the_client() {
        let check = |forwarded: &[&str], expect: &str| {
            for peer in [Peer::Socket, tcp("127.0.0.1"), tcp("::1"), tcp("::ffff:10.0.0.1")] {
                let trusted = format!("{DEFAULT},10.0.0.0/8");
                assert_eq!(client(&trusted, peer, forwarded), at(expect), "{peer:?} {forwarded:?}");
            }
        };
        check(&["203.0.113.9"], "203.0.113.9");
        check(&["::ffff:203.0.113.9"], "203.0.113.9");
        check(&["203.0.113.9:4711"], "203.0.113.9");
        check(&["2001:db8::9"], "2001:db8::9");
        check(&["[2001:db8::9]:4711"], "2001:db8::9");
        check(&["[2001:db8::9]"], "2001:db8::9");
        // What the client claims itself stands left of what the proxies saw.
        check(&["127.0.0.1, 203.0.113.9"], "203.0.113.9");
        check(&["1.1.1.1, 203.0.113.9 ,10.1.1.1,10.2.2.2"], "203.0.113.9");
        check(&["1.1.1.1", "203.0.113.9", "10.1.1.1"], "203.0.113.9");
        check(&["203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9");
        // All are proxies: the outermost.
        check(&["10.9.9.9, 10.1.1.1"], "10.9.9.9");
        check(&["127.0.0.1, 10.1.1.1"], "127.0.0.1");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk_at_the_last_one_known() {
        let check = |forwarded: &[&str], expect: &str| {
            assert_eq!(client("10.0.0.0/8", Peer::Socket, forwarded), at(expect), "{forwarded:?}");
        };
        for garbage in ["unknown", "", ",", "_hidden", "1.2.3", "1.2.3.4 5.6.7.8", "\u{e9}", "\t"] {
            check(&[garbage], "0.0.0.0");
            check(&["203.0.113.9", garbage], "0.0.0.0");
            check(&[&format!("203.0.113.9,{garbage},10.1.1.1")], "10.1.1.1");
        }
        assert_eq!(client(DEFAULT, tcp("127.0.0.1"), &["unknown"]), at("127.0.0.1"));
    }

    #[test]
    fn what_comes_from_the_box_alone_is_its_own() {
        for peer in [Peer::Socket, tcp("127.0.0.1"), tcp("127.0.0.7"), tcp("::1")] {
            for forwarded in [&[][..], &["127.0.0.1"], &["::1, 127.0.0.1"]] {
                assert_eq!(client(DEFAULT, peer, forwarded), Client::Own, "{peer:?} {forwarded:?}");
            }
        }
        // A trusted proxy that names no client is a client as any other.
        assert_eq!(client("10.0.0.0/8", tcp("10.0.0.1"), &[]), at("10.0.0.1"));
        // Loopback that is not trusted, and a peer that was gone before it was asked for.
        assert_eq!(client("none", Peer::Socket, &["127.0.0.1"]), at("127.0.0.1"));
        assert_eq!(client(DEFAULT, Peer::Tcp(None), &["127.0.0.1"]), at("0.0.0.0"));
    }

    #[test]
    fn trusted_proxies_and_programs_on_the_box_are_believed() {
        let check = |trusted: &str, peer: Peer, expect: bool| {
            let trusted: TrustedProxies = trusted.parse().unwrap();
            assert_eq!(trusted.believe(peer), expect, "{trusted:?} {peer:?}");
        };
        check("none", Peer::Socket, true);
        check("none", tcp("127.0.0.1"), false);
        check(DEFAULT, tcp("127.0.0.1"), true);
        check("10.0.0.0/8", tcp("::ffff:10.0.0.1"), true);
        check("10.0.0.0/8", tcp("127.0.0.1"), false);
        check(DEFAULT, Peer::Tcp(None), false);
    }

    #[test]
    fn trusted_proxies_are_ranges_or_none() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<TrustedProxies>().is_ok(), good, "{text}")
        };
        for text in ["none", "10.0.0.0/8", "10.0.0.1", "fd00::/8, ::1", DEFAULT] {
            check(text, true);
        }
        for text in ["", "x", "10.0.0.0/33", "10.0.0.1,", "none,::1", "0.0.0.0/0", "::/0"] {
            check(text, false);
        }
        check("::ffff:10.0.0.0/104", false);
    }
}
