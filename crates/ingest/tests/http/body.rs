//! Coded bodies, and what they cost.

use std::{
    io::{Read, Write},
    path::Path,
    process::Command,
};

use flate2::{Compression, write::GzEncoder};
use postback_core::testing::RedisServer;

use crate::{
    answers::{front, problem},
    many::Daemon,
    support::{GOOD, JSON, keys, request, send},
};

/// A request with a body in this coding.
pub(crate) fn coded(path: &str, coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let headers = [JSON, ("Content-Encoding", coding), ("Content-Length", &length)];
    [&request("POST", path, &headers, ""), body].concat()
}

fn gzip(plain: impl Read) -> Vec<u8> {
    let mut plain = plain;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut plain, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

#[test]
fn a_coded_body_is_taken_as_the_plain_one() {
    let (_redis, front) = front(&[]);
    let plain = send(front.address, &coded("/i?dry_run=1", "identity", GOOD.as_bytes())).json();
    for (coding, body) in [
        ("gzip", gzip(GOOD.as_bytes())),
        ("GZIP", gzip(GOOD.as_bytes())),
        ("x-gzip", gzip(GOOD.as_bytes())),
        ("zstd", zstd(GOOD.as_bytes())),
        ("Zstd", zstd(GOOD.as_bytes())),
        ("identity", GOOD.into()),
    ] {
        let answer = send(front.address, &coded("/i?dry_run=1", coding, &body));
        assert_eq!(answer.json()["rows"], plain["rows"], "{coding}");
        assert_eq!(send(front.address, &coded("/ingest", coding, &body)).status, 202, "{coding}");
    }
}

#[test]
fn a_damaged_coding_gets_400_that_names_it() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for (coding, body) in [("gzip", gzip(GOOD.as_bytes())), ("zstd", zstd(GOOD.as_bytes()))] {
        for body in [
            &b""[..],
            GOOD.as_bytes(),
            &body[..body.len() - 1],
            &body[..4],
            &[&body[..], b"x"].concat(),
            &[&body[..body.len() / 2], b"xxxx", &body[body.len() / 2 + 4..]].concat(),
        ] {
            let answer = send(front.address, &coded("/ingest", coding, body));
            let detail = problem(&answer, 400, "bad_request");
            let start = format!("the body cannot be inflated as {coding}: ");
            assert!(detail.starts_with(&start), "{detail}");
        }
    }
    assert_eq!(keys(&redis), before);
}

#[test]
fn the_limit_holds_for_the_body_as_sent_and_inflated() {
    let (redis, front) = front(&["--max-body", "10KiB"]);
    let before = keys(&redis);
    let fits = " ".repeat(10 * 1024);
    let over = " ".repeat(10 * 1024 + 1);
    for (coding, code) in [("gzip", (|text| gzip(text)) as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
        let answer = send(front.address, &coded("/ingest", coding, &code(fits.as_bytes())));
        problem(&answer, 400, "bad_request");
        let answer = send(front.address, &coded("/ingest", coding, &code(over.as_bytes())));
        let detail = problem(&answer, 413, "too_large");
        assert!(detail.starts_with("the inflated body is longer"), "{detail}");
        // Longer as sent than what it would become.
        let many = code(b"").repeat(10 * 1024);
        let answer = send(front.address, &coded("/ingest", coding, &many));
        let detail = problem(&answer, 413, "too_large");
        assert!(detail.starts_with("the body is longer"), "{detail}");
    }
    assert_eq!(keys(&redis), before);
}

/// A zstd frame of blocks that each repeat a space 128 KiB times, 32 GiB in 1 MB, with a window of 2 GiB.
fn wide_zstd_bomb() -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3];
    frame.extend([0x02, 0x00, 0x10, b' '].repeat(250_000));
    frame.extend([1, 0, 0]);
    frame
}

/// By how much the system may round memory up: where it gives huge pages to all, by one of 2 MiB.
fn huge_page() -> u64 {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let setting = std::fs::read_to_string(path).unwrap_or_default();
    if setting.contains("[always]") { 2 * 1024 * 1024 } else { 0 }
}

/// Each to a process of its own, under the default limit: it costs its own length and what may come of a body.
#[test]
fn a_bomb_gets_413_and_costs_under_10_mb() {
    const MB: u64 = 1_000_000;
    let redis = RedisServer::start();
    let megabytes = |n: u64| std::io::repeat(b' ').take(n * MB);
    let spaces = vec![b' '; 8_000_000];
    for (name, coding, body) in [
        ("gzip, 100 MB in one member", "gzip", gzip(megabytes(100))),
        ("gzip, 200 MB in members", "gzip", gzip(megabytes(1)).repeat(200)),
        ("zstd, 100 MB told", "zstd", zstd(&vec![b' '; 100_000_000])),
        ("zstd, 8 GB in frames", "zstd", zstd(&spaces).repeat(1000)),
        ("zstd, a window of 2 GiB", "zstd", wide_zstd_bomb()),
    ] {
        let daemon = Daemon::start(&redis, &[], 1024);
        for _ in 0..8 {
            let answer = daemon.send(&coded("/ingest", "zstd", &zstd(GOOD.as_bytes())));
            assert_eq!(answer.status, 202);
        }
        let before = daemon.memory("VmHWM");
        problem(&daemon.send(&coded("/ingest", coding, &body)), 413, "too_large");
        let cost = daemon.memory("VmHWM") - before;
        println!("{name}: {} bytes cost {cost} bytes of memory", body.len());
        assert!(cost < 10 * MB + huge_page(), "{name}: {cost}");
        for _ in 0..20 {
            problem(&daemon.send(&coded("/ingest", coding, &body)), 413, "too_large");
        }
        let more = daemon.memory("VmHWM") - before;
        println!("{name}: with 20 more {more}");
        assert!(more < 15 * MB, "{name}: {more}");
    }
}

/// gzip's own, and zstd's as it comes out of a pipe.
#[test]
fn what_other_programs_write_is_taken() {
    let (redis, front) = front(&[]);
    let plain = redis.dir().join("body.json");
    std::fs::write(&plain, GOOD).unwrap();
    let run = |program: &str, path: &Path| {
        let output = Command::new(program).arg("-c").arg(path).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let answer = send(front.address, &coded("/ingest", "gzip", &run("gzip", &plain)));
    assert_eq!(answer.status, 202);
    let mut piped = Vec::new();
    let mut encoder = zstd::stream::Encoder::new(&mut piped, 19).unwrap();
    encoder.write_all(GOOD.as_bytes()).unwrap();
    encoder.finish().unwrap();
    assert_eq!(send(front.address, &coded("/ingest", "zstd", &piped)).status, 202);
}
