//! Requests and their rows, drawn from the seed: the same seed and number always make the same request.
//!
//! Rows that fail go into small lanes of their own, with fewer failures each than open a lane's breaker: a healthy
//! trial parks nothing.

use super::{
    expand::row_json,
    journal::{Act, CLICK_HEADER, Row, Shape},
};

/// What a trial's rows are like.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) seed: u64,
    /// The policy's waits before each retry, milliseconds.
    pub(super) retries_ms: Vec<u64>,
    pub(super) mix: Mix,
}

/// What share of rows the sink refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mix {
    /// Most are delivered at once, some late, after failures, or never.
    Usual,
    /// All are delivered at once.
    Plain,
    /// All are delivered after one to three seconds, in twenty lanes.
    Slow,
    /// Whole batches, all rows of which are delivered at once, and no bad request.
    Bulk,
    /// Each attempt of each row fails with a probability of one half, but for the fourth.
    HalfFails,
}

/// A request that is still to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) shape: Shape,
    pub(super) lane: Option<String>,
    pub(super) rows: Vec<Row>,
}

/// Rows of a request: few, but for one in fifty that takes several batches.
const FEW: std::ops::RangeInclusive<usize> = 1..=20;
const MANY: std::ops::RangeInclusive<usize> = 257..=600;
/// Rows of a whole batch.
pub(super) const BATCH: usize = 256;
/// Characters that have to be escaped somewhere, and some that never are.
const ALPHABET: &[char] = &[
    'a', 'Z', '0', '-', '_', '.', '~', ' ', '+', '%', '&', '=', '?', '/', '#', '"', '\\', '{', '}',
    '<', 'é', '→', '😀',
];

