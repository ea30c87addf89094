//! What is written comes back as it was, and what was not written is no batch.

use std::borrow::Cow;

use super::*;
use crate::{
    endpoint::{BodyTemplate, EndpointTemplate, Method, Unmatched},
    value::Value,
};

fn template() -> EndpointTemplate {
    EndpointTemplate {
        method: Method::Get,
        url: "http://a.com/x?k={k}".into(),
        headers: vec![],
        body: BodyTemplate::None,
        reference: None,
        unmatched: Unmatched::Text(String::new()),
    }
}

fn source(n: usize) -> Source {
    let traceparent = n.is_multiple_of(2).then(|| format!("trace-{n}"));
    let received_at_ms = n as u64;
    Source {
        request_id: format!("r{n}"),
        traceparent,
        received_at_ms,
        first_row: 0,
        nginx_ms: None,
    }
}

fn text(text: String) -> Row<'static> {
    vec![Value::Text(Cow::Owned(text))]
}

fn rows(texts: &[String]) -> EncodedRows {
    let rows: Vec<_> = texts.iter().cloned().map(text).collect();
    EncodedRows::new(&template(), &Policy::default(), &rows)
}

fn encoded(rows: &[Row<'_>]) -> Vec<EncodedBatch> {
    encode(&template(), &Policy::default(), &source(1), rows)
}

#[test]
fn rows_come_back_as_they_went_in() {
    let rows: Vec<_> = (0..600).map(|i| text(format!("value {i}"))).collect();
    let batches = encoded(&rows);
    assert_eq!(batches.iter().map(|b| b.rows).collect::<Vec<_>>(), [256, 256, 88]);
    let mut back = vec![];
    for batch in &batches {
        let batch = Batch::decode(&batch.bytes).unwrap();
        assert_eq!(batch.endpoint.template(), &template());
        assert_eq!(batch.sources, [source(1)]);
        back.extend((0..batch.len()).map(|i| format!("{:?}", batch.row(i).unwrap())));
    }
    assert_eq!(back, rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>());
}

#[test]
fn a_batch_stays_under_64_kib_and_a_larger_row_is_alone() {
    let rows = [
        text("a".repeat(40_000)),
        text("b".repeat(40_000)),
        text("c".repeat(200_000)),
        text("d".into()),
    ];
    assert_eq!(encoded(&rows).iter().map(|b| b.rows).collect::<Vec<_>>(), [1, 1, 1, 1]);
    let rows: Vec<_> = (0..100).map(|_| text("e".repeat(1000))).collect();
    let batches = encoded(&rows);
    assert_eq!(batches.iter().map(|b| usize::from(b.rows)).sum::<usize>(), 100);
    let sizes = batches.iter().map(|b| Batch::decode(&b.bytes).unwrap().size());
    assert!(sizes.clone().all(|size| size <= MAX_BYTES) && sizes.max().unwrap() > 63 * 1024);
}

#[test]
fn joined_rows_know_the_request_that_each_came_with() {
    let texts: Vec<String> = (0..10).map(|n| format!("text {n}")).collect();
    let requests = [&texts[..1], &texts[1..4], &texts[4..5], &texts[5..]].map(rows);
    let sources: Vec<Source> = (0..4).map(source).collect();
    let parts: Vec<_> = sources.iter().zip(&requests).collect();
    let (joined, firsts) = join(&parts);
    assert_eq!((joined.rows, &firsts[..]), (10, &[0, 1, 4, 5][..]));
    let batch = Batch::decode(&joined.bytes).unwrap();
    assert_eq!((batch.endpoint.template(), &*batch.policy), (&template(), &Policy::default()));
    let from = [0, 1, 1, 1, 2, 3, 3, 3, 3, 3];
    for (row, (from, expect)) in (0..).zip(from.into_iter().zip(texts)) {
        assert_eq!(batch.row(row).unwrap(), text(expect));
        let first_row = firsts[from];
        assert_eq!(batch.source(row), &Source { first_row, ..source(from) }, "{row}");
    }
}

#[test]
fn one_request_joined_with_none_is_what_it_would_be_alone() {
    let one = rows(&["a".into(), "b".into()]);
    assert_eq!(join(&[(&source(1), &one)]).0, one.batches(&source(1)).remove(0));
}

#[test]
fn the_size_is_the_most_that_a_request_adds_to_a_batch() {
    let one = rows(&["x".repeat(300)]);
    let check = |source: Source| {
        let size = |n: usize| {
            let parts = vec![(&source, &one); n];
            Batch::decode(&join(&parts).0.bytes).unwrap().size()
        };
        let (added, told) = (size(100) - size(99), one.size(&source));
        assert!(added <= told && told < added + 40, "{added} of {told} for {source:?}");
    };
    check(source(0));
    check(source(1));
    let request_id = "r".repeat(128);
    check(Source { request_id, received_at_ms: u64::MAX, ..source(100) });
}

#[test]
fn other_endpoints_and_policies_have_other_heads() {
    let head = |template: &EndpointTemplate, policy: &Policy| {
        EncodedHead::new(template, policy).as_bytes().to_vec()
    };
    let (usual, policy) = (template(), Policy::default());
    let same = head(&usual, &policy);
    assert_eq!(head(&usual, &policy), same);
    let endpoints = [
        EndpointTemplate { method: Method::Head, ..usual.clone() },
        EndpointTemplate { url: "http://a.com/x?k={l}".into(), ..usual.clone() },
        EndpointTemplate { reference: Some("{k}".into()), ..usual.clone() },
        EndpointTemplate { unmatched: Unmatched::Reject, ..usual.clone() },
        EndpointTemplate { headers: vec![("A".into(), "b".into())], ..usual.clone() },
        EndpointTemplate { body: BodyTemplate::Row, ..usual.clone() },
    ];
    for other in endpoints {
        assert_ne!(head(&other, &policy), same, "{other:?}");
    }
    let policies = [
        Policy { label: Some("bulk".into()), ..policy.clone() },
        Policy { timeout_ms: Some(1), ..policy.clone() },
        Policy { retries_ms: Some(vec![]), ..policy.clone() },
    ];
    for other in policies {
        assert_ne!(head(&usual, &other), same, "{other:?}");
    }
}

#[test]
fn what_is_no_batch_is_refused_without_a_panic() {
    let good = encoded(&[text("x".repeat(300))]).remove(0).bytes;
    for cut in 0..good.len() {
        assert!(Batch::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        drop(Batch::decode(&bad));
    }
    let mut newer = good;
    newer[0] = 9;
    assert!(matches!(Batch::decode(&newer), Err(BatchError::Version(9))));
}

#[test]
fn a_row_is_written_as_postcard_writes_it() {
    let check = |row: Row<'_>| {
        let mut encoded = EncodedRows::of(EncodedHead::new(&template(), &Policy::default()));
        encoded.push(&row);
        let batch = Batch::decode(&encoded.batches(&source(1))[0].bytes).unwrap();
        let expect = postcard::to_allocvec(&row).unwrap();
        let (start, end) = batch.rows[0];
        assert_eq!(batch.plain[start as usize..end as usize], expect, "{row:?}");
    };
    for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152] {
        check(text("x".repeat(length)));
        check(vec![Value::Literal("1".repeat(length).into()), Value::Null]);
    }
    for values in [0, 1, 127, 128, 16_384] {
        check(vec![Value::Null; values]);
    }
    let text = || Value::Text("a".into());
    check(vec![text(), Value::List(vec![text(), Value::Null])]);
    check(vec![Value::Object(vec![("k".into(), text())]), Value::Literal("true".into())]);
}
