//! The request's `endpoint` and `policy`: each field's type and bounds, and what an absent one means.

use std::time::Duration;

use super::{
    Limits, MAX_DELAY, MAX_ENVELOPE, MAX_NAMES,
    node::Node,
    problems::{Problem, Problems},
};
use crate::{
    batch::EncodedHead,
    endpoint::{BodyTemplate, Endpoint, EndpointTemplate, Method, Unmatched},
    id::{LaneId, lane_name},
    policy::{
        MAX_EXPIRES_IN, MAX_LABEL, MAX_RETRIES, MAX_RETRY, MAX_TIMEOUT, Policy, Success,
        parse_duration,
    },
};

/// Stands in for a URL that could not be read, so that what is beside it is checked all the same.
const NO_URL: &str = "http://url.invalid/";

/// What a request says beside its rows: what to call, and how.
#[derive(Debug)]
pub struct Envelope {
    /// What to call.
    pub endpoint: Endpoint,
    /// How to deliver.
    pub policy: Policy,
    /// How long the first attempt waits.
    pub delay: Duration,
    /// The lane of its rows.
    pub lane: LaneId,
    /// The lane's name for people ([`lane_name`]).
    pub lane_name: String,
    /// Endpoint and policy as they are stored.
    pub head: EncodedHead,
}

impl Envelope {
    fn new(endpoint: Endpoint, policy: Policy, delay: Duration) -> Envelope {
        let (origin, label) = (endpoint.origin(), policy.label.as_deref());
        Envelope {
            lane: LaneId::of(origin, label),
            lane_name: lane_name(origin, label),
            head: EncodedHead::new(endpoint.template(), &policy),
            endpoint,
            policy,
            delay,
        }
    }
}

/// The parts of `policy` that belong to the endpoint or to the request.
#[derive(Default)]
struct Terms {
    policy: Policy,
    delay: Duration,
    reference: Option<String>,
    unmatched: Option<Unmatched>,
}

/// Reads both and notes what is wrong with them; `None` when rows cannot be tried with what was read. An endpoint
/// that is absent has been noted.
pub(super) fn read(
    endpoint: Option<&Node<'_>>,
    policy: Option<&Node<'_>>,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Envelope> {
    let length = |node: &Node<'_>| node.json.text().len();
    if endpoint.map_or(0, length) + policy.map_or(0, length) > MAX_ENVELOPE {
        let reason = format_args!("endpoint and policy are longer than {MAX_ENVELOPE} bytes");
        problems.add(endpoint.or(policy)?.bad(reason));
        return None;
    }
    let terms = match policy {
        Some(policy) => terms(policy, problems),
        None => Some(Terms::default()),
    };
    let reference = terms.as_ref().and_then(|terms| terms.reference.clone());
    let unmatched = terms.as_ref().and_then(|terms| terms.unmatched.clone());
    let unmatched = unmatched.unwrap_or_else(|| Unmatched::Text(limits.unmatched.clone()));
    let endpoint = self::endpoint(endpoint?, reference, unmatched, problems)?;
    let Terms { policy, delay, .. } = terms?;
    Some(Envelope::new(endpoint, policy, delay))
}

fn endpoint(
    node: &Node<'_>,
    reference: Option<String>,
    unmatched: Unmatched,
    problems: &mut Problems,
) -> Option<Endpoint> {
    let before = problems.len();
    let [method, url, headers, body] =
        node.fields(["method", "url", "headers", "body"], problems)?;
    let method = node.required("method", method, problems);
    let method = problems.read(method.as_ref(), self::method).unwrap_or(Method::Get);
    let url = node.required("url", url, problems);
    let template = EndpointTemplate {
        method,
        url: problems.read(url.as_ref(), text).unwrap_or_else(|| NO_URL.to_owned()),
        headers: headers.as_ref().map(|node| self::headers(node, problems)).unwrap_or_default(),
        body: problems.note(self::body(body.as_ref(), method)).unwrap_or(BodyTemplate::None),
        reference,
        unmatched,
    };
    let compiled = Endpoint::compile_all(template).map_err(|faults| {
        let mut nodes: Vec<_> = url.into_iter().chain(body).collect();
        let headers = headers.and_then(|node| node.members().ok()).unwrap_or_default();
        nodes.extend(headers.into_iter().map(|(_, node)| node));
        for fault in faults {
            let at = nodes.iter().find(|node| node.place == fault.place()).unwrap_or(node);
            problems.add(Problem::new(at.json.text().as_ptr(), fault.place(), &fault));
        }
    });
    let compiled = compiled.ok()?;
    if compiled.names().len() > MAX_NAMES {
        problems.add(node.bad(format_args!("uses more than {MAX_NAMES} names")));
    }
    (problems.len() == before).then_some(compiled)
}

fn text(node: &Node<'_>) -> Result<String, Problem> {
    Ok(node.text()?.into_owned())
}

fn method(node: &Node<'_>) -> Result<Method, Problem> {
    let name = node.text()?;
    let known =
        [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Head];
    let found = known.into_iter().find(|method| method.as_str() == name);
    found.ok_or_else(|| node.bad("must be GET, POST, PUT, PATCH, DELETE or HEAD, in upper case"))
}

