//! Which addresses and ports a postback may go to: pure tables and one judgement.
//!
//! The URL's syntax is `postback_core::endpoint`'s; names are resolved in `connect`, which judges
//! every address it gets and connects to no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 ranges that are refused: every entry of the IANA IPv4 Special-Purpose Address Registry (RFC
/// 6890; the few globally reachable ones too, nobody receives postbacks there), multicast (RFC 5771),
/// and the address at which Azure serves its virtual machines' settings.
const REFUSED_V4: [(Ipv4Net, &str); 20] = [
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "carrier-grade NAT"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([168, 63, 129, 16], 32), "cloud platform"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 31, 196, 0], 24), "AS112"),
    (v4([192, 52, 193, 0], 24), "AMT relays"),
    (v4([192, 88, 99, 0], 24), "6to4 relays"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([192, 175, 48, 0], 24), "AS112"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// What IANA hands out of the IPv6 space for global unicast; everything else is refused.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// IPv6 ranges refused within [`GLOBAL_V6`] (IANA IPv6 Special-Purpose Address Registry).
const REFUSED_V6: [(Ipv6Net, &str); 4] = [
    (v6([0x2001, 0, 0, 0], 23), "protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation"),
];

/// The NAT64 prefix, before an IPv4 address (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

/// Refused ports from 1024 up, first and last: databases, queues, caches and control planes.
const REFUSED_PORTS: [(u16, u16); 25] = [
    (1433, 1433),
    (1521, 1521),
    (2049, 2049),
    (2375, 2380),
    (3306, 3306),
    (3389, 3389),
    (4222, 4222),
    (5432, 5432),
    (5672, 5672),
    (5900, 5910),
    (5984, 5986),
    (6379, 6380),
    (6443, 6443),
    (7000, 7001),
    (8500, 8500),
    (9042, 9042),
    (9092, 9092),
    (9200, 9200),
    (9300, 9300),
    (10250, 10250),
    (11211, 11211),
    (15672, 15672),
    (16379, 16379),
    (26379, 26379),
    (27017, 27017),
];

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = first;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// Whether a postback may be sent to this address and port (DESIGN, delivery rules); `allow` opens
/// ranges with all their ports.
///
/// # Errors
/// Why not, for people, naming the address.
pub(crate) fn judge(address: SocketAddr, allow: &[IpNet]) -> Result<(), String> {
    if let SocketAddr::V6(address) = address
        && address.scope_id() != 0
    {
        return Err(format!("{address} has a zone: only global addresses may be called"));
    }
    let ip = unwrapped(address.ip());
    if allow.iter().any(|net| net.contains(&ip)) {
        return Ok(());
    }
    if let Some(range) = refused_range(ip) {
        return Err(format!("{} is not a public address ({range})", address.ip()));
    }
    judge_port(address.port())
}

/// Whether a postback may be sent to this port of a public address.
///
/// # Errors
/// Why not, for people, naming the port.
pub(crate) fn judge_port(port: u16) -> Result<(), String> {
    let refused = REFUSED_PORTS.iter().any(|(first, last)| (*first..=*last).contains(&port));
    if matches!(port, 80 | 443 | 1024..) && !refused {
        Ok(())
    } else {
        Err(format!("port {port} is not one that postbacks may be sent to"))
    }
}

/// The IPv4 address within an IPv6 one, where there is one that packets would end up at.
fn unwrapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        // ::ffff:a.b.c.d. The old compatible form, ::a.b.c.d, is outside of the global space.
        _ => ip.to_canonical(),
    }
}

/// The name of the range that makes an address one not to be called.
fn refused_range(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => REFUSED_V4.iter().find(|(net, _)| net.contains(&ip)).map(|row| row.1),
        IpAddr::V6(ip) if !GLOBAL_V6.contains(&ip) => Some("outside 2000::/3"),
        IpAddr::V6(ip) => REFUSED_V6.iter().find(|(net, _)| net.contains(&ip)).map(|row| row.1),
    }
}

#[cfg(test)]
mod tests;
