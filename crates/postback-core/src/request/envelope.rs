//! The request's `endpoint` and `policy`: each field's type and bounds, and what an absent one means.

use std::time::Duration;

use super::{Limits, MAX_DELAY, MAX_ENVELOPE, MAX_NAMES, RequestError, node::Node};
use crate::{
    endpoint::{BodyTemplate, Endpoint, EndpointTemplate, Method, Unmatched},
    policy::{
        MAX_EXPIRES_IN, MAX_LABEL, MAX_RETRIES, MAX_RETRY, MAX_TIMEOUT, Policy, Success,
        parse_duration,
    },
};

/// The parts of `policy` that belong to the endpoint or to the request.
#[derive(Default)]
struct Terms {
    policy: Policy,
    delay: Duration,
    reference: Option<String>,
    unmatched: Option<Unmatched>,
}

pub(super) fn read(
    endpoint: &Node<'_>,
    policy: Option<&Node<'_>>,
    limits: &Limits,
) -> Result<(Endpoint, Policy, Duration), RequestError> {
    let length = endpoint.json.text().len() + policy.map_or(0, |policy| policy.json.text().len());
    if length > MAX_ENVELOPE {
        return Err(
            endpoint.bad(format_args!("with the policy it is longer than {MAX_ENVELOPE} bytes"))
        );
    }
    let terms = policy.map(terms).transpose()?.unwrap_or_default();
    let [method, url, headers, body] = endpoint.fields(["method", "url", "headers", "body"])?;
    let missing = |name: &str| endpoint.bad(format_args!("`{name}` is missing"));
    let method = self::method(&method.ok_or_else(|| missing("method"))?)?;
    let url = url.ok_or_else(|| missing("url"))?.text()?.into_owned();
    let compiled = Endpoint::compile(EndpointTemplate {
        method,
        url,
        headers: headers.as_ref().map(self::headers).transpose()?.unwrap_or_default(),
        body: self::body(body.as_ref(), method)?,
        reference: terms.reference,
        unmatched: terms.unmatched.unwrap_or_else(|| Unmatched::Text(limits.unmatched.clone())),
    })
    .map_err(|error| RequestError::bad(error.place(), &error))?;
    if compiled.names().len() > MAX_NAMES {
        return Err(endpoint.bad(format_args!("uses more than {MAX_NAMES} names")));
    }
    Ok((compiled, terms.policy, terms.delay))
}

fn method(node: &Node<'_>) -> Result<Method, RequestError> {
    let name = node.text()?;
    let known =
        [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Head];
    let found = known.into_iter().find(|method| method.as_str() == name);
    found.ok_or_else(|| node.bad("must be GET, POST, PUT, PATCH, DELETE or HEAD, in upper case"))
}

fn headers(node: &Node<'_>) -> Result<Vec<(String, String)>, RequestError> {
    let given = node.members()?.into_iter().filter(|(_, value)| !value.is_null());
    given.map(|(name, value)| Ok((name.into_owned(), value.text()?.into_owned()))).collect()
}

fn body(node: Option<&Node<'_>>, method: Method) -> Result<BodyTemplate, RequestError> {
    let Some(node) = node else {
        return Ok(match method {
            Method::Post | Method::Put | Method::Patch => BodyTemplate::Row,
            Method::Get | Method::Delete | Method::Head => BodyTemplate::None,
        });
    };
    match node.json.first() {
        b'"' => Ok(BodyTemplate::Text(node.text()?.into_owned())),
        b'{' | b'[' => {
            // Only to refuse duplicate keys; MAX_ENVELOPE bounds it.
            node.json.cursor().value(&mut usize::MAX.clone()).map_err(|e| node.bad(e))?;
            Ok(BodyTemplate::Json(node.json.compact()))
        }
        _ => Err(node.not("a string, an object or a list")),
    }
}

