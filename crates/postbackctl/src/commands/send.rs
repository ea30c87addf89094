//! `send`: one postback through the queue, by the same rules as a request to ingest.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use postback_core::{
    batch::{Source, encode},
    queue::{Enqueue, Queue},
    request::{Limits, Request, RequestErrors, parse},
    value::Row,
};
use serde_json::{json, value::RawValue};

use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// GET, POST, PUT, PATCH, DELETE or HEAD
    method: String,
    /// The URL, with {placeholders}
    url: String,
    /// The row that fills the placeholders, as a JSON object
    #[arg(long, default_value = "{}", value_name = "JSON")]
    row: String,
    /// A header, as `Name: value`; may be given several times
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The body: a JSON object or list, or else a text [default: the row, for POST, PUT and PATCH]
    #[arg(long)]
    body: Option<String>,
    /// The policy, as the JSON object of a request's `policy`
    #[arg(long, default_value = "{}", value_name = "JSON")]
    policy: String,
    /// Only show what would be sent
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl send GET 'https://partner.example/p?id={id}' --row '{\"id\":1}' --dry-run
  postbackctl send POST https://partner.example/p --row '{\"id\":1}' --header 'X-Click: {id}'
  postbackctl send GET https://partner.example/p --policy '{\"ref\":\"8f3a\",\"retries\":[]}'
  postbackctl send POST https://partner.example/p --row '{\"id\":1}' --body 'click {id}'";

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let text = request_text(args)?;
    let limits = Limits { max_rows: 1, unmatched: String::new() };
    let request = parse(text.as_bytes(), &limits).map_err(|errors| anyhow!(all(&errors)))?;
    if args.dry_run { show(&request, output) } else { store(queue, &request, output).await }
}

/// Every fault, each on its line.
fn all(errors: &RequestErrors) -> String {
    let lines: Vec<_> = errors.as_slice().iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The request as a client would post it.
fn request_text(args: &Args) -> anyhow::Result<String> {
    let raw = |what: &str, text: &str| {
        RawValue::from_string(text.to_owned()).with_context(|| format!("{what} is not JSON"))
    };
    let mut headers = serde_json::Map::new();
    for header in &args.headers {
        let (name, value) =
            header.split_once(':').with_context(|| format!("--header `{header}` has no colon"))?;
        if headers.insert(name.trim().into(), value.trim().into()).is_some() {
            bail!("--header `{}` is given twice", name.trim());
        }
    }
    let body = match &args.body {
        Some(text) if text.starts_with(['{', '[']) && raw("--body", text).is_ok() => {
            raw("--body", text)?
        }
        Some(text) => RawValue::from_string(json!(text).to_string())?,
        None => raw("no body", "null")?,
    };
    let endpoint = format!(
        r#"{{"method":{},"url":{},"headers":{},"body":{body}}}"#,
        json!(args.method),
        json!(args.url),
        json!(headers)
    );
    let (row, policy) = (raw("--row", &args.row)?, raw("--policy", &args.policy)?);
    Ok(format!(r#"{{"endpoint":{endpoint},"data":[{row}],"policy":{policy}}}"#))
}

fn show(request: &Request<Vec<Row<'_>>>, output: &mut Output) -> anyhow::Result<bool> {
    let row = request.rows.first().context("the request has no row")?;
    let filled = request.envelope.endpoint.fill(row)?;
    let method = request.envelope.endpoint.template().method;
    let url = request.envelope.endpoint.origin().url(&filled.target);
    if output.is_json() {
        let headers: serde_json::Map<_, _> =
            filled.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        output.document(&json!({
            "method": method, "url": url, "headers": headers,
            "body": filled.body, "unmatched": filled.unmatched,
        }))?;
        return Ok(true);
    }
    output.line(&format!("{method} {url}"))?;
    for (name, value) in &filled.headers {
        output.line(&format!("{name}: {value}"))?;
    }
    if let Some(body) = &filled.body {
        output.line("")?;
        output.line(body)?;
    }
    if !filled.unmatched.is_empty() {
        output.line(&format!("without a value: {}", filled.unmatched.join(", ")))?;
    }
    Ok(true)
}

async fn store(
    queue: &Queue,
    request: &Request<Vec<Row<'_>>>,
    output: &mut Output,
) -> anyhow::Result<bool> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let source = Source {
        request_id: format!("{:032x}", fastrand::u128(..)),
        traceparent: None,
        received_at_ms: since_1970.as_millis() as u64,
        first_row: 0,
        nginx_ms: None,
    };
    let envelope = &request.envelope;
    let batches = encode(envelope.endpoint.template(), &envelope.policy, &source, &request.rows);
    let enqueue = Enqueue {
        lane: envelope.lane,
        name: &envelope.lane_name,
        delay: envelope.delay,
        batches: &batches,
        max_backlog: 0,
    };
    let stored = queue.enqueue(enqueue).await?;
    let id = stored.first().context("redis stored no batch")?.id.postback(0).to_string();
    if output.is_json() {
        output.document(&json!({ "id": id, "request_id": source.request_id }))?;
    } else {
        output.line(&format!("{id}  (see: postbackctl show {id})"))?;
    }
    Ok(true)
}
