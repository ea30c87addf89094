//! Whatever a URL looks like: where it leads is read alike by the endpoint, by another parser, by the guard, and on the
//! wire.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, Ipv6Addr},
    sync::mpsc,
};

use postback_core::endpoint::{Endpoint, Method};
use proptest::{
    prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof},
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use url::{Host, Url};

use super::*;
use crate::send::{Bounds, Prepared};

/// An IPv4 address in one of the spellings that are one.
fn ipv4() -> impl Strategy<Value = String> {
    let known = [[127, 0, 0, 1], [10, 0, 0, 1], [169, 254, 169, 254], [1, 1, 1, 1], [11, 0, 0, 1]];
    let address = prop_oneof![select(known.to_vec()), any::<[u8; 4]>()];
    (address, 0..8usize).prop_map(|([a, b, c, d], form)| {
        let whole = u32::from_be_bytes([a, b, c, d]);
        match form {
            0 => format!("{whole}"),
            1 => format!("0x{whole:X}"),
            2 => format!("0{whole:o}"),
            3 => format!("{a}.{}", whole & 0xff_ffff),
            4 => format!("0{a:o}.0x{b:x}.{}", u16::from_be_bytes([c, d])),
            5 => format!("{a}.{b}.{c}.{d}."),
            _ => format!("{a}.{b}.{c}.{d}"),
        }
    })
}

fn ipv6() -> impl Strategy<Value = String> {
    let within = |prefix: u128| any::<u32>().prop_map(move |low| prefix | u128::from(low));
    let address = prop_oneof![
        any::<u128>(),
        within(0),
        within(0xffff << 32),
        within(0x0064_ff9b << 96),
        within(0x2606_4700 << 96),
        within(0x2002_7f00_0001 << 80),
    ];
    let known = ["[fe80::1%25lo]", "[::1", "::1", "[v1.x]", "[::127.0.0.1]", "[::FFFF:10.0.0.1]"];
    prop_oneof![
        address.prop_map(|address| format!("[{}]", Ipv6Addr::from(address))),
        select(known.to_vec()).prop_map(str::to_owned),
    ]
}

const NAMES: [&str; 18] = [
    "a.com",
    "A.Com",
    "a_b.com",
    "a.com.",
    "localhost",
    "LOCALHOST.",
    "x.localhost",
    "münchen.de",
    "MÜNCHEN.de",
    "ｅxample．com",
    "①②⑦.⓪.⓪.①",
    "a\u{ad}.com",
    "faß.de",
    "1.2.3.4.5",
    "a.1",
    "a%2ecom",
    "a..com",
    "",
];

/// Texts of what means something before a path.
fn pieces() -> impl Strategy<Value = String> {
    let signs = "@ : / \\ ? # % . [ ] ; & = ／ ： 。 \u{202e} \t \r\n 0 80 a.com 127.0.0.1";
    let signs: Vec<&str> = signs.split(' ').collect();
    proptest::collection::vec(select(signs), 0..5).prop_map(|pieces| pieces.concat())
}

fn host() -> impl Strategy<Value = String> {
    let name = || select(&NAMES[..]).prop_map(str::to_owned);
    prop_oneof![
        3 => ipv4(),
        3 => ipv6(),
        3 => name(),
        1 => pieces(),
        1 => (name(), pieces(), ipv4()).prop_map(|(a, b, c)| a + &b + &c),
    ]
}

fn url() -> impl Strategy<Value = String> {
    let scheme =
        select(&["http://", "http://", "https://", "HTTPS://", "http:", "http:/", "ftp://"][..]);
    let user =
        prop_oneof![8 => Just(""), 1 => select(&["u@", "u:p@", "a.com:80@", "a.com\\@"][..])];
    let ports =
        [":80", ":443", ":8443", ":6379", ":22", ":0080", ":0", ":65536", ":+80", ":", ":8 0"];
    let port = prop_oneof![3 => Just(""), 3 => select(ports.to_vec())];
    let rests = [
        "",
        "/",
        "/x?y=@b.com",
        "?q=1",
        "/@127.0.0.1/",
        "//b.com/",
        "/../..",
        "\\b.com",
        "#@b.com",
    ];
    let rest = prop_oneof![3 => select(rests.to_vec()).prop_map(str::to_owned), 1 => pieces()];
    (scheme, user, host(), port, rest)
        .prop_map(|(scheme, user, host, port, rest)| format!("{scheme}{user}{host}{port}{rest}"))
}

/// An address of its own for each name, in the net that begins with `first`.
fn of_name(first: u8, host: &str) -> IpAddr {
    let mut hasher = DefaultHasher::new();
    host.hash(&mut hasher);
    let [b, c, d, ..] = hasher.finish().to_be_bytes();
    Ipv4Addr::new(first, b, c, d.clamp(1, 254)).into()
}

