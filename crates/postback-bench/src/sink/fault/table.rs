//! Every fault of the sink, with its path and its help.

use super::{Again, Fault, Then};

/// Says nothing and closes: what the others are made from, and the end of a connection after `/close-next`.
pub(in crate::sink) const HANG_UP: Fault = Fault {
    name: "hang-up",
    about: "the connection is closed without an answer",
    first: b"",
    again: Again::Times(0, b""),
    last: b"",
    then: Then::Close,
};

/// The head of an answer and of its body: a gzip header (RFC 1952) and the start of one
/// deflate block (RFC 1951) whose codes are so chosen that a zero byte is four copies of 258 zeros.
const BOMB: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 262177\r\n\r\n\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xed\xc0\x81\x00\x00\x00\x00\x80\xa0\xfd\xa9\x17\xa9\x00";
/// The block's end, then the CRC and the length of what it inflates to: 270,533,641 zeros.
const BOMB_END: &[u8] = b"\x06\x92\x7f\x80\x56\x09\x04\x20\x10";

/// All faults; the first segment of a path is the name of one.
pub(in crate::sink) static TABLE: &[Fault] = &[
    Fault {
        name: "hang",
        about: "no answer; the connection stays open",
        then: Then::Stall,
        ..HANG_UP
    },
    Fault {
        name: "reset",
        about: "the request is read, then the connection is reset",
        then: Then::Reset,
        ..HANG_UP
    },
    HANG_UP,
    Fault {
        name: "close",
        about: "200 that promises to keep the connection, which is then closed",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n",
        ..HANG_UP
    },
    Fault {
        name: "reset-next",
        about: "200 that keeps the connection; it is reset as its next request comes, unread",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n",
        then: Then::ResetNext,
        ..HANG_UP
    },
    Fault {
        name: "drip-head",
        about: "200 whose head and body come at 1 byte a second",
        again: Again::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"),
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "drip-body",
        about: "200 whose 60 bytes of body come at 1 byte a second",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n",
        again: Again::Drip(b"drop drop drop drop drop drop drop drop drop drop drop drop\n"),
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "slowbody",
        about: "200, half of the promised body, then nothing more",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf\n",
        then: Then::Stall,
        ..HANG_UP
    },
    Fault {
        name: "cut",
        about: "200, half of the promised body, then the connection is closed",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf\n",
        ..HANG_UP
    },
    Fault {
        name: "surplus",
        about: "200, its body, and more bytes that look like a second answer",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n\
                 HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfalse\n",
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "endless",
        about: "200 with a body that never ends",
        first: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        again: Again::Forever(b"20\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
        ..HANG_UP
    },
    Fault {
        name: "endless-trailers",
        about: "200 with a short body, then trailers that never end",
        first: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nok\n\r\n0\r\n",
        again: Again::Forever(b"x-trailer: more\r\n"),
        ..HANG_UP
    },
    Fault {
        name: "gzip-bomb",
        about: "200 with 256 KiB of gzip that inflate to 258 MiB, asked for or not",
        first: BOMB,
        again: Again::Times(262_144, b"\0"),
        last: BOMB_END,
        then: Then::Keep,
    },
    Fault {
        name: "many-headers",
        about: "200 with 101 headers",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
        again: Again::Times(100, b"x-header: x\r\n"),
        last: b"\r\n",
        then: Then::Keep,
    },
    Fault {
        name: "huge-header",
        about: "200 with one header of 1 MiB",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-header: ",
        again: Again::Times(1024 * 1024, b"x"),
        last: b"\r\n\r\n",
        then: Then::Keep,
    },
    Fault {
        name: "endless-header",
        about: "200 with one header that never ends",
        first: b"HTTP/1.1 200 OK\r\nx-header: ",
        again: Again::Forever(b"x"),
        ..HANG_UP
    },
    Fault {
        name: "continue-flood",
        about: "100 Continue, again and again without end",
        again: Again::Forever(b"HTTP/1.1 100 Continue\r\n\r\n"),
        ..HANG_UP
    },
    Fault {
        name: "garbage",
        about: "bytes that are not HTTP",
        first: b"\x00\xffthis is not HTTP\r\n\r\n",
        ..HANG_UP
    },
    Fault {
        name: "bad-status",
        about: "a status line without a number",
        first: b"HTTP/1.1 twohundred OK\r\ncontent-length: 3\r\n\r\nok\n",
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "bad-length",
        about: "200 with a Content-Length that is no number",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: three\r\n\r\nok\n",
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "two-lengths",
        about: "200 with two Content-Lengths that differ",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nok\nno",
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "length-and-chunked",
        about: "200 with both a Content-Length and chunks, which differ",
        first: b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nok\n\r\n0\r\n\r\n",
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "bad-chunk",
        about: "200 with a chunk whose size is no number",
        first: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nok\n\r\nxyz\r\n",
        then: Then::Keep,
        ..HANG_UP
    },
    Fault {
        name: "huge-chunk",
        about: "200 with a chunk whose size is over 64 bits",
        first: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nok\n\r\n10000000000000003\r\nno\n\r\n0\r\n\r\n",
        then: Then::Keep,
        ..HANG_UP
    },
];
