//! Options and variables that say where connections go, or where they come from.

use std::net::{IpAddr, SocketAddr};

use postback_core::{attempt::Cause, view::Standing};

use crate::{
    namespace::{inside, own},
    stack::{Stack, opened},
    zone,
};

/// Sends to each URL and checks who was called: an address each, or nobody and the row is blocked.
async fn check(stack: &Stack, cases: &[(&str, Option<&str>)]) {
    for (url, called) in cases {
        let (before, began) = (stack.partners.contacts().len(), opened());
        let end = stack.end(stack.store(url).await).await;
        let heard = stack.contacts_since(before).into_iter().map(|contact| contact.to);
        let called: Option<SocketAddr> = called.map(|address| address.parse().unwrap());
        assert_eq!(heard.collect::<Vec<_>>(), Vec::from_iter(called), "{url}: {end:?}");
        assert_eq!(opened() - began, u64::from(called.is_some()), "{url}");
        let expect = match called {
            Some(_) => (Standing::Delivered, None),
            None => (Standing::Dead, Some(Cause::Blocked)),
        };
        assert_eq!((end.state, end.cause), expect, "{url}: {end:?}");
    }
}

#[test]
fn allow_net_opens_its_range_with_all_ports_and_no_other() {
    inside(async {
        let mut stack = Stack::start();
        for port in [22, 6379] {
            stack.partners.listen(port);
        }
        stack.deliver(&["--allow-net", "10.1.0.0/16"]);
        let cases = [
            ("http://10.1.2.3:22/", Some("10.1.2.3:22")),
            ("http://10.1.0.0/", Some("10.1.0.0:80")),
            ("http://10.1.255.255:6379/", Some("10.1.255.255:6379")),
            ("http://inside.test:6379/", Some("10.1.2.3:6379")),
            ("http://[::ffff:10.1.2.3]:22/", Some("10.1.2.3:22")),
            ("http://1.1.1.1/", Some("1.1.1.1:80")),
            ("http://10.2.0.1/", None),
            ("http://10.0.255.255/", None),
            ("http://private.test/", None),
            ("http://127.0.0.1/", None),
            ("http://localhost/", None),
            ("http://1.1.1.1:22/", None),
            ("http://a.com:6379/", None),
        ];
        check(&stack, &cases).await;
    });
}

#[test]
fn bind_is_the_source_address_and_chooses_the_family() {
    inside(async {
        let mut stack = Stack::start();
        own("203.0.113.80");
        own("2001:db8::80");
        let (v4, v6) = ("http://1.1.1.1/", "http://[2606:4700::1]/");
        let check = async |stack: &Stack, source: &str, own: (&str, &str), other: &str| {
            let before = stack.partners.contacts().len();
            for url in ["http://both.test/", own.0] {
                let end = stack.end(stack.store(url).await).await;
                assert_eq!(end.state, Standing::Delivered, "{url}: {end:?}");
            }
            let end = stack.end(stack.store(other).await).await;
            assert_eq!(end.cause, Some(Cause::Connect), "{end:?}");
            let contacts = stack.contacts_since(before);
            let source: IpAddr = source.parse().unwrap();
            assert!(contacts.iter().all(|contact| contact.from.ip() == source), "{contacts:?}");
            assert_eq!((contacts.len(), contacts[0].to.ip()), (2, own.1.parse().unwrap()));
        };
        let deliver = stack.deliver(&["--bind", "203.0.113.80"]);
        check(&stack, "203.0.113.80", (v4, zone::PUBLIC[0]), v6).await;
        stack.kill(deliver);
        stack.deliver(&["--bind", "2001:db8::80"]);
        check(&stack, "2001:db8::80", (v6, zone::PUBLIC[1]), v4).await;
    });
}

#[test]
fn a_source_address_opens_no_way_to_itself() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&["--bind", "10.0.0.9"]);
        check(&stack, &[("http://10.0.0.9/", None), ("http://private.test/", None)]).await;
    });
}

#[test]
fn proxy_variables_are_ignored() {
    inside(async {
        let mut stack = Stack::start();
        stack.partners.listen(3128);
        let names =
            ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        let proxies = names.map(|name| (name, "http://93.184.216.99:3128"));
        stack.deliver_with(&[], &proxies);
        check(&stack, &[("http://1.1.1.1/", Some("1.1.1.1:80")), ("http://10.0.0.1/", None)]).await;
        // TLS too: its connection goes to the address that was meant, at which nobody can TLS.
        stack.partners.listen(443);
        let end = stack.end(stack.store("https://1.1.1.1/").await).await;
        assert_eq!(end.cause, Some(Cause::Tls), "{end:?}");
        assert_eq!(stack.partners.contacts()[1].to, "1.1.1.1:443".parse().unwrap());
        assert!(stack.partners.contacts().iter().all(|contact| contact.to.port() != 3128));
    });
}
