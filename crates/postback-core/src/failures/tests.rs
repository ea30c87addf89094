//! Groups of failures: what is one, in which order, how many.

use std::time::{Duration, Instant};

use super::*;
use crate::endpoint::Method;

fn record(id: &str, host: &str, error: &str, then: Recorded, at_ms: u64) -> Record {
    Record {
        id: id.into(),
        request_id: "r".into(),
        reference: None,
        host: host.into(),
        method: Method::Get,
        url: String::new(),
        unmatched: Vec::new(),
        accepted_at_ms: 0,
        attempt: 1,
        at_ms,
        status: error.strip_prefix("status ").map_or(0, |status| status.parse().unwrap()),
        error: Some(error.to_owned()).filter(|error| !error.is_empty()),
        response_time_us: 0,
        response_body: String::new(),
        truncated: false,
        then,
        received_at_ms: None,
        nginx_at_ms: None,
        reserved_at_ms: None,
        traceparent: None,
        sent: None,
        settled_at_ms: 0,
    }
}

const RETRY: Recorded = Recorded::Retry(9);

fn grouped(records: &[Record]) -> (Vec<Group>, Others) {
    let mut groups = Groups::default();
    records.iter().for_each(|record| groups.add(record));
    groups.into_sorted()
}

#[test]
fn the_same_trouble_at_one_host_is_one_group() {
    let dead = Recorded::Dead(Cause::Timeout);
    let expired = Recorded::Dead(Cause::Expired);
    let (groups, others) = grouped(&[
        record("b-4", "a.com:80", "timeout: no answer within 10s", expired, 90),
        record("b-1", "a.com:80", "timeout: no answer within 10s", dead, 80),
        record("b-1", "a.com:80", "timeout: no answer within 10s", RETRY, 40),
        record("b-2", "a.com:80", "timeout: no answer within 250ms", RETRY, 60),
        record("b-3", "b.com:80", "timeout: no answer within 10s", RETRY, 70),
        record("b-5", "a.com:80", "", Recorded::Delivered, 75),
    ]);
    let expect = Group {
        cause: Cause::Timeout,
        error: "timeout: no answer within #".into(),
        host: "a.com:80".into(),
        attempts: 4,
        postbacks: 3,
        deaths: 2,
        first_ms: 40,
        last_ms: 90,
        samples: ["b-4", "b-1", "b-2"].map(str::to_owned).into(),
    };
    assert_eq!(groups[0], expect);
    assert_eq!((groups.len(), groups[1].host.as_str()), (2, "b.com:80"));
    assert_eq!(others, Others::default());
}

#[test]
fn a_failure_is_filed_under_its_own_cause() {
    let check = |record: Record, cause, error: &str| {
        assert_eq!(Kind::of(&record), Some(Kind { cause, error: error.into() }), "{record:?}");
    };
    let dead = Recorded::Dead;
    check(record("i", "h", "status 503", RETRY, 1), Cause::Status, "status 503");
    check(record("i", "h", "status 404", dead(Cause::Status), 1), Cause::Status, "status 404");
    let expired = dead(Cause::Expired);
    check(record("i", "h", "status 500", expired, 1), Cause::Status, "status 500");
    check(record("i", "h", "tls: bad", expired, 1), Cause::Tls, "tls: bad");
    check(record("i", "h", "", expired, 1), Cause::Expired, "expired before it could be sent");
    let rule = "the answer does not satisfy policy.success";
    let answered = |then| Record { status: 200, ..record("i", "h", rule, then, 1) };
    check(answered(RETRY), Cause::Rule, rule);
    check(answered(dead(Cause::Status)), Cause::Status, rule);
    check(answered(expired), Cause::Rule, rule);
    let crash = dead(Cause::WorkerCrash);
    check(record("i", "h", "4 workers died", crash, 1), Cause::WorkerCrash, "# workers died");
    assert_eq!(Kind::of(&record("i", "h", "", Recorded::Delivered, 1)), None);
}

#[test]
fn groups_are_bounded_and_the_rest_is_counted() {
    let hosts = MOST_GROUPS as u64 + 7;
    let one = |n| record("b-1", &format!("{n}.com:80"), "status 500", RETRY, n);
    let (groups, others) = grouped(&(1..=hosts).map(one).collect::<Vec<_>>());
    assert_eq!(groups.len(), MOST_GROUPS);
    assert_eq!(others, Others { attempts: 7, last_ms: hosts });
}

/// `cargo test --release -p postback-core --lib failures -- --nocapture` tells how long it takes.
#[test]
fn a_hundred_thousand_failures_of_500_hosts_are_500_groups() {
    let texts = [
        "connect: 10.1.2.3:8080: connection refused (os error 111), [2001:db8::1]:80: no answer within 5s",
        "status 503",
        "timeout: no answer within 10s",
        "tls: error:0A000086:SSL routines::certificate verify failed:statem_clnt.c:1889:",
    ];
    let one = |n: usize| {
        let host = format!("partner{}.example.com:443", n % 500);
        record(&format!("aaaaaaaaaaabbbbbbbbbbb-{n}"), &host, texts[n % 4], RETRY, n as u64)
    };
    let records: Vec<_> = (0..100_000).map(one).collect();
    let since = Instant::now();
    let (groups, _) = grouped(&records);
    let took: Duration = since.elapsed();
    eprintln!("100,000 failures in {} groups: {took:.1?}", groups.len());
    assert_eq!(groups.len(), 500);
    assert_eq!(groups.iter().map(|group| group.attempts).sum::<u64>(), 100_000);
}
