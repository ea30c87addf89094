//! Looking for a ref or a request id in a stored batch without taking its rows apart.

use std::borrow::Cow;

use super::{Batch, PREFIX, decompress};
use crate::{endpoint::EndpointTemplate, needle::Needle};

impl Batch {
    /// Whether a row of a stored batch may have this ref or request id; what cannot be read may not.
    pub(crate) fn may_have(bytes: &[u8], needle: &Needle) -> bool {
        let Some((prefix, content)) = bytes.split_at_checked(PREFIX) else { return false };
        let plain = match u32::from_be_bytes([prefix[3], prefix[4], prefix[5], prefix[6]]) {
            0 => Some(Cow::Borrowed(content)),
            length => decompress(content, length as usize).map(Cow::Owned),
        };
        plain.is_some_and(|plain| needle.may_come_of(&plain) || is_composed(&plain))
    }

    /// The rows that have this ref or request id.
    pub(crate) fn rows_with(&self, text: &str) -> Vec<u16> {
        let has_reference = |row: u16| {
            let reference = self.row(row).ok().map(|values| self.endpoint.reference(&values));
            matches!(reference, Some(Ok(Some(reference))) if reference == text)
        };
        let has = |row: &u16| self.source(*row).request_id == text || has_reference(*row);
        (0..self.len()).filter(has).collect()
    }
}

/// Whether a ref is more than one placeholder's value, fallback or prefix, so that it stands nowhere as it is. The head
/// begins with the endpoint in every version.
fn is_composed(plain: &[u8]) -> bool {
    let Ok((endpoint, _)) = postcard::take_from_bytes::<EndpointTemplate>(plain) else {
        return false;
    };
    endpoint.reference.is_some_and(|reference| {
        let inner = reference.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        // Without a placeholder it stands in the endpoint as it is.
        reference.contains(['{', '}']) && inner.is_none_or(|inner| inner.contains(['{', '}']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::{Source, encode},
        request::{Limits, parse},
    };

    /// A batch whose rows have `x`, with this ref.
    fn stored(reference: &str, rows: &str) -> Vec<u8> {
        let reference = serde_json::to_string(reference).unwrap();
        let body = format!(
            r#"{{"endpoint":{{"method":"GET","url":"http://a.com/"}},"policy":{{"ref":{reference}}},"data":[{rows}]}}"#
        );
        let request =
            parse(body.as_bytes(), &Limits { max_rows: 300, unmatched: "none".into() }).unwrap();
        let source = Source {
            request_id: "request-1".into(),
            traceparent: None,
            received_at_ms: 1,
            first_row: 0,
            nginx_ms: None,
        };
        let batches = encode(
            request.envelope.endpoint.template(),
            &request.envelope.policy,
            &source,
            &request.rows,
        );
        batches.into_iter().next().unwrap().bytes
    }

    #[test]
    fn a_row_is_found_by_its_whole_ref_however_it_came_about() {
        let check = |reference: &str, rows: &str, text: &str, expect: &[u16]| {
            let bytes = stored(reference, rows);
            let found = Batch::decode(&bytes).unwrap().rows_with(text);
            assert_eq!(found, expect, "{reference} {rows} {text}");
            assert!(Batch::may_have(&bytes, &Needle::new(text)) || expect.is_empty(), "{text}");
        };
        check("{x}", r#"{"x":"click-1"},{"x":"click-2"}"#, "click-2", &[1]);
        check("{x}", r#"{"x":"click-1"},{"x":"click-2"}"#, "click", &[]);
        check("{x}", r#"{"x":1.10},{"x":true}"#, "1.10", &[0]);
        check("{x:5}", r#"{"x":"click-1"}"#, "click", &[0]);
        check("{x|no click}", r#"{"x":null},{"x":"a"}"#, "no click", &[0]);
        check("{x}", r#"{"x":null},{"x":"a"}"#, "none", &[0]);
        check("{x}", r#"{"x":["a","b"]}"#, "a,b", &[0]);
        check("{x*}", r#"{"x":{"a":"b"}}"#, "a=b", &[0]);
        check("{x}-{y}", r#"{"x":"a","y":"b"},{"x":"b","y":"a"}"#, "b-a", &[1]);
        check("id {x}", r#"{"x":"a"}"#, "id a", &[0]);
        check("{{x}}", r#"{"x":"a"}"#, "{x}", &[0]);
        check("all alike", r#"{"x":"a"},{"x":"b"}"#, "all alike", &[0, 1]);
        check("{x}", r#"{"x":"a"},{"x":"b"}"#, "request-1", &[0, 1]);
        check("é{x}", r#"{"x":"😀"}"#, "é😀", &[0]);
    }

    #[test]
    fn what_is_certainly_not_asked_for_is_not_taken_apart() {
        let rows = (0..256).map(|n| format!(r#"{{"x":"click-{n:03}"}}"#)).collect::<Vec<_>>();
        let bytes = stored("{x}", &rows.join(","));
        assert!(Batch::may_have(&bytes, &Needle::new("click-255")));
        assert!(!Batch::may_have(&bytes, &Needle::new("click-256")));
        for cut in 0..bytes.len() {
            Batch::may_have(&bytes[..cut], &Needle::new("click-255"));
        }
    }
}
