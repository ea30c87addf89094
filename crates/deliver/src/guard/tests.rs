use super::*;

#[test]
fn only_public_addresses_may_be_called() {
    let check = |address: &str, expect: bool| {
        let verdict = judge(SocketAddr::new(address.parse().unwrap(), 443), &[]);
        assert_eq!(verdict.is_ok(), expect, "{address}: {verdict:?}");
        assert!(verdict.is_ok() || verdict.unwrap_err().contains(address), "{address} is named");
    };
    // First and last of each refused range, and what is just outside of it.
    for (first, last, before, after) in [
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
        ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
        ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
        ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
        ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
        ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
        ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
        ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
        ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
        ("192.31.196.0", "192.31.196.255", Some("192.31.195.255"), Some("192.31.197.0")),
        ("192.52.193.0", "192.52.193.255", Some("192.52.192.255"), Some("192.52.194.0")),
        ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
        ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
        ("192.175.48.0", "192.175.48.255", Some("192.175.47.255"), Some("192.175.49.0")),
        ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
        ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
        ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
        ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
        ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2000::")),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2001:200::")),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2001:db9::")),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2003::")),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3ffe::"), Some("3fff:1000::")),
        ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ] {
        check(first, false);
        check(last, false);
        before.into_iter().chain(after).for_each(|outside| check(outside, true));
    }
    check("8.8.8.8", true);
    check("2606:4700:4700::1111", true);
    check("fe80::1", false);
    check("fd00:ec2::254", false);
}

#[test]
fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
    let check = |address: &str, expect: bool| {
        let verdict = judge(SocketAddr::new(address.parse().unwrap(), 80), &[]);
        assert_eq!(verdict.is_ok(), expect, "{address}: {verdict:?}");
    };
    check("::ffff:8.8.8.8", true);
    check("::ffff:127.0.0.1", false);
    check("::ffff:a9fe:a9fe", false);
    check("64:ff9b::8.8.8.8", true);
    check("64:ff9b::169.254.169.254", false);
    // Of the local-use NAT64 prefix (RFC 8215) and the compatible form nobody knows where they end.
    check("64:ff9b:1::8.8.8.8", false);
    check("::8.8.8.8", false);
    check("::127.0.0.1", false);
    check("2002:7f00:1::", false);
}

#[test]
fn only_ports_of_the_web_and_unprivileged_ones_may_be_called() {
    let check = |port: u16, expect: bool| assert_eq!(judge_port(port).is_ok(), expect, "{port}");
    for open in [80, 443, 1024, 2374, 2381, 5899, 5911, 6381, 7002, 8080, 8443, 65535] {
        check(open, true);
    }
    for refused in [
        0, 1, 22, 25, 79, 81, 442, 444, 1023, 1433, 1521, 2049, 2375, 2378, 2380, 3306, 3389, 4222,
        5432, 5672, 5900, 5905, 5910, 5984, 5985, 5986, 6379, 6380, 6443, 7000, 7001, 8500, 9042,
        9092, 9200, 9300, 10250, 11211, 15672, 16379, 26379, 27017,
    ] {
        check(refused, false);
        assert!(judge(SocketAddr::new([8, 8, 8, 8].into(), refused), &[]).is_err());
    }
}

#[test]
fn allowed_ranges_are_open_with_all_their_ports() {
    let allow = ["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let check = |address: &str, expect: bool| {
        let verdict = judge(address.parse().unwrap(), &allow);
        assert_eq!(verdict.is_ok(), expect, "{address}: {verdict:?}");
    };
    check("10.1.2.3:80", true);
    check("10.1.2.3:22", true);
    check("[::ffff:10.1.2.3]:6379", true);
    check("[64:ff9b::10.1.2.3]:80", true);
    check("[fd00::1]:22", true);
    check("10.2.0.1:80", false);
    check("8.8.8.8:22", false);
    check("8.8.8.8:80", true);
    check("[fe80::1]:80", false);
}

#[test]
fn an_address_with_a_zone_is_refused() {
    let allow = ["fe80::/10".parse().unwrap()];
    let zoned = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 2);
    assert!(judge(zoned.into(), &allow).is_err());
}
