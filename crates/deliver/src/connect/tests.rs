mod agreement;
mod hostile;

use std::net::TcpListener;

use postback_core::endpoint::{
    BodyTemplate, Endpoint, EndpointError, EndpointTemplate, Method, Unmatched,
};

use super::*;

/// A dialer that may call this machine.
pub(crate) fn dialer() -> Dialer {
    let allow_net = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    Dialer::new(DialerConfig { allow_net, ..DialerConfig::default() }).unwrap()
}

/// A dialer that may call public addresses only, with this resolver.
fn strict(lookup: fn(&str) -> io::Result<Vec<SocketAddr>>) -> Dialer {
    let mut dialer = Dialer::new(DialerConfig::default()).unwrap();
    dialer.names = Names::new(lookup);
    dialer
}

pub(crate) fn origin(host: &str, port: u16) -> Origin {
    Origin { tls: false, host: host.to_owned(), port }
}

/// What a GET of this URL calls.
fn endpoint(url: &str) -> Result<Endpoint, EndpointError> {
    Endpoint::compile(EndpointTemplate {
        method: Method::Get,
        url: url.to_owned(),
        headers: vec![],
        body: BodyTemplate::None,
        reference: None,
        unmatched: Unmatched::Text(String::new()),
    })
}

fn addresses(ips: &[&str]) -> Vec<SocketAddr> {
    ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
}

#[tokio::test]
async fn a_blocked_origin_sees_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = strict(|_| Ok(addresses(&["127.0.0.1", "10.0.0.1", "::1"])));
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST", "a.test"] {
        let blocked = dialer.connect(&origin(host, port)).await.err();
        assert!(
            matches!(blocked, Some(NoConnection::Failed(Failure::Blocked(_)))),
            "{host}: {blocked:?}"
        );
    }
    let none = listener.accept().unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_name_leads_to_its_public_addresses_only() {
    let dialer = strict(|host| {
        Ok(addresses(match host {
            "mixed.test" => &["10.0.0.1", "1.1.1.1", "::1", "2606:4700:4700::1111"],
            _ => &["192.168.0.1"],
        }))
    });
    let found = dialer.addresses(&origin("mixed.test", 8443)).await.unwrap();
    let expect = ["1.1.1.1:8443", "[2606:4700:4700::1111]:8443"];
    assert_eq!(found, expect.map(|address| address.parse().unwrap()));
    let blocked = dialer.addresses(&origin("private.test", 80)).await.unwrap_err();
    let expect = "192.168.0.1 is not a public address (private)";
    assert_eq!(blocked, Failure::Blocked(expect.to_owned()).into());
}

#[tokio::test]
async fn a_blocked_port_is_no_question_to_the_resolver() {
    let dialer = strict(|_| unreachable!("the name was asked for"));
    let blocked = dialer.addresses(&origin("a.test", 6379)).await.unwrap_err();
    assert!(matches!(blocked, NoConnection::Failed(Failure::Blocked(_))), "{blocked:?}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialer = dialer();
    let stream = dialer.open(&[closed, listener.local_addr().unwrap()]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    assert!(stream.nodelay().unwrap());
    let failure = dialer.open(&[closed]).await.unwrap_err();
    assert_eq!(failure, Failure::Connect(format!("{closed}: connection refused")).into());
}

#[tokio::test]
async fn an_address_that_is_silent_costs_its_share_of_the_limit() {
    // A full backlog lets further connections wait.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let silent = full.local_addr().unwrap();
    let mut dialer = dialer();
    dialer.limits.connect = Duration::from_millis(100);
    let mut waiting = Vec::new();
    let failure = loop {
        match dialer.open(&[silent]).await {
            Ok(stream) => waiting.push(stream),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure, Failure::Connect(format!("{silent}: no answer within 100.0ms")).into());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = dialer.open(&[silent, listener.local_addr().unwrap()]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[tokio::test]
async fn the_bound_address_is_the_source_and_its_family_the_only_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut dialer = dialer();
    dialer.bind = Some("127.0.0.2".parse().unwrap());
    let connection = dialer.connect(&origin("localhost", port)).await.unwrap();
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), dialer.bind.unwrap());
    assert!(connection.driver.is_some());
    let failure = dialer.connect(&origin("[::1]", port)).await.err().unwrap();
    assert!(matches!(failure, NoConnection::Failed(Failure::Connect(_))), "{failure:?}");
}

#[test]
fn a_literal_host_is_its_address() {
    let check = |host: &str, expect: Option<&str>| {
        assert_eq!(literal(host), expect.map(|ip| ip.parse().unwrap()), "{host}");
    };
    check("1.2.3.4", Some("1.2.3.4"));
    check("[2606:4700::1]", Some("2606:4700::1"));
    check("[::ffff:1.2.3.4]", Some("1.2.3.4"));
    check("a.test", None);
    check("1.2.3", None);
    check("[fe80::1%25lo]", None);
}

#[test]
fn a_file_without_certificates_is_an_error_that_names_it() {
    let dir = std::env::temp_dir();
    let path = dir.join(format!("postback-no-certificates-{}.pem", std::process::id()));
    fs::write(&path, "nothing").unwrap();
    let check = |path: &Path| {
        let config = DialerConfig { ca_file: Some(path.to_owned()), ..DialerConfig::default() };
        let error = format!("{:#}", Dialer::new(config).err().unwrap());
        assert!(error.contains(&path.display().to_string()), "{error}");
    };
    check(&path);
    check(&dir.join("postback-no-such-file.pem"));
    fs::remove_file(&path).unwrap();
}

impl Dialer {
    /// Shortens the wait for a TLS handshake.
    pub(crate) fn tls_limit(&mut self, limit: Duration) {
        self.limits.tls = limit;
    }
}
