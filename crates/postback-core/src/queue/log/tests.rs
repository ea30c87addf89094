//! What is written comes back, what is damaged has no records, and a plain GET costs next to nothing.

use super::*;

/// The record of a plain GET, as deliver writes them by the thousand: the rows of a few batches, at about the same time.
fn get(n: usize) -> Record {
    let lane = "K3vX9aQ0b2Z";
    let batch = ["4kd8Rj2Lw0x", "Zq81hGm5TtE", "9aYcB7uPo3N"][n / 100];
    let begun = 1_700_000_000_000;
    // Random as click ids are, the same in each run.
    let click = fastrand::Rng::with_seed(n as u64).u64(..);
    Record {
        id: format!("{lane}{batch}-{}", n % 100),
        request_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        reference: None,
        host: "partner.example:80".into(),
        method: Method::Get,
        url: format!("http://partner.example/postback?click={click:016x}&payout=1.{:02}", n % 100),
        unmatched: vec![],
        accepted_at_ms: begun + n as u64 / 100,
        attempt: 1,
        at_ms: begun + 20 + n as u64 / 8,
        status: 200,
        error: None,
        response_time_us: 900 + click % 500,
        response_body: "ok".into(),
        truncated: false,
        then: Recorded::Delivered,
        received_at_ms: Some(begun - 1 + n as u64 / 100),
        nginx_at_ms: Some(begun - 4 + n as u64 / 100),
        reserved_at_ms: Some(begun + 15 + n as u64 / 100),
        traceparent: None,
        sent: None,
        settled_at_ms: 0,
    }
}

fn encode(records: &[Record]) -> Vec<u8> {
    encode_log(&records.iter().collect::<Vec<_>>())
}

#[test]
fn an_entry_comes_back_as_it_went_in() {
    let sent = Sent {
        headers: vec![("X-Click".into(), "a".into())],
        body: Some("{}".into()),
        truncated: true,
    };
    let record = |n: usize| {
        let whole = Record {
            reference: Some("click".into()),
            unmatched: vec!["x".into()],
            error: Some("status 500".into()),
            then: Recorded::Retry(7),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            sent: Some(Box::new(sent.clone())),
            settled_at_ms: 5,
            ..get(n)
        };
        // Clocks that stand apart by all there is, and what is not known.
        match n % 4 {
            0 => whole,
            1 => Record { received_at_ms: Some(u64::MAX), nginx_at_ms: Some(7), ..whole },
            2 => Record { received_at_ms: None, reserved_at_ms: Some(u64::MAX), ..whole },
            _ => Record { nginx_at_ms: None, reserved_at_ms: None, sent: None, ..whole },
        }
    };
    for n in [0, 1, 100] {
        let records: Vec<_> = (0..n).map(record).collect();
        assert_eq!(decode_log(&encode(&records), 5), records);
    }
}

#[test]
fn a_damaged_entry_has_no_records() {
    for bytes in [&[][..], &[9, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 5], &[2, 255, 255, 255, 255, 5]] {
        assert_eq!(decode_log(bytes, 0), []);
    }
}

#[test]
fn what_version_2_keeps_beside_version_1_costs_a_plain_get_at_most_5_bytes() {
    let check = |what: &str, record: &dyn Fn(usize) -> Record| {
        let records: Vec<_> = (0..256).map(record).collect();
        assert!(records.iter().all(|record| record.unmatched.is_empty()));
        let all: Vec<_> = records.iter().map(|record| record.borrowed(&[])).collect();
        let before = 5 + batch::compress(&stored::write_version_1(&all)).unwrap().len();
        let now = encode(&records).len();
        assert!(now <= before + 5 * 256, "{what}: {before} bytes before, {now} now");
    };
    check("rows of three requests", &get);
    check("a request each", &|n| {
        let mut random = fastrand::Rng::with_seed(1_000_000 + n as u64);
        let record = get(n);
        let received = record.accepted_at_ms - random.u64(1..20);
        Record {
            request_id: format!("{:032x}", random.u128(..)),
            received_at_ms: Some(received),
            nginx_at_ms: Some(received - random.u64(1..50)),
            reserved_at_ms: Some(record.at_ms - random.u64(1..100)),
            ..record
        }
    });
}
