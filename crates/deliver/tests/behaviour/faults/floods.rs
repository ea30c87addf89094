//! Partners that send without end harm neither other lanes nor memory.

use std::time::{Duration, Instant};

use postback_core::{attempt::Cause, policy::Policy, view::Standing};

use super::{SOON, ended, enqueue_one, lane};
use crate::support::{Sink, Stack, numbers};

/// The most memory that a process had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The processor time that a process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which is in brackets: fields 14 and 15 are user and system time in 1/100 s.
    let fields = stat.rsplit_once(')').unwrap().1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|n| n.parse::<u64>().unwrap() * 10).sum())
}

#[tokio::test]
async fn endless_answers_and_bombs_take_no_memory() {
    let mut stack = Stack::start();
    let deliver = stack.deliver(&[]);
    let fine = stack.endpoint("/fine?n={n}");
    stack.enqueue(&fine, &lane("fine"), &numbers(1000)).await;
    stack.until(SOON, "delivery", |stats| stats.delivered == 1000).await;
    let before = peak_kib(stack.pid(deliver));
    let kinds = [
        "gzip-bomb",
        "endless",
        "endless-trailers",
        "endless-header",
        "huge-header",
        "continue-flood",
    ];
    for kind in kinds {
        for n in 0..4 {
            let policy = lane(&format!("{kind}{n}"));
            enqueue_one(&stack, &stack.endpoint(&format!("/{kind}")), &policy).await;
        }
    }
    stack.until(SOON, "all ends", |stats| stats.dead + stats.delivered == 1000 + 24).await;
    let grown = peak_kib(stack.pid(deliver)) - before;
    println!("24 hostile answers at once: {grown} KiB more than {before} KiB");
    // One bomb inflated as far as it is read would be 64 MiB; a head of 1 MiB kept four times is 4 MiB.
    assert!(grown < 12 * 1024, "memory grew by {grown} KiB");
}

#[tokio::test]
async fn floods_of_100_continue_cost_little_and_do_not_hold_up_other_lanes() {
    let mut stack = Stack::start();
    let deliver = stack.deliver(&[]);
    let timeout = Duration::from_secs(3);
    let mut floods = vec![];
    for n in 0..8 {
        let policy =
            Policy { timeout_ms: Some(timeout.as_millis() as u64), ..lane(&format!("flood{n}")) };
        floods.push(enqueue_one(&stack, &stack.endpoint("/continue-flood"), &policy).await);
    }
    stack.until_seen(8).await;
    // The healthy rows go to a partner of their own: the floods are work for the first.
    let other = Sink::start(stack.redis.dir(), "other", &[]);
    let mut fine = stack.endpoint("/fine?n={n}");
    fine.url = fine.url.replace(&stack.port.to_string(), &other.port.to_string());
    let since = Instant::now();
    stack.enqueue(&fine, &lane("fine"), &numbers(200)).await;
    stack.until(timeout / 2, "the healthy lane", |stats| stats.delivered == 200).await;
    println!("200 rows beside eight floods: {:?}", since.elapsed());
    for flood in floods {
        let shown = ended(&stack, flood).await;
        assert_eq!(
            (shown.state, shown.cause),
            (Standing::Dead, Some(Cause::Protocol)),
            "{shown:#?}"
        );
        assert_eq!(shown.attempts.len(), 1);
    }
    let cpu = cpu_time(stack.pid(deliver));
    println!("eight floods and 200 rows: {cpu:?} of processor time");
}