fn headers(node: &Node<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let members = problems.note(node.members()).unwrap_or_default();
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    given
        .filter_map(|(name, value)| Some((name.into_owned(), problems.note(text(&value))?)))
        .collect()
}

fn body(node: Option<&Node<'_>>, method: Method) -> Result<BodyTemplate, Problem> {
    let Some(node) = node else {
        return Ok(match method {
            Method::Post | Method::Put | Method::Patch => BodyTemplate::Row,
            Method::Get | Method::Delete | Method::Head => BodyTemplate::None,
        });
    };
    match node.json.first() {
        b'"' => Ok(BodyTemplate::Text(text(node)?)),
        b'{' | b'[' => {
            // Only to refuse duplicate keys; MAX_ENVELOPE bounds it.
            node.json.cursor().value(&mut usize::MAX.clone()).map_err(|e| node.bad(e))?;
            Ok(BodyTemplate::Json(node.json.compact()))
        }
        _ => Err(node.not("a string, an object or a list")),
    }
}

/// The policy as far as it can be read; `None` when it is not known what becomes of unmatched names, so that rows
/// cannot be judged.
fn terms(node: &Node<'_>, problems: &mut Problems) -> Option<Terms> {
    let names =
        ["unmatched", "ref", "lane", "delay", "expires_in", "timeout", "retries", "success"];
    let [unmatched, reference, lane, delay, expires_in, timeout, retries, success] =
        node.fields(names, problems)?;
    let policy = Policy {
        label: problems.read(lane.as_ref(), label),
        expires_in_ms: problems.read(expires_in.as_ref(), |node| millis(node, MAX_EXPIRES_IN)),
        timeout_ms: problems.read(timeout.as_ref(), |node| millis(node, MAX_TIMEOUT)),
        retries_ms: retries.and_then(|node| self::retries(&node, problems)),
        success: success.map(|node| self::success(&node, problems)).unwrap_or_default(),
    };
    let delay = problems.read(delay.as_ref(), |node| duration(node, MAX_DELAY));
    let reference = problems.read(reference.as_ref(), text);
    let unmatched = match &unmatched {
        Some(node) => Some(self::unmatched(node, problems)?),
        None => None,
    };
    Some(Terms { policy, delay: delay.unwrap_or_default(), reference, unmatched })
}

fn unmatched(node: &Node<'_>, problems: &mut Problems) -> Option<Unmatched> {
    let wrong = || node.bad("must be a string or {\"reject\": true}");
    match node.json.first() {
        b'"' => problems.note(text(node)).map(Unmatched::Text),
        b'{' => {
            let [reject] = node.fields(["reject"], problems)?;
            let said = reject.filter(|node| node.json.text() == "true").ok_or_else(wrong);
            problems.note(said).map(|_| Unmatched::Reject)
        }
        _ => problems.note(Err(node.not("a string or {\"reject\": true}"))),
    }
}

fn label(node: &Node<'_>) -> Result<String, Problem> {
    let label = text(node)?;
    let good = |b| matches!(b, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'-');
    match (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(good) {
        true => Ok(label),
        false => Err(node.bad("must be 1 to 64 letters, digits, `_`, `.` or `-`")),
    }
}

fn duration(node: &Node<'_>, most: Duration) -> Result<Duration, Problem> {
    let time = parse_duration(&node.text()?).map_err(|error| node.bad(error))?;
    if time > most {
        return Err(node.bad(format_args!("longer than the {}s allowed", most.as_secs())));
    }
    Ok(time)
}

fn millis(node: &Node<'_>, most: Duration) -> Result<u64, Problem> {
    Ok(duration(node, most)?.as_millis() as u64)
}

fn retries(node: &Node<'_>, problems: &mut Problems) -> Option<Vec<u64>> {
    let waits = problems.note(node.items())?;
    if waits.len() > MAX_RETRIES {
        problems.add(node.bad(format_args!("more than {MAX_RETRIES} retries")));
        return None;
    }
    let mut read = |wait| problems.note(millis(wait, MAX_RETRY));
    Some(waits.iter().filter_map(&mut read).collect())
}

fn success(node: &Node<'_>, problems: &mut Problems) -> Success {
    let mut success = Success::default();
    let fields = node.fields(["status", "body_contains", "body_excludes"], problems);
    let Some([status, contains, excludes]) = fields else { return success };
    if let Some(list) = status
        && let Some(items) = problems.note(list.items())
    {
        if items.is_empty() {
            problems.add(list.bad("must name at least one status"));
        }
        let mut read = |item| problems.note(statuses(item));
        success.status = items.iter().filter_map(&mut read).collect();
    }
    success.body_contains = problems.read(contains.as_ref(), rule);
    success.body_excludes = problems.read(excludes.as_ref(), rule);
    success
}

/// A text that is looked for in a response. Every body contains the empty one: surely a mistake.
fn rule(node: &Node<'_>) -> Result<String, Problem> {
    match text(node)? {
        text if text.is_empty() => Err(node.bad("must not be empty")),
        text => Ok(text),
    }
}

/// `"200-299"`, `"404"` or 404.
fn statuses(node: &Node<'_>) -> Result<(u16, u16), Problem> {
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