fn terms(node: &Node<'_>) -> Result<Terms, RequestError> {
    let [unmatched, reference, lane, delay, expires_in, timeout, retries, success] =
        node.fields([
            "unmatched",
            "ref",
            "lane",
            "delay",
            "expires_in",
            "timeout",
            "retries",
            "success",
        ])?;
    let millis = |node: Option<Node<'_>>, most| -> Result<Option<u64>, RequestError> {
        Ok(node.map(|node| duration(&node, most)).transpose()?.map(|time| time.as_millis() as u64))
    };
    let policy = Policy {
        label: lane.as_ref().map(label).transpose()?,
        expires_in_ms: millis(expires_in, MAX_EXPIRES_IN)?,
        timeout_ms: millis(timeout, MAX_TIMEOUT)?,
        retries_ms: retries.as_ref().map(self::retries).transpose()?,
        success: success.as_ref().map(self::success).transpose()?.unwrap_or_default(),
    };
    Ok(Terms {
        policy,
        delay: delay.map(|node| duration(&node, MAX_DELAY)).transpose()?.unwrap_or_default(),
        reference: reference.map(|node| node.text().map(Into::into)).transpose()?,
        unmatched: unmatched.as_ref().map(self::unmatched).transpose()?,
    })
}

fn unmatched(node: &Node<'_>) -> Result<Unmatched, RequestError> {
    if node.json.first() != b'{' {
        return Ok(Unmatched::Text(node.text()?.into_owned()));
    }
    let [reject] = node.fields(["reject"])?;
    match reject.map(|node| node.json.text()) {
        Some("true") => Ok(Unmatched::Reject),
        _ => Err(node.bad("must be a string or {\"reject\": true}")),
    }
}

fn label(node: &Node<'_>) -> Result<String, RequestError> {
    let label = node.text()?.into_owned();
    let good = |b| matches!(b, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'-');
    match (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(good) {
        true => Ok(label),
        false => Err(node.bad("must be 1 to 64 letters, digits, `_`, `.` or `-`")),
    }
}

fn duration(node: &Node<'_>, most: Duration) -> Result<Duration, RequestError> {
    let time = parse_duration(&node.text()?).map_err(|error| node.bad(error))?;
    if time > most {
        return Err(node.bad(format_args!("longer than the {}s allowed", most.as_secs())));
    }
    Ok(time)
}

fn retries(node: &Node<'_>) -> Result<Vec<u64>, RequestError> {
    let waits = node.items()?;
    if waits.len() > MAX_RETRIES {
        return Err(node.bad(format_args!("more than {MAX_RETRIES} retries")));
    }
    waits.iter().map(|wait| Ok(duration(wait, MAX_RETRY)?.as_millis() as u64)).collect()
}

fn success(node: &Node<'_>) -> Result<Success, RequestError> {
    let [status, contains, excludes] = node.fields(["status", "body_contains", "body_excludes"])?;
    let mut success = Success::default();
    if let Some(list) = status {
        success.status = list.items()?.iter().map(statuses).collect::<Result<_, _>>()?;
        if success.status.is_empty() {
            return Err(list.bad("must name at least one status"));
        }
    }
    let text = |node: Option<Node<'_>>| node.map(|node| rule(&node)).transpose();
    (success.body_contains, success.body_excludes) = (text(contains)?, text(excludes)?);
    Ok(success)
}

/// A text that is looked for in a response. Every body contains the empty one: surely a mistake.
fn rule(node: &Node<'_>) -> Result<String, RequestError> {
    match node.text()?.into_owned() {
        text if text.is_empty() => Err(node.bad("must not be empty")),
        text => Ok(text),
    }
}

/// `"200-299"`, `"404"` or 404.
fn statuses(node: &Node<'_>) -> Result<(u16, u16), RequestError> {
    let text = match node.json.first() {
        b'"' => node.text()?,
        _ => node.json.text().into(),
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let number =
        |text: &str| text.parse().ok().filter(|n| text.len() == 3 && (100..=599).contains(n));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(node.bad("must be a status from 100 to 599, or two like \"200-299\"")),
    }
}
