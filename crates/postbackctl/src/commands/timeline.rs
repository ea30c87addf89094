//! What people are told of one postback: what it is, and a line for each step with its distance from the first.

use std::time::{Duration, SystemTime};

use postback_core::view::{Attempt, Postback, Standing};

use crate::output::Output;

/// The column in which a step's details begin.
const INDENT: &str = "                                       ";

/// A step on a postback's way.
struct Step {
    /// Since 1970.
    at: Duration,
    what: String,
    /// Each a line under it.
    details: Vec<String>,
}

/// Prints a postback with its timeline.
pub(crate) fn print_postback(postback: &Postback, output: &mut Output) -> anyhow::Result<()> {
    let cause = postback.cause.map(|cause| format!(", cause {cause}")).unwrap_or_default();
    output.line(&format!("{}  {}{cause}", postback.id, postback.state.as_str()))?;
    match postback.method {
        Some(method) => output.line(&format!("  {method} {}", postback.url))?,
        None => output.line("  its stored batch cannot be read")?,
    }
    let reference = postback.reference.as_deref().unwrap_or("-");
    output.line(&format!("  ref {reference}  request {}", postback.request_id))?;
    if let Some(parent) = &postback.traceparent {
        output.line(&format!("  came with traceparent {parent}"))?;
    }
    if !postback.unmatched.is_empty() {
        output.line(&format!("  without a value: {}", postback.unmatched.join(", ")))?;
    }
    print_steps(&steps(postback), output)?;
    match (&postback.due_at, postback.state) {
        (Some(due), Standing::Pending) => output.line(&format!("  next attempt {due}")),
        (None, Standing::Pending) if postback.attempts.is_empty() => output.line("  not tried yet"),
        _ => Ok(()),
    }
}

/// What came of an attempt: its status, its error, or both.
pub(crate) fn answer(attempt: &Attempt) -> String {
    match (attempt.status, &attempt.error) {
        // Most errors of an answer begin with its status.
        (Some(status), Some(error)) if error.contains(&status.to_string()) => error.clone(),
        (Some(status), Some(error)) => format!("status {status}, {error}"),
        (Some(status), None) => format!("status {status}"),
        (None, error) => error.clone().unwrap_or_else(|| "no answer".into()),
    }
}

/// From nginx to the last attempt, in the order in which they happened. What is not known of older postbacks is left out.
fn steps(postback: &Postback) -> Vec<Step> {
    let mut steps = Vec::new();
    add(&mut steps, postback.nginx_at.as_ref(), "nginx began to read the request".into(), vec![]);
    add(&mut steps, postback.received_at.as_ref(), "ingest had it".into(), vec![]);
    add(&mut steps, Some(&postback.accepted_at), "stored in Redis".into(), vec![]);
    for (n, attempt) in (1..).zip(&postback.attempts) {
        let of = |what: &str| format!("attempt {n}: {what}");
        add(&mut steps, attempt.reserved_at.as_ref(), of("a worker has its batch"), vec![]);
        add(&mut steps, Some(&attempt.at), of("sent"), request(attempt));
        let took = Duration::from_secs_f64(attempt.response_time_ms / 1000.0);
        let what = format!("{}  ({:.1} ms)", of(&answer(attempt)), attempt.response_time_ms);
        let at = since_1970(&attempt.at).map(|at| at + took);
        steps.extend(at.map(|at| Step { at, what, details: response(attempt) }));
        add(&mut steps, attempt.settled_at.as_ref(), of("settled"), vec![]);
    }
    steps
}

fn add(steps: &mut Vec<Step>, at: Option<&String>, what: String, details: Vec<String>) {
    let at = at.and_then(|at| since_1970(at));
    steps.extend(at.map(|at| Step { at, what, details }));
}

fn since_1970(text: &str) -> Option<Duration> {
    humantime::parse_rfc3339(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

fn request(attempt: &Attempt) -> Vec<String> {
    let headers = attempt.request_headers.iter().map(|(name, value)| format!("> {name}: {value}"));
    let traced = attempt.traceparent.iter().map(|parent| format!("> traceparent: {parent}"));
    let mut lines: Vec<_> = traced.chain(headers).collect();
    if let Some(body) = &attempt.request_body {
        lines.push(">".to_owned());
        lines.extend(quoted(">", body, false));
    }
    lines.extend(attempt.request_truncated.then(|| "> …".to_owned()));
    lines
}

fn response(attempt: &Attempt) -> Vec<String> {
    let body = attempt.response_body.as_deref().unwrap_or_default();
    quoted("<", body, attempt.truncated)
}

/// A text's lines, each behind a mark, so that none can be taken for one of ours.
fn quoted(mark: &str, text: &str, goes_on: bool) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(|line| format!("{mark} {line}")).collect();
    if goes_on {
        lines.push(format!("{mark} …"));
    }
    lines
}

fn print_steps(steps: &[Step], output: &mut Output) -> anyhow::Result<()> {
    let first = steps.first().map(|step| step.at).unwrap_or_default();
    for step in steps {
        let at = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + step.at);
        // nginx and ingest have the clock of their box, what follows Redis's.
        let after = match step.at.checked_sub(first) {
            Some(after) => format!("+{}", distance(after)),
            None => format!("-{}", distance(first - step.at)),
        };
        output.line(&format!("  {at}  {after:>9}  {}", step.what))?;
        for detail in &step.details {
            output.line(&format!("{INDENT}{detail}"))?;
        }
    }
    Ok(())
}

/// A distance in time, in the unit that shows it best.
fn distance(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..100 => format!("{:.3} s", time.as_secs_f64()),
        s @ 100..3600 => format!("{}m {:02}s", s / 60, s % 60),
        s => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_told_in_its_unit() {
        let check = |ms, expect: &str| assert_eq!(distance(Duration::from_millis(ms)), expect);
        check(0, "0 ms");
        check(999, "999 ms");
        check(1_000, "1.000 s");
        check(99_999, "99.999 s");
        check(125_000, "2m 05s");
        check(7_320_000, "2h 02m");
    }

    #[test]
    fn a_body_s_lines_are_marked() {
        assert_eq!(quoted("<", "a\nb", true), ["< a", "< b", "< …"]);
        assert!(quoted("<", "", false).is_empty());
    }
}
