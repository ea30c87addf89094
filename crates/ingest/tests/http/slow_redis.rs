//! A Redis that answers, but each time only just before it would be given up.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::support::{Front, GOOD};

/// Less than the 900 ms that a reply may take.
const LATE: Duration = Duration::from_millis(800);

/// An address at which Redis's replies come late.
fn late(redis: &RedisServer) -> SocketAddr {
    let redis = redis.dir().join("redis.sock");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = UnixStream::connect(&redis).unwrap();
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || pass_on(from, to, Duration::ZERO));
            thread::spawn(move || {
                pass_on(&server, &client, LATE);
                drop((server.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both)));
            });
        }
    });
    address
}

/// Until one of them goes away.
fn pass_on(mut from: impl Read, mut to: impl Write, late: Duration) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        thread::sleep(late);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

#[test]
fn late_replies_do_not_add_up_to_more_than_two_seconds() {
    let redis = RedisServer::start();
    let front = Front::start(&format!("redis://{}", late(&redis)), &[]);
    // It is asked whether it is fit, then how full it is, then to store the rows.
    for _ in 0..3 {
        let since = Instant::now();
        let answer = front.post("/ingest", GOOD);
        let took = since.elapsed();
        assert!([202, 503].contains(&answer.status), "{answer:?}");
        assert!(took < Duration::from_secs(2), "{took:?}: {answer:?}");
    }
}
