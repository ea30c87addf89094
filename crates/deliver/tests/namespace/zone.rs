//! What the tests' name server says of each name.

use std::net::IpAddr;

/// Where every name leads that is not listed here.
pub(crate) const PUBLIC: [&str; 2] = ["93.184.216.34", "2606:2800:21f::1"];
/// The one public address among many in the answer for `many.test`, `mixed.test` and the rebinding names.
pub(crate) const ONE: &str = "198.105.244.11";

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The addresses, of which those of the asked family are sent; perhaps none.
    Addresses(Vec<IpAddr>),
    /// An alias, and the addresses of what it stands for.
    Alias(&'static str, Vec<IpAddr>),
    /// A failure, by its code.
    Code(u8),
    /// A head that promises answers, then bytes that are none.
    Garbage,
    /// Nothing.
    Silence,
}

/// The answer for a name (lower case, no final dot) whose A records were asked for so many times before.
pub(crate) fn reply(name: &str, asked: usize) -> Reply {
    let addresses = |list: &[&str]| Reply::Addresses(all(list));
    let first_label = name.split('.').next().unwrap_or_default();
    match first_label.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "rebind" if asked.is_multiple_of(2) => return addresses(&[ONE]),
        "rebind" => return addresses(&["127.0.0.1"]),
        "silent" => return Reply::Silence,
        _ => {}
    }
    match name {
        "private.test" => addresses(&["10.0.0.1"]),
        "private-ipv6.test" => addresses(&["fd00::1", "::1"]),
        "link-local.test" => addresses(&["fe80::1", "169.254.1.1"]),
        "mapped.test" => addresses(&["::ffff:127.0.0.1"]),
        "nat64.test" => addresses(&["64:ff9b::7f00:1"]),
        "self.test" | "loopback.test" => addresses(&["127.0.0.1"]),
        "zero.test" => addresses(&["0.0.0.0", "::"]),
        "metadata.google.internal" => addresses(&["169.254.169.254"]),
        "inside.test" => addresses(&["10.1.2.3"]),
        "mixed.test" => addresses(&["127.0.0.1", "10.0.0.1", ONE, "::1", "192.168.1.1"]),
        "many.test" => Reply::Addresses(many()),
        "cname.test" => Reply::Alias("localhost", all(&["127.0.0.1", "::1"])),
        "cname-private.test" => Reply::Alias("private.test", all(&["10.0.0.1"])),
        "cname-public.test" => Reply::Alias("public.test", all(&[ONE])),
        "empty.test" => Reply::Addresses(vec![]),
        "servfail.test" => Reply::Code(2),
        "nxdomain.test" => Reply::Code(3),
        "garbage.test" => Reply::Garbage,
        _ => addresses(&PUBLIC),
    }
}

fn all(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().expect("an address")).collect()
}

/// 2,000 private addresses, and a public one behind them.
fn many() -> Vec<IpAddr> {
    let private = (0..2000u16).map(|n| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
    private.chain(all(&[ONE])).collect()
}
