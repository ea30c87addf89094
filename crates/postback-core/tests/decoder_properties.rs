//! A stored batch comes back as it was, and whatever else is read in its place is refused, or is a batch too: nothing
//! panics, and nothing is inflated beyond its bound.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use postback_core::{
    batch::{Batch, EncodedBatch, MAX_ROWS, Source, VERSION, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Unmatched},
    policy::{Policy, Success},
    value::{Row, Value},
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::{Index, select},
    test_runner::TestCaseError,
};

fn endpoint() -> impl Strategy<Value = EndpointTemplate> {
    let urls = ["http://a.com/{a}?b={b}", "https://a_b.com:8443{/c*}", "http://[2606:4700::1]"];
    let body = prop_oneof![
        Just(BodyTemplate::None),
        Just(BodyTemplate::Row),
        any::<String>().prop_map(BodyTemplate::Text),
        Just(BodyTemplate::Json(r#"{"d":"{d}","e":["{e} é"]}"#.into())),
    ];
    let header = ("X-[a-z]{1,5}", "[ -~]{0,20}");
    let method = select(&[Method::Get, Method::Post, Method::Put, Method::Head][..]);
    let unmatched = option::of(any::<String>());
    (
        method,
        select(urls.to_vec()),
        option::of(header),
        body,
        option::of(any::<String>()),
        unmatched,
    )
        .prop_map(|(method, url, header, body, reference, unmatched)| EndpointTemplate {
            method,
            url: url.into(),
            headers: header.into_iter().collect(),
            body,
            reference,
            unmatched: unmatched.map_or(Unmatched::Reject, Unmatched::Text),
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    let text = || option::of(any::<String>());
    let number = || option::of(any::<u64>());
    let success = (vec(any::<(u16, u16)>(), 0..3), text(), text());
    (text(), number(), number(), option::of(vec(any::<u64>(), 0..3)), success).prop_map(
        |(label, expires_in_ms, timeout_ms, retries_ms, (status, body_contains, body_excludes))| {
            let success = Success { status, body_contains, body_excludes };
            Policy { label, expires_in_ms, timeout_ms, retries_ms, success }
        },
    )
}

fn source() -> impl Strategy<Value = Source> {
    (any::<String>(), option::of(any::<String>()), any::<u64>(), any::<Option<u32>>()).prop_map(
        |(request_id, traceparent, received_at_ms, nginx_ms)| Source {
            request_id,
            traceparent,
            received_at_ms,
            first_row: 0,
            nginx_ms,
        },
    )
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<String>().prop_map(|text| Value::Text(text.into())),
        any::<u64>().prop_map(|number| Value::Literal(number.to_string().into())),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        let member = (any::<String>(), inner.clone()).prop_map(|(key, value)| (key.into(), value));
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::List),
            vec(member, 0..4).prop_map(Value::Object)
        ]
    })
}

/// Rows, now and then more than a batch has room for.
fn rows() -> impl Strategy<Value = Vec<Row<'static>>> {
    let long = prop_oneof![9 => Just(0), 1 => 10_000..100_000usize];
    (vec(vec(value(), 0..6), 1..6), select(&[1, 1, 1, 1, 100, 257][..]), long).prop_map(
        |(mut rows, times, long)| {
            rows[0].push(Value::Text("é".repeat(long).into()));
            let all = rows.len() * times;
            rows.into_iter().cycle().take(all).collect()
        },
    )
}

/// The batches of one request.
fn batches()
-> impl Strategy<Value = (EndpointTemplate, Policy, Source, Vec<Row<'static>>, Vec<EncodedBatch>)> {
    (endpoint(), policy(), source(), rows()).prop_map(|(endpoint, policy, source, rows)| {
        let batches = encode(&endpoint, &policy, &source, &rows);
        (endpoint, policy, source, rows, batches)
    })
}

/// The same batch, not compressed, so that a change reaches what zstd would see as broken before.
fn plain(batch: &[u8]) -> Vec<u8> {
    let length = u32::from_be_bytes(batch[3..7].try_into().unwrap()) as usize;
    if length == 0 {
        return batch.to_vec();
    }
    let content = zstd::bulk::decompress(&batch[7..], length).unwrap();
    [&batch[..3], &[0; 4], &content].concat()
}

