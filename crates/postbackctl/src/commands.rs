//! One file for each command, and what several of them print.

use postback_core::view::{Postback, Standing};

use crate::output::Output;

pub(crate) mod dead;
mod filter;
pub(crate) mod find;
pub(crate) mod hosts;
pub(crate) mod limit;
pub(crate) mod pause;
pub(crate) mod revise;
pub(crate) mod send;
pub(crate) mod show;
pub(crate) mod status;

/// Prints a postback with its attempts.
pub(crate) fn print_postback(postback: &Postback, output: &mut Output) -> anyhow::Result<()> {
    let cause = postback.cause.map(|cause| format!(", cause {cause}")).unwrap_or_default();
    output.line(&format!("{}  {}{cause}", postback.id, postback.state.as_str()))?;
    match postback.method {
        Some(method) => output.line(&format!("  {method} {}", postback.url))?,
        None => output.line("  its stored batch cannot be read")?,
    }
    let reference = postback.reference.as_deref().unwrap_or("-");
    output.line(&format!("  ref {reference}  request {}", postback.request_id))?;
    output.line(&format!("  accepted {}", postback.accepted_at))?;
    if !postback.unmatched.is_empty() {
        output.line(&format!("  without a value: {}", postback.unmatched.join(", ")))?;
    }
    for attempt in &postback.attempts {
        let what = match (attempt.status, &attempt.error) {
            (Some(status), None) => status.to_string(),
            (Some(status), Some(error)) => format!("{status} ({error})"),
            (None, error) => error.clone().unwrap_or_else(|| "no answer".into()),
        };
        output.line(&format!("  {}  {what}  {:.1} ms", attempt.at, attempt.response_time_ms))?;
        if let Some(body) = attempt.response_body.as_ref().filter(|body| !body.is_empty()) {
            let more = if attempt.truncated { " …" } else { "" };
            output.line(&format!("    {body}{more}"))?;
        }
    }
    match (&postback.due_at, postback.state) {
        (Some(due), Standing::Pending) => output.line(&format!("  next attempt {due}")),
        (None, Standing::Pending) if postback.attempts.is_empty() => output.line("  not tried yet"),
        _ => Ok(()),
    }
}
