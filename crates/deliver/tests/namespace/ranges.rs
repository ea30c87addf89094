//! Where the refused addresses and ports begin and end: the rule written down a second time, and tried at its edges.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use postback_core::{
    attempt::Cause,
    view::{Postback, Standing},
};

use crate::{
    namespace::inside,
    stack::{Stack, opened},
};

/// DESIGN, delivery rules: IANA's IPv4 special ranges with multicast and the reserved ones, and 168.63.129.16;
/// for IPv6 what is not in 2000::/3, and of that the four ranges named there.
const REFUSED: [&str; 28] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "8000::/1",
    // Unwrapped: the addresses within are 10.0.0.0/8 and 127.0.0.0/8.
    "::ffff:10.0.0.0/104",
    "::ffff:127.0.0.0/104",
];

/// The first and the last port of each refused range from 1024 up.
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

/// The addresses next to a range, and its own first and last.
fn edges(net: IpNet) -> Vec<IpAddr> {
    let (first, last) = match net {
        IpNet::V4(net) => (net.network().to_bits().into(), net.broadcast().to_bits().into()),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    };
    let around = [first.checked_sub(1), Some(first), Some(last), last.checked_add(1)];
    let address = |bits: u128| match net {
        IpNet::V4(_) => u32::try_from(bits).ok().map(|bits| IpAddr::V4(bits.into())),
        IpNet::V6(_) => Some(IpAddr::V6(bits.into())),
    };
    around.into_iter().flatten().filter_map(address).collect()
}

/// Sends a postback to each URL and tells which of them came to something else than expected.
async fn wrong(stack: &Stack, urls: &[(String, bool)]) -> Vec<String> {
    let mut sent = Vec::new();
    for (url, open) in urls {
        sent.push((stack.store(url).await, url, *open));
    }
    let mut wrong = Vec::new();
    for (id, url, open) in sent {
        let end = stack.end(id).await;
        if !is_right(&end, open) {
            wrong.push(format!("{url}: {} {:?} {:?}", end.state.as_str(), end.cause, end.attempts));
        }
    }
    wrong
}

fn is_right(end: &Postback, open: bool) -> bool {
    match end.state {
        Standing::Delivered => open,
        Standing::Dead => !open && end.cause == Some(Cause::Blocked),
        Standing::Pending => false,
    }
}

#[test]
fn a_range_is_refused_from_its_first_to_its_last_address() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&[]);
        let refused: Vec<IpNet> = REFUSED.iter().map(|net| net.parse().unwrap()).collect();
        let inner = |ip: &IpAddr| refused.iter().any(|net| net.contains(&ip.to_canonical()));
        let tried: BTreeSet<IpAddr> = refused.iter().copied().flat_map(edges).collect();
        let url = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => format!("http://{ip}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]/"),
        };
        let urls: Vec<_> = tried.iter().map(|ip| (url(ip), !inner(ip))).collect();
        let wrong = wrong(&stack, &urls).await;
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), urls.len(), wrong.join("\n"));
        let open: BTreeSet<IpAddr> =
            tried.iter().filter(|ip| !inner(ip)).map(IpAddr::to_canonical).collect();
        assert!(open.len() > 20, "{open:?}");
        assert_eq!(stack.called().into_iter().collect::<BTreeSet<_>>(), open);
        assert_eq!(
            opened() as usize,
            stack.called().len(),
            "others were called than those who heard"
        );
    });
}

#[test]
fn a_port_is_refused_unless_it_is_80_443_or_high_and_no_service_s() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&[]);
        let around = |(first, last)| [first - 1, first, last, last + 1];
        let mut ports: BTreeSet<u16> = REFUSED_PORTS.into_iter().flat_map(around).collect();
        ports.extend([1, 22, 25, 53, 79, 80, 81, 442, 443, 444, 1023, 1024, 8080, 65535]);
        let service = |port: &u16| REFUSED_PORTS.iter().any(|(a, b)| (a..=b).contains(&port));
        let open = |port: &u16| matches!(port, 80 | 443 | 1024..) && !service(port);
        ports.iter().for_each(|port| stack.partners.listen(*port));
        for host in ["1.1.1.1", "a.com"] {
            let before = stack.partners.contacts().len();
            let url = |port: &u16| (format!("http://{host}:{port}/"), open(port));
            let wrong = wrong(&stack, &ports.iter().map(url).collect::<Vec<_>>()).await;
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
            let called = stack.contacts_since(before).into_iter().map(|contact| contact.to.port());
            let open: BTreeSet<u16> = ports.iter().copied().filter(|port| open(port)).collect();
            assert_eq!(called.collect::<BTreeSet<u16>>(), open);
        }
        assert_eq!(opened() as usize, stack.partners.contacts().len());
    });
}
