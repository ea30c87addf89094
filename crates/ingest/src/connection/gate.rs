//! How much of what a client sent may go on to actix-http: one request at a time. It decodes all that it has, thousands of
//! pipelined requests at a time, and then answers each as if it were the last one decoded: without a body where that is
//! HEAD, with `Connection: close` where that asks for it.

/// What may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// All up to the empty line that ends a head. Nothing else of a head is understood here.
    Head(Line),
    /// So many bytes of a body.
    Body(u64),
    /// All: a body whose end only actix-http finds.
    Open,
    /// Nothing: there is a request to answer first.
    Shut,
}

/// How far a line of a head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// No head yet: empty lines before it are none of it (RFC 9112, 2.2).
    Before,
    Begun,
    /// With nothing in it so far, or with a CR alone.
    Empty,
}

impl Gate {
    /// Before the first byte of a request.
    pub(super) const NEXT: Gate = Gate::Head(Line::Before);

    /// How many of these bytes pass; the rest is for later.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        match self {
            Gate::Head(_) => self.pass_head(bytes),
            Gate::Body(left) => {
                let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= passed as u64;
                passed
            }
            Gate::Open => bytes.len(),
            Gate::Shut => 0,
        }
    }

    fn pass_head(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            let Gate::Head(line) = self else { return at };
            *line = match (*line, byte) {
                (Line::Before, b'\r' | b'\n') => Line::Before,
                (Line::Empty, b'\r') => Line::Empty,
                (Line::Empty, b'\n') => {
                    *self = Gate::Shut;
                    return at + 1;
                }
                (Line::Begun, b'\n') => Line::Empty,
                _ => Line::Begun,
            };
        }
        bytes.len()
    }

    /// Whether nothing passes now.
    pub(super) fn is_shut(self) -> bool {
        matches!(self, Gate::Shut | Gate::Body(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_passes_to_its_empty_line_in_any_pieces() {
        let check = |head: &str, rest: &str| {
            let bytes = [head, rest].concat().into_bytes();
            for size in 1..=bytes.len() {
                let (mut gate, mut passed) = (Gate::NEXT, 0);
                for piece in bytes.chunks(size) {
                    passed += gate.pass(piece);
                }
                assert_eq!(passed, head.len(), "{head:?} in pieces of {size}");
                assert_eq!(gate.is_shut(), !rest.is_empty(), "{head:?} in pieces of {size}");
            }
        };
        for head in
            ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\n\n", "A\n\r\n", "A\r\n\n"]
        {
            for before in ["", "\r\n", "\n\n\r\n"] {
                check(&format!("{before}{head}"), "\r\nGET / HTTP/1.1\r\n\r\n");
                check(&format!("{before}{head}"), "x");
            }
        }
        check("GET / HTTP/1.1\r\nHost: x\r\n", "");
        check("\r\n\r\n\n", "");
    }

    #[test]
    fn a_body_passes_to_its_length() {
        let mut gate = Gate::Body(5);
        assert_eq!((gate.pass(b"abc"), gate.pass(b"defg"), gate.pass(b"h")), (3, 2, 0));
        assert!(gate.is_shut());
        assert_eq!(Gate::Open.pass(b"abc"), 3);
        assert_eq!(Gate::Shut.pass(b"abc"), 0);
    }
}
