//! Error texts without what differs from one occurrence of the same trouble to the next.

use std::net::{IpAddr, SocketAddr};

use crate::inert::moves;

/// So much of a text is looked at, in bytes, and so much is kept, in characters.
const LOOKED_AT: usize = 1024;
const KEPT: usize = 200;

/// Appends the text with `#` for each number, duration, address, port and id, and `…` for what is in quotes.
///
/// What stays is what people know a trouble by: words, and the system's error number (`os error 111`).
pub fn plain(text: &str, into: &mut String) {
    let room = into.chars().count() + KEPT;
    let end = (0..=LOOKED_AT.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let mut rest = &text[..end.unwrap_or_default()];
    let mut before = None;
    let begin = into.len();
    while let Some(c) = rest.chars().next() {
        if let Some(length) = quoted(rest, before) {
            into.push(c);
            into.push('…');
            into.push(c);
            rest = &rest[length..];
            before = Some(c);
            continue;
        }
        let length = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
        if length == 0 {
            // What would move a cursor tells nobody anything, and pages and forms could not carry it.
            into.push(if moves(c) { '#' } else { c });
            rest = &rest[c.len_utf8()..];
            before = Some(c);
            continue;
        }
        let (run, later) = rest.split_at(length);
        let is_error_number = into[begin..].ends_with("os error ");
        if is_error_number {
            into.push_str(run)
        } else {
            word(run, into)
        }
        before = run.chars().next_back();
        rest = later;
    }
    if let Some((end, _)) = into.char_indices().nth(room) {
        into.truncate(end);
        into.push('…');
    }
}

/// How long the quoted part is that begins here, its quotes included. An apostrophe within a word begins none.
fn quoted(text: &str, before: Option<char>) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    if before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    Some(text[1..].find(quote)? + 2)
}

/// What numbers, addresses and ids are made of.
fn of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '[' | ']' | '/' | '%' | '+')
}

fn word(run: &str, into: &mut String) {
    if !run.bytes().any(|byte| byte.is_ascii_digit()) && !is_address(run) {
        return into.push_str(run);
    }
    let core = run.trim_end_matches(['.', ':', '-', '/']);
    if is_address(core) {
        into.push('#');
    } else {
        // Addresses and ids come with other words: `10.0.0.1:80:`, `a.com/8f3a-1`.
        for part in core.split_inclusive(['/', ':', '[', ']']) {
            let bare = part.trim_end_matches(['/', ':', '[', ']']);
            bare_word(bare, into);
            into.push_str(&part[bare.len()..]);
        }
    }
    into.push_str(&run[core.len()..]);
}

fn is_address(word: &str) -> bool {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    word.len() > 1 && (bare.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok())
}

fn bare_word(word: &str, into: &mut String) {
    if is_address(word) || is_number(word) || is_id(word) {
        return into.push('#');
    }
    let mut in_digits = false;
    for c in word.chars() {
        let is_digit = c.is_ascii_digit();
        if !is_digit {
            into.push(c);
        } else if !in_digits {
            into.push('#');
        }
        in_digits = is_digit;
    }
}

/// A number, with its unit or without: `10`, `1.5s`, `250ms`, `64KiB`, `1m30s`.
fn is_number(word: &str) -> bool {
    const UNITS: [&str; 18] = [
        "", "ns", "us", "µs", "ms", "s", "m", "h", "d", "B", "kB", "KB", "MB", "GB", "KiB", "MiB",
        "GiB", "%",
    ];
    let mut rest = word.trim_start_matches(['-', '+']);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        if digits == 0 || !UNITS.contains(&&unit[..end]) {
            return false;
        }
        rest = &unit[end..];
    }
    !word.is_empty()
}

/// A UUID, hexadecimal digits, or another long word with digits in it that nobody would have chosen.
fn is_id(word: &str) -> bool {
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    has_digit
        && ((hex.len() >= 4 && hex.bytes().all(is_hex))
            || (word.len() >= 20 && word.bytes().all(is_token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_within_one_trouble_is_left_out() {
        let check = |text: &str, expect: &str| {
            let mut made = String::new();
            plain(text, &mut made);
            assert_eq!(made, expect, "{text}");
        };
        check("timeout: no answer within 10s", "timeout: no answer within #");
        check("timeout: no answer within 1.5s", "timeout: no answer within #");
        check(
            "connect: connection refused (os error 111)",
            "connect: connection refused (os error 111)",
        );
        check(
            "connect: 10.1.2.3:8080: connection refused (os error 111), [2001:db8::1]:80: no answer within 5s",
            "connect: #: connection refused (os error 111), #: no answer within #",
        );
        check("dns: a7.example.com does not resolve", "dns: a#.example.com does not resolve");
        check("blocked: 192.168.0.7 is private", "blocked: # is private");
        check("blocked: ::1 is not allowed", "blocked: # is not allowed");
        check("blocked: fe80::1: link-local", "blocked: #: link-local");
        check("port 6379 of a.com:6379", "port # of a.com:#");
        check(
            "tls: error:0A000086:SSL routines::certificate verify failed:s.c:1889:",
            "tls: error:#:SSL routines::certificate verify failed:s.c:#:",
        );
        check(
            "no row 'a b' in \"x\" for `y`, it can't be",
            "no row '…' in \"…\" for `…`, it can't be",
        );
        check("row 8f3a-77 of 550e8400-e29b-41d4-a716-446655440000", "row # of #");
        check("worker 0x7ffe and 64KiB, 1m30s, 99%, -4", "worker # and #, #, #, #");
        check("batch abcDEF0123456789_-xyzW is gone", "batch # is gone");
        check("cannot read an unterminated 'thing", "cannot read an unterminated 'thing");
        check("a\u{1b}[2Jb\r\n\u{202e}c", "a#[#Jb###c");
        check("", "");
        check("größe 7 – ok", "größe # – ok");
    }

    #[test]
    fn a_text_of_any_length_is_cut() {
        let mut made = String::from("x");
        plain(&"é ".repeat(10_000), &mut made);
        assert_eq!(made.chars().count(), 1 + KEPT + 1);
        assert!(made.ends_with('…'));
    }
}