/// Where another parser's reading of a URL leads, by a resolver that knows names in the net that begins with `first`.
fn leads_to(url: &Url, first: u8) -> Vec<SocketAddr> {
    let port = url.port_or_known_default().unwrap();
    let ips: Vec<IpAddr> = match url.host().unwrap() {
        Host::Ipv4(ip) => vec![ip.into()],
        Host::Ipv6(ip) => vec![IpAddr::from(ip).to_canonical()],
        Host::Domain(name) if format!(".{name}").trim_end_matches('.').ends_with(".localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Host::Domain(name) => vec![of_name(10, name), of_name(first, name)],
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn resolve(first: u8, host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok([of_name(10, host), of_name(first, host)].map(|ip| SocketAddr::new(ip, 0)).to_vec())
}

/// Runs a property on accepted URLs, which must be enough of all.
fn for_accepted(
    urls: impl Strategy<Value = String>,
    cases: u32,
    check: impl Fn(&Endpoint, &Url) -> Result<(), TestCaseError>,
) {
    let accepted = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    let run = runner.run(&urls, |text| {
        let Ok(endpoint) = endpoint(&text) else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        let target = endpoint.fill(&vec![]).unwrap().target;
        let [given, sent] = [text, endpoint.origin().url(&target)].map(|text| Url::parse(&text));
        let (given, sent) = (given.unwrap(), sent.unwrap());
        prop_assert_eq!(given.origin(), sent.origin());
        check(&endpoint, &given)
    });
    run.unwrap();
    assert!(accepted.get() > cases / 8, "only {} of {cases} were accepted", accepted.get());
}

#[test]
fn the_address_of_a_url_is_the_one_that_another_parser_reads_and_the_guard_judged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dialer = strict(|host| resolve(11, host));
    for_accepted(url(), 2000, |endpoint, url| {
        let origin = endpoint.origin();
        prop_assert_eq!(origin.tls, url.scheme() == "https");
        prop_assert_eq!(Some(origin.host.as_str()), url.host_str());
        prop_assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None));
        let mut expect = leads_to(url, 11);
        expect.retain(|address| guard::judge(*address, &[]).is_ok());
        match runtime.block_on(dialer.addresses(origin)) {
            Ok(found) => prop_assert_eq!(found, expect),
            Err(NoConnection::Failed(Failure::Blocked(_))) => prop_assert_eq!(expect, []),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    });
}

/// A partner on every address of this machine: tells of each request to which address it came, and its head.
fn everywhere() -> (u16, mpsc::Receiver<(SocketAddr, Vec<String>)>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let head = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            if tell.send((stream.local_addr().unwrap(), head)).is_err() {
                return;
            }
        }
    });
    (port, told)
}

#[test]
fn a_request_arrives_at_the_address_and_with_the_host_that_another_parser_reads() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut dialer = dialer();
    dialer.names = Names::new(|host| resolve(127, host));
    let (port, told) = everywhere();
    let loopback = (any::<[u8; 3]>(), 0..4usize).prop_map(|([b, c, d], form)| {
        let d = d.clamp(1, 254);
        let whole = u32::from_be_bytes([127, b, c, d]);
        match form {
            0 => whole.to_string(),
            1 => format!("0x7f.{}", whole & 0xff_ffff),
            2 => format!("[::ffff:127.{b}.{c}.{d}]"),
            _ => format!("0177.{b}.{c}.{d}"),
        }
    });
    let host = prop_oneof![loopback, select(&NAMES[..]).prop_map(str::to_owned)];
    let rest = select(&["", "/", "/@b.com/?x=//c.com", "?q=1", "//b.com/../é"][..]);
    let urls = (host, rest).prop_map(move |(host, rest)| format!("http://{host}:{port}{rest}"));
    for_accepted(urls, 200, |endpoint, url| {
        let target = endpoint.fill(&vec![]).unwrap().target;
        let prepared = Prepared {
            method: Method::Get,
            origin: endpoint.origin(),
            host: crate::send::host_header(endpoint.origin()),
            target: &target,
            headers: &[],
            body: None,
            id: "id",
            traceparent: "trace".into(),
            timestamp: 0,
            signature: None,
        };
        let bounds = Bounds { time: Duration::from_secs(10), kept: 0 };
        let (mut slot, may) = (None, |_| true);
        let sent = crate::send::send(&mut slot, &dialer, prepared, bounds, may);
        let outcome = runtime.block_on(sent).unwrap();
        prop_assert_eq!(outcome.result.map(|answer| answer.status), Ok(204));
        let (address, head) = told.recv().unwrap();
        let expect = leads_to(url, 127).into_iter().find(|address| address.ip().is_loopback());
        prop_assert_eq!(Some(address), expect);
        prop_assert_eq!(&head[0], &format!("GET {target} HTTP/1.1"));
        let hosts: Vec<_> = head.iter().filter_map(|line| line.strip_prefix("host: ")).collect();
        prop_assert_eq!(hosts, [format!("{}:{port}", url.host_str().unwrap())]);
        Ok(())
    });
}