/// A change of a batch's bytes; positions are taken modulo its length.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Extend(Vec<u8>),
    Insert(Index, Vec<u8>),
    /// The row count.
    Rows(u16),
    /// The length before compression.
    Length(u32),
    /// A length in postcard's form, as large as can be.
    Huge(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let length = prop_oneof![any::<u32>(), 0..2000u32, Just(u32::MAX)];
    prop_oneof![
        3 => (at(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => at().prop_map(Change::Cut),
        1 => vec(any::<u8>(), 1..20).prop_map(Change::Extend),
        1 => (at(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => prop_oneof![any::<u16>(), 0..300u16].prop_map(Change::Rows),
        1 => length.prop_map(Change::Length),
        2 => at().prop_map(Change::Huge),
    ]
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len();
        let insert = |bytes: &mut Vec<u8>, at: &Index, new: &[u8]| {
            let at = at.index(end + 1);
            drop(bytes.splice(at..at, new.iter().copied()));
        };
        let mut write = |from: usize, new: &[u8]| {
            if let Some(old) = bytes.get_mut(from..from + new.len()) {
                old.copy_from_slice(new);
            }
        };
        match self {
            Change::Rows(rows) => write(1, &rows.to_be_bytes()),
            Change::Length(length) => write(3, &length.to_be_bytes()),
            Change::Huge(at) => write(at.index(end + 1), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            Change::Flip(at, bits) if end > 0 => bytes[at.index(end)] ^= bits,
            Change::Flip(..) => {}
            Change::Cut(at) => bytes.truncate(at.index(end + 1)),
            Change::Extend(new) => bytes.extend_from_slice(new),
            Change::Insert(at, new) => insert(bytes, at, new),
        }
    }
}

/// Reads what may be no batch; whether it is one.
fn read(bytes: &[u8]) -> Result<bool, TestCaseError> {
    let batch = match Batch::decode(bytes) {
        Ok(batch) => batch,
        Err(error) => {
            prop_assert!(error.to_string().starts_with("stored batch "), "{error}");
            return Ok(false);
        }
    };
    prop_assert!((1..=MAX_ROWS).contains(&usize::from(batch.len())));
    prop_assert!((1..=VERSION).contains(&bytes[0]));
    prop_assert_eq!(&bytes[1..3], &batch.len().to_be_bytes()[..]);
    for at in 0..batch.len() {
        prop_assert!(batch.sources.contains(batch.source(at)));
        if let Ok(row) = batch.row(at) {
            drop(batch.endpoint.fill(&row));
        }
    }
    prop_assert!(batch.row(batch.len()).is_err());
    Ok(true)
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back((endpoint, policy, source, rows, batches) in batches()) {
        let mut back = rows.iter();
        for encoded in &batches {
            for bytes in [encoded.bytes.clone(), plain(&encoded.bytes)] {
                let batch = Batch::decode(&bytes).unwrap();
                prop_assert_eq!(batch.len(), encoded.rows);
                prop_assert_eq!(batch.endpoint.template(), &endpoint);
                prop_assert_eq!(&*batch.policy, &policy);
                prop_assert_eq!(&batch.sources[..], std::slice::from_ref(&source));
            }
            let batch = Batch::decode(&encoded.bytes).unwrap();
            for at in 0..batch.len() {
                prop_assert_eq!(Some(&batch.row(at).unwrap()), back.next());
                prop_assert_eq!(batch.source(at), &source);
            }
        }
        prop_assert!(back.next().is_none());
    }

    #[test]
    fn a_changed_batch_is_refused_or_is_a_batch_too(
        (_, _, _, _, batches) in batches(),
        inside in any::<bool>(),
        changes in vec(change(), 1..4),
    ) {
        let mut bytes = if inside { plain(&batches[0].bytes) } else { batches[0].bytes.clone() };
        prop_assert!(read(&bytes)?);
        changes.iter().for_each(|change| change.make(&mut bytes));
        read(&bytes)?;
    }

    #[test]
    fn a_batch_with_another_end_or_row_count_is_refused(
        (_, _, _, _, batches) in batches(),
        cut in any::<Index>(),
        more in vec(any::<u8>(), 1..9),
        count in prop_oneof![any::<u16>(), 0..300u16],
    ) {
        let stored = &batches[0].bytes;
        for whole in [stored, &plain(stored)] {
            prop_assert!(!read(&whole[..cut.index(whole.len())])?);
            prop_assert!(!read(&[&whole[..], &more].concat())?);
            let mut counted = whole.clone();
            counted[1..3].copy_from_slice(&count.to_be_bytes());
            prop_assert_eq!(read(&counted)?, count == batches[0].rows);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_batch(bytes in vec(any::<u8>(), 0..200), length in any::<bool>()) {
        prop_assert!(!read(&bytes)?);
        let prefix = [VERSION, 0, 1, 0, 0, if length { 200 } else { 0 }, 0];
        read(&[&prefix[..], &bytes].concat())?;
    }
}

#[test]
fn a_batch_without_sources_or_with_too_many_rows_is_refused() {
    let batch = |sources: u16, rows: u16| {
        let endpoint = EndpointTemplate {
            method: Method::Get,
            url: "http://a.com/".into(),
            headers: vec![],
            body: BodyTemplate::None,
            reference: None,
            unmatched: Unmatched::Reject,
        };
        let source = |first_row| Source {
            request_id: "r".into(),
            traceparent: None,
            received_at_ms: 1,
            first_row,
            nginx_ms: None,
        };
        let sources: Vec<_> = (0..sources).map(source).collect();
        let head = postcard::to_allocvec(&(endpoint, Policy::default(), sources)).unwrap();
        // A row is its length and its values, of which there are none.
        let rows_and_none = [1, 0].repeat(rows.into());
        [&[VERSION], &rows.to_be_bytes()[..], &[0; 4], &head, &rows_and_none].concat()
    };
    let check = |sources, rows, expect| {
        assert_eq!(read(&batch(sources, rows)).unwrap(), expect, "{sources} {rows}");
    };
    check(1, 1, true);
    check(3, 256, true);
    check(0, 1, false);
    check(1, 0, false);
    check(1, 257, false);
}

/// The most memory that this process has had so far, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    const SIZE: usize = 1 << 30;
    let zeros = std::io::Read::take(std::io::repeat(0), SIZE as u64);
    let bomb = zstd::stream::encode_all(zeros, 1).unwrap();
    let before = peak();
    for length in [SIZE, 1000, 1 << 20, u32::MAX as usize] {
        let prefix = [&[VERSION, 0, 1][..], &(length as u32).to_be_bytes()].concat();
        assert!(!read(&[&prefix[..], &bomb].concat()).unwrap(), "{length}");
    }
    let grown = peak() - before;
    assert!(grown < 256 << 20, "{grown} bytes for a bomb of {} bytes", bomb.len());
}
