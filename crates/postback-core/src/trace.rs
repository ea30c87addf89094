//! The W3C trace context of an attempt: the request's trace continued, or one started from the request's id.
//!
//! Nothing of it is drawn by lot, so that nothing of it needs storing: deliver sends, and the pages show later, what the
//! same request id, postback and attempt always give. Reading a client's `traceparent` is ingest's.

use sha2::{Digest, Sha256};

/// Characters of a `traceparent`.
const LENGTH: usize = 55;
/// A `traceparent` up to its span: version and trace id, each with a dash.
const HEAD: usize = 36;
/// Flags that are passed on: sampled, and random trace id (W3C Trace Context, level 2); the others must be sent as 0.
const FLAGS: u8 = 0b11;
/// The flags of a trace started here: sampled.
const STARTED: u8 = 1;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The `traceparent` that an attempt sends. `given`: the request's own, as ingest stored it; `postback`: the postback's
/// id; `at_ms`: when the attempt began, as the log has it.
///
/// All postbacks of a request are in one trace: the given one, else the one whose id is the request id where that is
/// 32 hex digits, else the first half of its SHA-256. Each attempt is a span of its own, one that follows a replay or a
/// crash with the same number too.
pub fn traceparent(
    given: Option<&str>,
    request_id: &str,
    postback: &str,
    attempt: u8,
    at_ms: u64,
) -> String {
    let given = given.filter(|text| text.len() == LENGTH && text.is_ascii());
    let flags = given.map_or(STARTED, |text| {
        FLAGS & u8::from_str_radix(&text[LENGTH - 2..], 16).unwrap_or_default()
    });
    let mut out = Vec::with_capacity(LENGTH);
    match given {
        Some(text) => out.extend_from_slice(&text.as_bytes()[..HEAD]),
        None => {
            out.extend_from_slice(b"00-");
            push_trace_id(&mut out, request_id.as_bytes());
            out.push(b'-');
        }
    }
    let span = Sha256::new()
        .chain_update(postback)
        .chain_update([attempt])
        .chain_update(at_ms.to_be_bytes())
        .finalize();
    push_hex(&mut out, &span[..8]);
    out.push(b'-');
    push_hex(&mut out, &[flags]);
    String::from_utf8(out).unwrap_or_default() // ASCII
}

fn push_trace_id(out: &mut Vec<u8>, request_id: &[u8]) {
    let is_one = request_id.len() == 32
        && request_id.iter().all(u8::is_ascii_hexdigit)
        && request_id.iter().any(|b| *b != b'0');
    if is_one {
        out.extend(request_id.iter().map(u8::to_ascii_lowercase));
    } else {
        push_hex(out, &Sha256::digest(request_id)[..16]);
    }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(
        bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const REQUEST: &str = "0af7651916cd43dd8448eb211c80319c";

    fn trace(given: Option<&str>, request_id: &str) -> String {
        traceparent(given, request_id, "b-0", 1, 5)
    }

    #[test]
    fn a_trace_is_continued_with_a_span_of_its_own_and_its_flags() {
        let check = |flags: &str, expect: &str| {
            let given = format!("{}{flags}", &GIVEN[..53]);
            let sent = trace(Some(&given), REQUEST);
            assert_eq!((&sent[..36], &sent[52..]), (&GIVEN[..36], &*format!("-{expect}")));
            assert_ne!(sent[36..52], GIVEN[36..52]);
        };
        check("00", "00");
        check("01", "01");
        check("02", "02");
        check("ff", "03");
    }

    #[test]
    fn a_trace_is_started_from_the_request_id() {
        let check = |request_id: &str, expect: &str| {
            assert_eq!(trace(None, request_id)[..36], format!("00-{expect}-"), "{request_id}");
        };
        check(REQUEST, REQUEST);
        check(&REQUEST.to_uppercase(), REQUEST);
        // printf '' | sha256sum, and so on.
        check("", "e3b0c44298fc1c149afbf4c8996fb924");
        check("abc", "ba7816bf8f01cfea414140de5dae2223");
        check(&"0".repeat(32), "84e0c0eafaa95a34c293f278ac52e45c");
        assert_eq!(&trace(None, REQUEST)[52..], "-01");
        // What is no traceparent starts one too.
        for bad in ["", "00-", &GIVEN[..54], &format!("{}é", &GIVEN[..53])] {
            assert_eq!(trace(Some(bad), REQUEST), trace(None, REQUEST), "{bad}");
        }
    }

    #[test]
    fn every_attempt_is_a_span_and_the_same_one_each_time() {
        let span = |id, attempt, at_ms| traceparent(None, REQUEST, id, attempt, at_ms);
        let spans = [("b-0", 1, 5), ("b-1", 1, 5), ("b-0", 2, 5), ("b-0", 1, 6)];
        for (n, (id, attempt, at_ms)) in spans.into_iter().enumerate() {
            assert_eq!(span(id, attempt, at_ms), span(id, attempt, at_ms));
            for (id2, attempt2, at_ms2) in spans.into_iter().skip(n + 1) {
                assert_ne!(span(id, attempt, at_ms), span(id2, attempt2, at_ms2));
            }
        }
    }
}
