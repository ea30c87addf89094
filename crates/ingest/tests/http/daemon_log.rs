//! A daemon's own warnings and errors are kept in Redis, in bounded form.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use postback_core::{
    queue::{Notice, Queue},
    testing::RedisServer,
};

use crate::process::{Running, daemon, socket};

/// What is kept, once there is something.
async fn kept(queue: &Queue) -> Vec<Notice> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let notices = queue.notices(100).await.unwrap();
        if !notices.is_empty() {
            return notices;
        }
        assert!(Instant::now() < until, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_a_daemon_complains_of_is_found_in_redis() {
    let redis = RedisServer::start();
    let tokens = redis.dir().join("tokens");
    fs::write(&tokens, "a".repeat(32)).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let file = tokens.display().to_string();
    let options = ["--token-file", &file];
    let mut ingest = Running::start(daemon(&redis.url_text(), &socket(&redis), &options));
    let queue = Queue::open(&redis.url(), "pb", 1).unwrap();
    assert_eq!(queue.notices(100).await.unwrap(), [], "it has nothing to complain of yet");
    fs::write(&tokens, "two words\u{1b}[2J").unwrap();
    ingest.signal("-HUP");
    ingest.until("the tokens stay as they were");
    let notices = kept(&queue).await;
    assert_eq!(notices.len(), 1, "{notices:?}");
    let Notice { at, host, program, pid, level, text } = &notices[0];
    assert!(at.starts_with("20") && at.ends_with('Z'), "{at}");
    assert_eq!(host.as_str(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!((program.as_str(), *pid, level.as_str()), ("ingest", ingest.pid(), "ERROR"));
    assert!(text.starts_with("the tokens stay as they were: --token-file"), "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[tokio::test]
async fn no_more_than_about_a_thousand_are_kept() {
    let redis = RedisServer::start();
    let queue = Queue::open(&redis.url(), "pb", 1).unwrap();
    let notice = |n: usize| Notice {
        at: n.to_string(),
        host: "b".into(),
        program: "deliver".into(),
        pid: 7,
        level: "WARN".into(),
        text: "x".into(),
    };
    for n in 0..50 {
        let some: Vec<_> = (0..50).map(|m| notice(50 * n + m)).collect();
        queue.keep_notices(&some).await.unwrap();
    }
    let kept = queue.notices(10_000).await.unwrap();
    assert!((1000..1200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0], notice(2499));
}
