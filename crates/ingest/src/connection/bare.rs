//! What actix-http answers by itself: recognised among the bytes that it writes (it has no hook for them), and said as every
//! other refusal is.

use std::{str, time::Duration};

use actix_web::{
    body::MessageBody,
    http::{StatusCode, header},
};

use crate::{
    problem::Problem,
    trace::{REQUEST_ID, RequestId},
};

const END: &[u8] = b"\r\n\r\n";

/// The head of an answer without a body that is not ours, at the end of what is to be written, and where it begins. Nothing
/// comes after such an answer. All of ours have a request id.
pub(super) fn at_end_of(bytes: &[u8]) -> Option<(usize, &str)> {
    bytes.strip_suffix(END)?;
    let start = bytes.windows(7).rposition(|window| window == b"HTTP/1.")?;
    let head = str::from_utf8(&bytes[start..]).ok()?;
    let is_empty = head.find("\r\n\r\n") == Some(head.len() - END.len())
        && head.lines().any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    let is_ours = head.lines().any(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case(REQUEST_ID))
    });
    let is_refusal = status(head).is_some_and(|s| s.is_client_error() || s.is_server_error());
    (is_empty && is_refusal && !is_ours).then_some((start, head))
}

fn status(head: &str) -> Option<StatusCode> {
    StatusCode::from_bytes(head.split(' ').nth(1)?.as_bytes()).ok()
}

/// The answer that says what this one does not.
pub(super) fn problem_for(head: &str) -> Vec<u8> {
    let status = status(head).unwrap_or(StatusCode::BAD_REQUEST);
    answer(&match status {
        StatusCode::BAD_REQUEST => Problem::bad_request(
            "this is no HTTP request: its first line (64 KiB at most), a header, or the body's length or chunks are wrong",
        ),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let detail = "the head is longer than 64 KiB or has more than 96 headers";
            Problem::new(status, "head_too_large", detail)
        }
        _ => Problem::of_status(status),
    })
}

/// To a client that began a head and did not end it.
pub(super) fn late_head(limit: Duration) -> Vec<u8> {
    let detail = format!("the head took longer than {} s", limit.as_secs());
    answer(&Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail))
}

/// A whole answer, after which the connection is closed.
fn answer(problem: &Problem) -> Vec<u8> {
    let RequestId(id) = RequestId::of(&header::HeaderMap::new());
    log::debug!("request {id}: {problem}");
    let response = problem.respond(&id);
    let status = response.status();
    let body = response.into_body().try_into_bytes().unwrap_or_default();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-length: {}\r\nconnection: close\r\n{REQUEST_ID}: {id}\r\n\
         content-type: application/problem+json\r\n\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\
                        date: Tue, 24 Nov 2026 12:00:00 GMT\r\n\r\n";

    #[test]
    fn a_bare_answer_is_found_at_the_end_and_ours_is_not() {
        let check = |bytes: &str, expect: Option<usize>| {
            let found = at_end_of(bytes.as_bytes()).map(|(start, _)| start);
            assert_eq!(found, expect, "{bytes}");
        };
        let ours = BARE.replace("date: ", "x-request-id: a\r\ndate: ");
        let full = ours.replace("length: 0", "length: 4") + "ok\r\n";
        check(BARE, Some(0));
        check(&BARE.replace("1.1 400", "1.0 431"), Some(0));
        check(&format!("{full}{BARE}"), Some(full.len()));
        check(&format!("{ours}{BARE}"), Some(ours.len()));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        check(&format!("{interim}{BARE}"), Some(interim.len()));
        for bytes in ["", "\r\n\r\n", interim, &ours, &full, &BARE[..BARE.len() - 1]] {
            check(bytes, None);
        }
        check(&BARE.replace("400", "200"), None);
        check(&BARE.replace("length: 0", "length: 1"), None);
        check(&format!("{BARE}{ours}"), None);
    }

    #[test]
    fn it_is_said_as_a_problem_of_its_own_length() {
        let text = String::from_utf8(problem_for(BARE)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let id = body["request_id"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}\r\n")), "{head}");
    }
}
