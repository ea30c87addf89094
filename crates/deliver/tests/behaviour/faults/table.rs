//! The table: what becomes of each fault (DESIGN, delivery rules).

use postback_core::attempt::Cause::{Protocol, Reset, Rule, Status, Timeout};

use super::{
    Kept::{Any, CutAfter, Is, Of},
    Takes::{AtMost, Whole},
    case, check,
};

const OK: &[Option<u16>] = &[Some(200)];
const NONE: &[Option<u16>] = &[None];

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_time_out_and_frees_the_slot() {
    check(&[
        case("/hang").dead(&[Timeout], NONE).takes(Whole),
        case("/hang").post().retries(&[20]).dead(&[Timeout], &[None, None]).takes(Whole),
        case("/drip-head").dead(&[Timeout], NONE).takes(Whole),
        // The status stands; whether the body satisfies a rule cannot be known.
        case("/drip-body").delivered(OK, Any).takes(Whole),
        case("/drip-body").rule("drop").dead(&[Timeout], OK).takes(Whole),
        case("/slowbody").delivered(OK, Any).takes(Whole),
        case("/slowbody").rule("half").dead(&[Timeout], OK).takes(Whole),
        // The flood ends by the bound on what is read.
        case("/continue-flood").dead(&[Protocol], NONE).takes(AtMost),
    ])
    .await;
}

#[tokio::test]
async fn a_body_is_read_to_64_kib_and_kept_to_1_kib_as_it_came() {
    check(&[
        case("/body/length/1024").delivered(OK, Of(1024, 'x', false)),
        case("/body/length/1025").delivered(OK, Of(1024, 'x', true)),
        case("/body/large").delivered(OK, CutAfter("xéé")),
        case("/endless").delivered(OK, Of(1024, 'x', true)),
        case("/endless").rule("xxxx").delivered(OK, Of(1024, 'x', true)),
        case("/endless").rule("y").dead(&[Rule], OK),
        // Not inflated: what is kept is gzip.
        case("/gzip-bomb").delivered(OK, CutAfter("\u{1f}\u{fffd}\u{8}\0")),
        case("/gzip-bomb").rule("\0\0\0\0").delivered(OK, CutAfter("\u{1f}\u{fffd}\u{8}\0")),
    ])
    .await;
}

#[tokio::test]
async fn broken_http_is_protocol_and_a_broken_body_matters_to_rules_only() {
    check(&[
        case("/garbage").dead(&[Protocol], NONE),
        case("/garbage").post().retries(&[20]).dead(&[Protocol], &[None, None]),
        case("/bad-status").dead(&[Protocol], NONE),
        case("/bad-length").dead(&[Protocol], NONE),
        case("/two-lengths").dead(&[Protocol], NONE),
        case("/many-headers").dead(&[Protocol], NONE),
        case("/huge-header").dead(&[Protocol], NONE),
        case("/endless-header").dead(&[Protocol], NONE),
        case("/bad-chunk").delivered(OK, CutAfter("ok\n")),
        case("/bad-chunk").rule("ok").dead(&[Protocol], OK),
        case("/huge-chunk").delivered(OK, CutAfter("ok\n")),
        case("/huge-chunk").rule("ok").dead(&[Protocol], OK),
        case("/endless-trailers").delivered(OK, CutAfter("ok\n")),
        case("/endless-trailers").rule("ok").dead(&[Protocol], OK),
        // Chunks win over a length (RFC 9112, 6.3).
        case("/length-and-chunked").rule("ok").delivered(OK, Is("ok\n")),
    ])
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_reset_and_surplus_bytes_answer_nobody() {
    check(&[
        case("/reset").dead(&[Reset], NONE),
        case("/reset").post().retries(&[20]).dead(&[Reset], &[None, None]),
        case("/hang-up").dead(&[Reset], NONE),
        case("/hang-up").post().retries(&[20]).dead(&[Reset], &[None, None]),
        case("/close").delivered(OK, Is("ok\n")),
        case("/cut").delivered(OK, CutAfter("half\n")),
        case("/cut").rule("half").dead(&[Reset], OK),
        case("/surplus").delivered(OK, Is("ok\n")),
        case("/surplus").rule("ok").delivered(OK, Is("ok\n")),
        case("/surplus").post().delivered(OK, Is("ok\n")),
        case("/surplus").head().delivered(OK, Is("")),
    ])
    .await;
}

#[tokio::test]
async fn the_status_decides_whether_a_row_is_tried_again() {
    const TWICE: &[u64] = &[20, 20];
    check(&[
        case("/status/204").delivered(&[Some(204)], Is("")),
        case("/status/404").retries(TWICE).dead(&[Status], &[Some(404)]),
        case("/status/410").retries(TWICE).dead(&[Status], &[Some(410)]),
        case("/status/422").post().retries(TWICE).dead(&[Status], &[Some(422)]),
        case("/status/408").retries(TWICE).dead(&[Status], &[Some(408); 3]),
        case("/status/425").retries(TWICE).dead(&[Status], &[Some(425); 3]),
        case("/status/429").retries(TWICE).dead(&[Status], &[Some(429); 3]),
        case("/status/500").retries(TWICE).dead(&[Status], &[Some(500); 3]),
        case("/status/503").retries(TWICE).dead(&[Status], &[Some(503); 3]),
        case("/status/599").retries(TWICE).dead(&[Status], &[Some(599); 3]),
        // No 5xx: "everything else is terminal".
        case("/status/600").retries(TWICE).dead(&[Status], &[Some(600)]),
        case("/status/999").retries(TWICE).dead(&[Status], &[Some(999)]),
        case("/flaky/2")
            .retries(TWICE)
            .delivered(&[Some(500), Some(500), Some(200)], Is("at last\n")),
    ])
    .await;
}
