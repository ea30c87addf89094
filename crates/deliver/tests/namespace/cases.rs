//! The URLs that are tried, and what must become of each: the list beside the checkouts, and a core of our own.

use std::{fs, path::Path};

/// The list, shared with other checkouts; it may be absent.
const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/cases/hostile_urls.tsv");

/// What must become of an URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Refused, or dead with cause `blocked`; no packet is sent.
    Block,
    /// A connection to the address that the URL names.
    Allow,
    /// Only public addresses are called; `blocked` where there is none.
    PublicOnly,
    /// The partner is called, its redirect is not followed.
    Redirect,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) verdict: Verdict,
}

/// All cases: our own, and the list's.
pub(crate) fn all() -> Vec<Case> {
    let own = (1..).zip(CORE).map(|(n, (verdict, url))| Case {
        id: format!("core {n}"),
        url: (*url).to_owned(),
        verdict: *verdict,
    });
    let mut cases: Vec<Case> = own.collect();
    match fs::read_to_string(Path::new(LIST)) {
        Ok(list) => cases.extend(list.lines().skip(1).map(read)),
        Err(error) => println!("only the core's cases are tried: {LIST}: {error}"),
    }
    cases
}

fn read(row: &str) -> Case {
    let fields: Vec<&str> = row.split('\t').collect();
    let [id, _group, url, verdict] = fields[..] else { panic!("not four fields: {row}") };
    // A remark may follow the URL; control characters are written as escapes.
    let url = url.split(" (").next().unwrap_or(url).replace("\\t", "\t").replace("\\n", "\n");
    let verdict = match verdict.split(' ').next().unwrap_or_default() {
        // What is refused of these is not the URL itself but where its answer leads.
        "BLOCK" if url.contains("//redir") => Verdict::Redirect,
        "BLOCK" => Verdict::Block,
        "ALLOW" => Verdict::Allow,
        "PUBLIC-ONLY" => Verdict::PublicOnly,
        other => panic!("{id}: unknown verdict {other}"),
    };
    Case { id: id.to_owned(), url, verdict }
}

use Verdict::{Allow, Block, PublicOnly, Redirect};

/// One or more of each kind. Where ranges and ports begin and end is `ranges`'s.
const CORE: &[(Verdict, &str)] = &[
    (Block, "http://127.0.0.1/"),
    (Block, "http://168.63.129.16/"),
    (Block, "http://100.64.0.1/"),
    (Block, "http://169.254.169.254/latest/meta-data/"),
    (Block, "https://10.0.0.1:8443/"),
    (Block, "http://127.1:80/"),
    (Block, "http://0x7f.0.0.0x1/"),
    (Block, "http://017700000001/"),
    (Block, "http://00000000000000000300.168.1.1/"),
    (Block, "http://１２７.０.０.１/"),
    (Block, "http://127。0。0。1/"),
    (Block, "http://127.0.0.1../"),
    (Block, "http://1.2.3.4.5/"),
    (Block, "http://[::ffff:10.0.0.1]/"),
    (Block, "http://[0:0:0:0:0:ffff:7f00:1]/"),
    (Block, "http://[64:ff9b::10.0.0.1]/"),
    (Block, "http://[64:ff9b:1::1]/"),
    (Block, "http://[2002:a00:1::]/"),
    (Block, "http://[fec0::1]/"),
    (Block, "http://[::ffff:0:127.0.0.1]/"),
    (Block, "http://[2606:4700::1%251]/"),
    (Block, "http://[fe80::1%1]/"),
    (Block, "http://[127.0.0.1]/"),
    (Block, "http://user@1.1.1.1/"),
    (Block, "http://@1.1.1.1/"),
    (Block, "http://a.com#@127.0.0.1/"),
    (Block, "http://a .com/"),
    (Block, "http://a.com%2f@127.0.0.1/"),
    (Block, "http://a.com\r\nX: y/"),
    (Block, "http://a..com/"),
    (Block, "http://.a.com/"),
    (Block, "http://a.com:-1/"),
    (Block, "http://a.com:8O/"),
    (Block, "http://a.com:2375/"),
    (Block, "http://{host}/"),
    (Block, "http://a.com{path}/"),
    (Block, "http:////127.0.0.1/"),
    (Block, "https:1.1.1.1"),
    (Block, "ldap://a.com/"),
    (Block, "ws://a.com/"),
    (Block, " http://a.com/"),
    (Block, "HTTP://127.0.0.1/"),
    (Block, "http://a.localhost/"),
    (Block, "http://LocalHost.:8080/"),
    (Block, "https://localhost/"),
    (Block, "http://private-ipv6.test/"),
    (Block, "http://PRIVATE.test./"),
    (Block, "https://private.test/"),
    (Block, "http://link-local.test/"),
    (Block, "http://mapped.test/"),
    (Block, "http://nat64.test/"),
    (Block, "http://zero.test/"),
    (Block, "http://loopback.test/"),
    (Block, "http://cname-private.test/"),
    (Block, "http://self.test:18081/metrics"),
    (PublicOnly, "http://mixed.test/"),
    (PublicOnly, "http://many.test/"),
    (PublicOnly, "http://rebind1.test/"),
    (PublicOnly, "https://rebind2.test/"),
    (Redirect, "http://redir.test/"),
    (Redirect, "http://redir.test/?to=http%3A%2F%2F127.0.0.1"),
    (Allow, "http://1.1.1.1/"),
    (Allow, "http://0x01010101/"),
    (Allow, "HTTP://A.COM/"),
    (Allow, "http://a.com./"),
    (Allow, "http://a.com?@127.0.0.1/"),
    (Allow, "http://a.com/@127.0.0.1/"),
    (Allow, "http://a.com/\\@127.0.0.1/"),
    (Allow, "http://a.com:1024/"),
    (Allow, "https://a.com:443/"),
    (Allow, "https://1.1.1.1/"),
    (Allow, "https://[2606:4700::1]:8443/"),
    (Allow, "http://[::ffff:1.1.1.1]/"),
    (Allow, "http://[64:ff9b::1.1.1.1]/"),
    (Allow, "http://cname-public.test/"),
    (Allow, "http://localhost.example.com/"),
    (Allow, "http://127.0.0.1.example.com/"),
    (Allow, "http://notlocalhost/"),
];