impl Script {
    /// The request with this number.
    pub(super) fn draw(&self, number: u64) -> Draft {
        let mut rng =
            fastrand::Rng::with_seed(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
        // Seeds that lie close together begin alike.
        rng.u64(..);
        let shapes = [Shape::Query, Shape::Lists, Shape::Row, Shape::Object, Shape::Form];
        let is_bad = rng.u8(..40) == 0 && self.mix != Mix::Bulk;
        let shape = if is_bad { Shape::Bad } else { shapes[rng.usize(..5)] };
        let troubled = self.mix == Mix::Usual && rng.u8(..10) < 3;
        let size = match (self.mix, rng.u8(..50)) {
            (Mix::Bulk, _) => BATCH,
            (Mix::Usual | Mix::Plain, 0) if !troubled => rng.usize(MANY),
            _ => rng.usize(FEW),
        };
        let lane = match (troubled, self.mix) {
            (true, _) => Some(format!("t{number}")),
            // Lanes of few requests: in a large one ten failures in a row are sure to come, and with them a park.
            (_, Mix::HalfFails) => Some(format!("h{}", number / 3)),
            (_, Mix::Slow) => Some(format!("s{}", number % 20)),
            _ => [None, Some("a".to_owned()), Some("b".to_owned())][rng.usize(..3)].clone(),
        };
        let rows = (0..size).map(|row| {
            let act = match self.mix {
                Mix::Plain | Mix::Bulk => Act::Deliver,
                Mix::Slow => Act::Slow(rng.u64(1000..3000)),
                Mix::HalfFails => Act::Flaky(failures(&mut rng)),
                Mix::Usual if troubled => trouble(row, &mut rng),
                Mix::Usual => calm(&mut rng),
            };
            let text =
                (0..rng.usize(..12)).map(|_| ALPHABET[rng.usize(..ALPHABET.len())]).collect();
            Row { click: format!("{number}-{row}"), act, n: rng.u64(..1 << 50), text }
        });
        Draft { shape, lane, rows: rows.collect() }
    }
}

/// How often a row fails whose attempts fail with a probability of one half, but for the fourth.
fn failures(rng: &mut fastrand::Rng) -> u32 {
    (0..3).take_while(|_| rng.bool()).count() as u32
}

/// A row of a busy lane.
fn calm(rng: &mut fastrand::Rng) -> Act {
    match rng.u8(..100) {
        0..75 => Act::Deliver,
        75..95 => Act::Slow(rng.u64(5..300)),
        _ => Act::Refuse,
    }
}

/// A row of a small lane: two of them fail, seven attempts at most, and the rest do not.
fn trouble(row: usize, rng: &mut fastrand::Rng) -> Act {
    match row {
        0 => Act::Flaky(rng.u32(1..=2)),
        1 => Act::Fail,
        _ => calm(rng),
    }
}

impl Draft {
    /// The JSON of the request; `host` is the sink's address.
    pub(super) fn json(&self, host: &str, retries_ms: &[u64]) -> String {
        let base = format!("http://{host}/{{+act}}");
        let (method, url) = match self.shape {
            Shape::Query | Shape::Bad => (
                "GET",
                format!(
                    "{base}?id={{click}}&t={{text}}&n={{n}}&none={{none}}&other={{other|none/at all}}"
                ),
            ),
            Shape::Lists => {
                ("GET", format!("{base}{{?click,text,none,n}}{{&tags*}}&deep={{deep.er}}"))
            }
            Shape::Row | Shape::Object | Shape::Form => ("POST", format!("{base}?id={{click}}")),
        };
        let mut headers = serde_json::json!({ CLICK_HEADER: "{click}" });
        if self.shape == Shape::Form {
            headers["content-type"] = "application/x-www-form-urlencoded".into();
        }
        let mut endpoint = serde_json::json!({"method": method, "url": url, "headers": headers});
        match self.shape {
            Shape::Object => {
                endpoint["body"] = serde_json::json!("@");
            }
            Shape::Form => endpoint["body"] = "id={click}&n={n}&text={text}".into(),
            _ => {}
        }
        let retries: Vec<String> = retries_ms.iter().map(|ms| format!("{ms}ms")).collect();
        let mut policy = serde_json::json!({"ref": "{click}", "timeout": "5s", "retries": retries});
        if let Some(lane) = &self.lane {
            policy["lane"] = lane.as_str().into();
        }
        if self.shape == Shape::Bad {
            policy["unmatched"] = serde_json::json!({"reject": true});
        }
        // Written out, as the keys of a JSON value of ours would come in another order.
        let object = r#"{"click":"{click}","n":"{n}","note":"n is {n}: {text}","list":[1,true,null,"{text}"]}"#;
        let endpoint = endpoint.to_string().replacen(r#""@""#, object, 1);
        let rows: Vec<String> = self.rows.iter().map(row_json).collect();
        format!(r#"{{"endpoint":{endpoint},"policy":{policy},"data":[{}]}}"#, rows.join(","))
    }
}

impl Act {
    /// How many attempts reach the sink when nothing goes wrong, and how many retries the policy has.
    pub(super) fn attempts(self, retries: usize) -> usize {
        match self {
            Act::Deliver | Act::Slow(_) | Act::Refuse => 1,
            Act::Flaky(failures) => failures as usize + 1,
            Act::Fail => retries + 1,
        }
    }

    /// Whether the row is delivered in the end.
    pub(super) fn is_delivered(self) -> bool {
        !matches!(self, Act::Refuse | Act::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(mix: Mix) -> Script {
        Script { seed: 1, retries_ms: vec![1000, 2000], mix }
    }

    #[test]
    fn a_seed_draws_the_same_requests_again_and_another_seed_others() {
        let other = Script { seed: 2, ..script(Mix::Usual) };
        let differ = (0..100).filter(|n| script(Mix::Usual).draw(*n) != other.draw(*n)).count();
        assert!((0..100).all(|n| script(Mix::Usual).draw(n) == script(Mix::Usual).draw(n)));
        assert!(differ > 90, "{differ}");
    }

    #[test]
    fn no_lane_fails_so_often_that_it_is_parked() {
        let mut failures = std::collections::BTreeMap::<_, usize>::new();
        for draft in (0..2000).map(|n| script(Mix::Usual).draw(n)) {
            for row in &draft.rows {
                let fails = row.act.attempts(2) - usize::from(row.act.is_delivered());
                if row.act != Act::Refuse {
                    *failures.entry(draft.lane.clone()).or_default() += fails;
                }
            }
        }
        assert!(failures.values().all(|n| *n < 10), "{failures:?}");
        assert!(failures.values().any(|n| *n > 3), "no row fails");
    }

    #[test]
    fn every_shape_and_act_occurs_in_a_trial() {
        let drafts: Vec<Draft> = (0..400).map(|n| script(Mix::Usual).draw(n)).collect();
        for shape in
            [Shape::Query, Shape::Lists, Shape::Row, Shape::Object, Shape::Form, Shape::Bad]
        {
            assert!(drafts.iter().any(|draft| draft.shape == shape), "{shape:?}");
        }
        let rows: Vec<&Row> = drafts.iter().flat_map(|draft| &draft.rows).collect();
        for act in [Act::Deliver, Act::Flaky(1), Act::Flaky(2), Act::Refuse, Act::Fail] {
            assert!(rows.iter().any(|row| row.act == act), "{act:?}");
        }
        assert!(drafts.iter().any(|draft| draft.rows.len() > 256), "no request of several batches");
    }
}
