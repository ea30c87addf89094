//! The rows of the measurements: generated from a seed, so that each run and each program sends the same ones.
//!
//! A row has eight short fields: a UUID, two integers, a URL and four words. [`QUERY`] is the query that an endpoint
//! makes of it, about 150 bytes of URL with scheme and host.

use std::fmt::Write as _;

/// The query of the measurements' endpoint.
const QUERY: &str =
    "id={id}&amount={amount}&count={count}&link={link}&tags={one},{two},{three},{four}";

const WORDS: [&str; 32] = [
    "apple", "basin", "cedar", "delta", "ember", "flint", "grove", "haven", "inlet", "jetty",
    "knoll", "lumen", "maple", "north", "ocean", "pearl", "quill", "ridge", "shore", "thorn",
    "umber", "vista", "woven", "xenon", "yield", "zebra", "amber", "birch", "coral", "drift",
    "eagle", "frost",
];

/// Rows by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    seed: u64,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    id: String,
    amount: u32,
    count: u32,
    link: String,
    words: [&'static str; 4],
}

impl Rows {
    pub(crate) fn new(seed: u64) -> Rows {
        Rows { seed }
    }

    /// The row with this number, the same each time.
    pub(crate) fn row(self, number: u64) -> Row {
        let mut random = fastrand::Rng::with_seed(
            self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        let (high, low) = (random.u64(..), random.u64(..));
        // Version 4, variant 1 (RFC 9562, 5.4).
        let (high, low) = (high & !0xf000 | 0x4000, low & !(3 << 62) | 2 << 62);
        let id = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        );
        let mut word = || WORDS[random.usize(..WORDS.len())];
        let words = [word(), word(), word(), word()];
        let shop = word();
        Row {
            id,
            amount: random.u32(..100_000),
            count: random.u32(..1000),
            link: format!("https://{shop}.example/{}", random.u32(..1_000_000)),
            words,
        }
    }

    /// A request of ingest's, as JSON: rows `first` up to `first + count`, for an endpoint at `origin` (`http://host:port`).
    /// With `at`, each URL tells the time, in microseconds since 1970.
    pub(crate) fn request(self, origin: &str, first: u64, count: u64, at: Option<u128>) -> String {
        let mut text = format!(r#"{{"endpoint":{{"method":"GET","url":"{origin}/p?{QUERY}"#);
        if at.is_some() {
            text.push_str("&at={at}");
        }
        text.push_str(r#""},"data":["#);
        for number in first..first + count {
            if number > first {
                text.push(',');
            }
            self.row(number).json(&mut text, at);
        }
        text.push_str("]}");
        text
    }
}

impl Row {
    /// Path and query that the endpoint of [`Rows::request`] makes of the row, without a time.
    pub(crate) fn target(&self) -> String {
        let link = self.link.replace(':', "%3A").replace('/', "%2F");
        let [one, two, three, four] = self.words;
        format!(
            "/p?id={}&amount={}&count={}&link={link}&tags={one},{two},{three},{four}",
            self.id, self.amount, self.count
        )
    }

    fn json(&self, text: &mut String, at: Option<u128>) {
        let Row { id, amount, count, link, words: [one, two, three, four] } = self;
        // Writing to a String cannot fail.
        _ = write!(
            text,
            r#"{{"id":"{id}","amount":{amount},"count":{count},"link":"{link}","one":"{one}","two":"{two}","three":"{three}","four":"{four}""#
        );
        if let Some(at) = at {
            _ = write!(text, r#","at":{at}"#);
        }
        text.push('}');
    }
}

#[cfg(test)]
mod tests {
    use postback_core::request::{Limits, parse};

    use super::*;

    #[test]
    fn a_target_is_what_the_endpoint_makes_of_the_row() {
        let rows = Rows::new(1);
        let body = rows.request("http://127.0.0.1:9999", 0, 100, None);
        let limits = Limits { max_rows: 100, unmatched: String::new() };
        let request = parse(body.as_bytes(), &limits).unwrap();
        for (number, values) in request.rows.iter().enumerate() {
            let filled = request.envelope.endpoint.fill(values).unwrap();
            assert_eq!(filled.target, rows.row(number as u64).target());
        }
    }

    #[test]
    fn a_row_depends_on_seed_and_number_alone() {
        assert_eq!(Rows::new(1).row(7), Rows::new(1).row(7));
        assert_ne!(Rows::new(1).row(7), Rows::new(2).row(7));
        assert_ne!(Rows::new(1).row(7), Rows::new(1).row(8));
    }
}
