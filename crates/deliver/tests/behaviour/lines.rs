//! What `deliver` writes: a JSON line an attempt on standard output, and its log as JSON.

use std::{
    fs::{File, read_to_string},
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    end_to_end::Ingest,
    support::{Stack, all, program},
};

const SOON: Duration = Duration::from_secs(60);
const LEFT_OUT: &str = "standard output does not take";

/// A file in the stack's folder, to be written by a process.
fn file(stack: &Stack, name: &str) -> (PathBuf, File) {
    let path = stack.redis.dir().join(name);
    (path.clone(), File::create(path).unwrap())
}

/// Starts a `deliver` with `--log-deliveries`, its log in a file.
fn start(stack: &Stack, stdout: Stdio) -> (Child, PathBuf) {
    let (log, stderr) = file(stack, "log");
    let mut command = stack.deliver_command();
    command.args(["--log-deliveries", "--allow-net", "127.0.0.0/8"]);
    command.args(["--metrics-listen", "127.0.0.1:0"]);
    (command.stdout(stdout).stderr(stderr).spawn().unwrap(), log)
}

/// The file's lines when there are so many, each read as JSON.
fn lines(path: &PathBuf, many: usize) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let text = read_to_string(path).unwrap();
        if text.matches('\n').count() >= many {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(since.elapsed() < SOON, "not {many} lines: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn request_id_and_trace_are_the_same_at_the_client_the_partner_in_the_log_and_in_each_line() {
    let mut stack = Stack::start();
    let (out, stdout) = file(&stack, "out");
    let (child, _) = start(&stack, stdout.into());
    stack.adopt(child);
    let ingest = Ingest::start(&stack);
    let body = json!({
        "endpoint": {"method": "GET", "url": format!("http://127.0.0.1:{}/flaky/1?n={{n}}", stack.port)},
        "data": [{"n": 7}],
        "policy": {"retries": ["50ms"], "ref": "click-{n}"},
    });
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let headers = format!("X-Request-Id: r-77\r\ntraceparent: {given}\r\n");
    let (status, answer) = Ingest::read(ingest.write(&body, &headers));
    assert_eq!((status, &answer["request_id"]), (202, &json!("r-77")));
    stack.until(SOON, "delivery", |stats| stats.delivered == 1).await;

    let found = stack.queue.find("r-77").await.unwrap();
    let [shown] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&shown.request_id[..], shown.traceparent.as_deref()), ("r-77", Some(given)));
    let (lines, seen) = (lines(&out, 2), stack.seen());
    assert_eq!((lines.len(), seen.len(), shown.attempts.len()), (2, 2, 2));
    for (n, ((line, seen), attempt)) in lines.iter().zip(&seen).zip(&shown.attempts).enumerate() {
        let sent = &seen.headers["traceparent"];
        assert!(sent.starts_with(&given[..36]) && sent.ends_with("-00"), "{sent}");
        assert_eq!(attempt.traceparent.as_ref(), Some(sent));
        let told = json!({
            "traceparent": line["traceparent"], "request_id": line["request_id"], "ref": line["ref"],
            "id": line["id"], "url": line["url"], "attempt": line["attempt"], "at": line["at"],
            "status": line["status"], "state": line["state"], "accepted_at": line["accepted_at"],
        });
        let (status, state) = if n == 0 { (500, "pending") } else { (200, "delivered") };
        let expected = json!({
            "traceparent": sent, "request_id": "r-77", "ref": "click-7",
            "id": seen.id(), "url": shown.url, "attempt": n + 1, "at": attempt.at,
            "status": status, "state": state, "accepted_at": shown.accepted_at,
        });
        assert_eq!(told, expected);
    }
    assert_ne!(seen[0].headers["traceparent"], seen[1].headers["traceparent"]);
}

/// Where standard output leads.
#[derive(Debug, Clone, Copy)]
enum Output {
    Closed,
    Full,
    Stuck,
}

#[test]
fn standard_output_that_takes_nothing_stops_neither_delivery_nor_the_stop() {
    async fn check(output: Output) {
        let mut stack = Stack::start();
        let stdout = match output {
            Output::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Output::Closed | Output::Stuck => Stdio::piped(),
        };
        let (mut child, log) = start(&stack, stdout);
        // Held, a pipe takes 64 KiB and then no more.
        let stuck = child.stdout.take().filter(|_| matches!(output, Output::Stuck));
        let deliver = stack.adopt(child);
        stack.enqueue_numbers("/d?n={n}", 0..2000).await;
        stack.until(SOON, "delivery", |stats| stats.delivered == 2000).await;
        assert_eq!(stack.seen().len(), 2000);
        stack.signal(deliver, "TERM");
        assert_eq!(stack.wait_exit(deliver).code(), Some(0));
        drop(stuck);
        let log = read_to_string(&log).unwrap();
        let (told, late) = (log.matches(LEFT_OUT).count(), log.contains("the last lines"));
        match output {
            Output::Stuck => assert!(late, "{log}"),
            _ => assert!(told == 1 && log.contains(" 2000 lines") && !late, "{log}"),
        }
    }
    all([Output::Closed, Output::Full, Output::Stuck], check);
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let mut stack = Stack::start();
    let (out, stdout) = file(&stack, "out");
    let (child, _) = start(&stack, stdout.into());
    let deliver = stack.adopt(child);
    stack.enqueue_numbers("/d?n={n}", 0..1000).await;
    stack.until_seen(1000).await;
    stack.signal(deliver, "TERM");
    assert_eq!(stack.wait_exit(deliver).code(), Some(0));
    let mut ids: Vec<_> = lines(&out, 1000).iter().map(|l| l["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}

#[tokio::test]
async fn without_being_asked_for_no_line_is_written() {
    let mut stack = Stack::start();
    let (out, stdout) = file(&stack, "out");
    let mut command = stack.deliver_command();
    let deliver = stack.spawn_command(command.args(["--allow-net", "127.0.0.0/8"]).stdout(stdout));
    stack.enqueue_numbers("/d?n={n}", 0..10).await;
    stack.until(SOON, "delivery", |stats| stats.delivered == 10).await;
    stack.signal(deliver, "TERM");
    stack.wait_exit(deliver);
    assert_eq!(read_to_string(out).unwrap(), "");
}

#[tokio::test]
async fn the_log_of_both_daemons_can_be_json() {
    let mut stack = Stack::start();
    let mut ingest = program("ingest");
    ingest.env("REDIS_URL", stack.redis.url_text());
    ingest.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let mut deliver = stack.deliver_command();
    deliver.args(["--metrics-listen", "127.0.0.1:0"]);
    for (name, mut command) in [("ingest", ingest), ("deliver", deliver)] {
        let (log, stderr) = file(&stack, name);
        let child = command.env("POSTBACK_LOG_FORMAT", "json").stderr(stderr).spawn().unwrap();
        let number = stack.adopt(child);
        for entry in lines(&log, 1) {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            assert!(text("target").starts_with(name), "{entry}");
            assert_eq!((text("level"), text("message").is_empty()), ("INFO".into(), false));
            assert!(text("time").ends_with('Z'), "{entry}");
        }
        stack.signal(number, "TERM");
        stack.wait_exit(number);
        assert!(!lines(&log, 1).is_empty());
    }
}
