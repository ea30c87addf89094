//! Both codings against what their own tools write, and against what nobody's would.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

const MOST: usize = 100_000;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 3).unwrap()
}

/// As a program that does not know the length beforehand writes it.
fn zstd_of_unknown_length(plain: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A zstd frame with a header of ours and one block that says a byte's repetition, or is the last of nothing.
fn frame(header: &[u8], repeated: &[u32]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    frame.extend(header);
    for length in repeated {
        // Not the last, RLE, its length (RFC 8878, 3.1.1.2).
        frame.extend(&((length << 3) | 2).to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame.extend([1, 0, 0]);
    frame
}

fn open(coding: Coding, coded: &[u8]) -> Result<Vec<u8>, Fault> {
    coding.inflate(coded, MOST)
}

fn damage(coding: Coding, coded: &[u8]) -> String {
    match open(coding, coded) {
        Err(Fault::Damaged(_, what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_body_comes_out_as_it_was_in_one_part_or_in_several() {
    let texts: Vec<Vec<u8>> =
        [0, 1, 10, 5000, MOST].iter().map(|n| (0..*n).map(|i| (i % 251) as u8).collect()).collect();
    for text in &texts {
        assert_eq!(open(Coding::Gzip, &gzip(text)).as_ref(), Ok(text));
        assert_eq!(open(Coding::Zstd, &zstd(text)).as_ref(), Ok(text));
        assert_eq!(open(Coding::Zstd, &zstd_of_unknown_length(text)).as_ref(), Ok(text));
        let halves = text.split_at(text.len() / 2);
        for (coding, code) in [(Coding::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Coding::Zstd, zstd)] {
            let coded = [code(halves.0), code(halves.1)].concat();
            assert_eq!(open(coding, &coded).as_ref(), Ok(text));
        }
    }
}

#[test]
fn one_byte_over_the_limit_is_too_long_however_it_is_told_or_split() {
    let over = vec![b' '; MOST + 1];
    for coded in [zstd(&over), zstd_of_unknown_length(&over)] {
        assert_eq!(open(Coding::Zstd, &coded), Err(Fault::TooLong));
    }
    assert_eq!(open(Coding::Gzip, &gzip(&over)), Err(Fault::TooLong));
    let (half, one) = (&over[..MOST], &over[..1]);
    assert_eq!(open(Coding::Gzip, &[gzip(half), gzip(one)].concat()), Err(Fault::TooLong));
    assert_eq!(open(Coding::Zstd, &[zstd(half), zstd(one)].concat()), Err(Fault::TooLong));
}

#[test]
fn sizes_that_a_frame_only_claims_are_not_believed() {
    // A window of 3.75 TiB, then nothing; a window of 2 GiB, then 10 spaces.
    damage(Coding::Zstd, &frame(&[0x00, 0xff], &[]));
    let wide = frame(&[0x00, 21 << 3], &[10]);
    assert_eq!(open(Coding::Zstd, &wide).as_deref(), Ok(&b"          "[..]));
    // Content of 2^63 bytes; of 5 where there are 10; of 10 where there are none.
    let huge = frame(&[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80], &[10]);
    assert_eq!(open(Coding::Zstd, &huge), Err(Fault::TooLong));
    damage(Coding::Zstd, &frame(&[0x20, 5], &[10]));
    damage(Coding::Zstd, &frame(&[0x20, 10], &[]));
    // Repetitions of 128 KiB each.
    assert_eq!(open(Coding::Zstd, &frame(&[0x00, 56], &[131_072; 4])), Err(Fault::TooLong));
}

#[test]
fn what_is_cut_damaged_or_followed_by_something_else_is_refused() {
    let text: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
    for (coding, coded) in [(Coding::Gzip, gzip(&text)), (Coding::Zstd, zstd(&text))] {
        for length in 0..coded.len() {
            damage(coding, &coded[..length]);
        }
        damage(coding, &[&coded[..], b"x"].concat());
        damage(coding, &[&coded[..], b"more than a header's length of something else"].concat());
        damage(coding, &text);
    }
    // The checksum.
    let mut coded = gzip(&text);
    let at = coded.len() - 6;
    coded[at] ^= 1;
    assert!(damage(Coding::Gzip, &coded).contains("checksum"));
}

#[test]
fn members_are_counted() {
    let empty = gzip(b"");
    assert_eq!(open(Coding::Gzip, &empty.repeat(MAX_MEMBERS)), Ok(vec![]));
    assert!(damage(Coding::Gzip, &empty.repeat(MAX_MEMBERS + 1)).contains("members"));
}

#[test]
fn codings_are_named_in_any_case() {
    let check = |name: &str, expect| assert_eq!(Coding::named(name), expect, "{name}");
    check("gzip", Some(Coding::Gzip));
    check("X-GZip", Some(Coding::Gzip));
    check("ZSTD", Some(Coding::Zstd));
    check("Identity", Some(Coding::Identity));
    for name in ["", "br", "deflate", "gzip, gzip", "gzip;q=1", "compress", "zstd,"] {
        check(name, None);
    }
}
