//! Every hostile URL, both ways: asked of `ingest`, and written straight into Redis.

use std::net::IpAddr;

use postback_core::{
    attempt::Cause,
    endpoint::Origin,
    view::{Postback, Standing},
};

use crate::{
    cases::{self, Case, Verdict},
    namespace::inside,
    partners::Contact,
    stack::{ADMIN, Stack, opened, origin},
    zone,
};

/// What one case led to.
struct Trace {
    origin: Option<Origin>,
    /// `None`: ingest refused it.
    end: Option<Postback>,
    contacts: Vec<Contact>,
    /// Connections that the kernel saw begun.
    opened: u64,
    /// Questions that the name server got.
    asked: usize,
}

impl Trace {
    /// Sends a case on its way and waits for its end. Its port is listened on, wherever it leads.
    async fn of(stack: &Stack, case: &Case, straight: bool) -> Trace {
        let origin = origin(&case.url);
        if let Some(port) = origin.as_ref().map(|origin| origin.port).filter(|port| *port != ADMIN)
        {
            stack.partners.listen(port);
        }
        let (contacts, began) = (stack.partners.contacts().len(), opened());
        let asked: usize = stack.dns.names().values().sum();
        let id = if straight { Some(stack.store(&case.url).await) } else { stack.post(&case.url) };
        let end = match id {
            Some(id) => Some(stack.end(id).await),
            None => None,
        };
        Trace {
            origin,
            end,
            contacts: stack.contacts_since(contacts),
            opened: opened() - began,
            asked: stack.dns.names().values().sum::<usize>() - asked,
        }
    }

    fn is_right(&self, verdict: Verdict) -> bool {
        let cause = self.end.as_ref().and_then(|end| end.cause);
        let delivered = self.end.as_ref().is_some_and(|end| end.state == Standing::Delivered);
        let blocked = self.end.is_none() || cause == Some(Cause::Blocked);
        // Nobody here can TLS: that it was tried is seen by its failure.
        let called = delivered || (self.is_tls() && cause == Some(Cause::Tls));
        let called = called && self.contacts.len() == 1 && self.is_public();
        match verdict {
            Verdict::Block => blocked && self.opened == 0 && self.is_quiet(),
            Verdict::Allow => called && self.opened == 1,
            Verdict::PublicOnly => called || (blocked && self.opened == 0),
            Verdict::Redirect => {
                cause == Some(Cause::Status) && self.contacts.len() == 1 && self.is_public()
            }
        }
    }

    fn is_tls(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.tls)
    }

    fn literal(&self) -> Option<IpAddr> {
        let host = &self.origin.as_ref()?.host;
        let ip: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
        Some(ip.to_canonical())
    }

    /// Whether nobody heard of it, but for the name server of a name.
    fn is_quiet(&self) -> bool {
        let has_name = self.origin.is_some() && self.literal().is_none();
        self.contacts.is_empty() && (has_name || self.asked == 0)
    }

    /// Whether all calls went to the port that the URL names, at the address that it names or that its name has.
    fn is_public(&self) -> bool {
        let Some(origin) = &self.origin else { return self.contacts.is_empty() };
        let named = zone::PUBLIC.iter().chain([&zone::ONE]);
        let named: Vec<IpAddr> = named.map(|ip| ip.parse().expect("an address")).collect();
        let right =
            |ip: IpAddr| self.literal().map_or(named.contains(&ip), |literal| ip == literal);
        self.contacts
            .iter()
            .all(|contact| right(contact.to.ip()) && contact.to.port() == origin.port)
    }

    fn text(&self) -> String {
        let calls: Vec<_> = self.contacts.iter().map(|contact| contact.to.to_string()).collect();
        let end = self.end.as_ref().map_or("refused with 400".to_owned(), |end| {
            format!("{} {:?} {:?}", end.state.as_str(), end.cause, end.attempts)
        });
        format!("{end}; {} connections begun, accepted: {calls:?}", self.opened)
    }
}

async fn every_case(straight: bool) {
    let mut stack = Stack::start();
    stack.ingest();
    stack.deliver(&[]);
    let (cases, mut wrong) = (cases::all(), Vec::new());
    for case in &cases {
        let trace = Trace::of(&stack, case, straight).await;
        if !trace.is_right(case.verdict) {
            let (id, url, verdict) = (&case.id, &case.url, case.verdict);
            wrong.push(format!("{id} {url:?}, to be {verdict:?}: {}", trace.text()));
        }
    }
    println!("{} cases, {} connections", cases.len(), stack.partners.contacts().len());
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    let asked = stack.dns.names();
    let own = |name: &str| name == "localhost" || name.ends_with(".localhost");
    assert!(!asked.keys().any(|name| own(name)), "localhost was asked for: {asked:?}");
    assert!(!stack.called().iter().any(IpAddr::is_loopback), "loopback was called");
}

#[test]
fn hostile_urls_asked_of_ingest_lead_nowhere() {
    inside(async { every_case(false).await });
}

#[test]
fn hostile_urls_written_straight_into_redis_lead_nowhere() {
    inside(async { every_case(true).await });
}
