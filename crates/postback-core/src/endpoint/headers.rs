//! Which headers an endpoint may set, and what its `Content-Type` means for the body.

use std::collections::HashSet;

use thiserror::Error;

use super::{EndpointError, MAX_HEADERS};
use crate::template::{Encoding, Names, TextTemplate};

/// Headers that concern one connection, or that deliver writes itself.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const RESERVED_PREFIXES: [&str; 2] = ["proxy-", "webhook-"];

/// Why a header may not be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The name is no token (RFC 9110, section 5.6.2).
    #[error("not a header name: it must be letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    /// It belongs to the connection or to deliver.
    #[error("may not be set: it concerns the connection, or deliver writes it")]
    Reserved,
    /// Its name was there already.
    #[error("is given twice: header names do not differ by upper and lower case")]
    Duplicate,
    /// The value has a control character, CR and LF among them.
    #[error("must not hold control characters")]
    Control,
    /// More than [`MAX_HEADERS`].
    #[error("more than {MAX_HEADERS} headers")]
    TooMany,
}

/// Checks the headers and reads their values; each fault comes with its place.
pub(super) fn compile(
    headers: &[(String, String)],
    names: &mut Names,
    faults: &mut Vec<EndpointError>,
) -> Vec<TextTemplate> {
    if headers.len() > MAX_HEADERS {
        faults.push(EndpointError::at("endpoint.headers", HeaderError::TooMany));
        return vec![];
    }
    let mut seen = HashSet::new();
    let mut values = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        match check(name, value, &mut seen) {
            Ok(()) => values.push(TextTemplate::parse(value, Encoding::Raw, names)),
            Err(error) => {
                faults.push(EndpointError::at(format!("endpoint.headers.{name}"), error));
            }
        }
    }
    values
}

fn check(name: &str, value: &str, seen: &mut HashSet<String>) -> Result<(), HeaderError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(HeaderError::Name);
    }
    let name = name.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|p| name.starts_with(p)) {
        return Err(HeaderError::Reserved);
    }
    if has_control(value) {
        return Err(HeaderError::Control);
    }
    if seen.insert(name) { Ok(()) } else { Err(HeaderError::Duplicate) }
}

/// Whether a value holds what no header's may: an ASCII control character.
pub(super) fn has_control(value: &str) -> bool {
    value.bytes().any(|byte| byte.is_ascii_control())
}

/// The value template of the `Content-Type` that the user gave.
pub(super) fn content_type(headers: &[(String, String)]) -> Option<&str> {
    let mut given = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    given.next().map(|(_, value)| value.as_str())
}

/// How values are written into a text body of this content type.
pub(super) fn encoding(content_type: &str) -> Encoding {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => Encoding::Form,
        "application/json" | "text/json" => Encoding::Json,
        other if other.ends_with("+json") => Encoding::Json,
        _ => Encoding::Raw,
    }
}
