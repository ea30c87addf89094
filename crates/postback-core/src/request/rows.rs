//! The rows of a request: from each only the fields that the templates use, tried out once to see that they do.
//!
//! Where a look at the values' lengths tells that a row can be sent, it is not filled in. How a row is filled is
//! `endpoint`'s.

use std::{borrow::Cow, collections::BTreeMap, iter, mem};

use thiserror::Error;

use super::{
    cursor::{Cursor, Unread, duplicate},
    node::Node,
    problems::{Problem, Problems},
};
use crate::{
    batch::EncodedRows,
    endpoint::{Endpoint, FillError, Filled, MAX_BODY},
    value::{Row, Value},
};

/// The most values, members of lists and objects counted, that one request's rows may give to its templates: 64 MB, or
/// twice that for long lists, which grow by doubling.
const MAX_VALUES: usize = 2_000_000;
/// The most bytes that one request's rows may come to when they are filled in. Without a bound a small body could
/// keep ingest busy: its rows may be `{}`, and their template long.
const MAX_FILLED: usize = 256 * 1024 * 1024;
/// The deepest path, in names: JSON has no room for more below a row.
const MAX_PATH: usize = super::json::MAX_DEPTH - 2;

/// What becomes of rows that can be sent.
pub(super) trait Sink<'b> {
    /// Takes the next row, which is no further use to the giver.
    fn take(&mut self, row: &mut Row<'b>);
}

impl<'b> Sink<'b> for Vec<Row<'b>> {
    fn take(&mut self, row: &mut Row<'b>) {
        self.push(mem::take(row));
    }
}

impl Sink<'_> for EncodedRows {
    fn take(&mut self, row: &mut Row<'_>) {
        self.push(row);
    }
}

/// Rows, and how many of them lacked which name.
pub(super) type Rows<R> = (R, BTreeMap<String, u64>);

/// Reads and tries out every row, and hands them to what `begin` makes. Of a row at fault one problem is noted, and
/// the rows are to be used only when there is none.
pub(super) fn read<'b, R: Sink<'b>>(
    data: &Node<'b>,
    endpoint: &Endpoint,
    max_rows: usize,
    begin: impl Fn() -> R,
    problems: &mut Problems,
) -> Option<Rows<R>> {
    let uses = Uses::of(endpoint.names());
    let before = problems.len();
    let mut trial = Trial::new(endpoint, &uses, Measure::Bounds);
    let read = read_as(data, &mut trial, max_rows, begin(), problems);
    if trial.filled <= MAX_FILLED {
        return read;
    }
    // By their bounds they may come to too much: what they do come to decides.
    problems.truncate(before);
    let mut trial = Trial::new(endpoint, &uses, Measure::Sizes);
    read_as(data, &mut trial, max_rows, begin(), problems)
}

fn read_as<'b, R: Sink<'b>>(
    data: &Node<'b>,
    trial: &mut Trial<'_, 'b>,
    max_rows: usize,
    mut rows: R,
    problems: &mut Problems,
) -> Option<Rows<R>> {
    let (mut cursor, mut count) = (list(data, problems)?, 0);
    while !problems.is_full() && cursor.item() {
        if count == max_rows {
            let reason = format_args!("more than {max_rows} rows: send them in parts");
            problems.replace(data.bad(reason).too_many_rows());
            return None;
        }
        let start = cursor.clone();
        match trial.row(&mut cursor) {
            Ok(()) => rows.take(&mut trial.reader.values),
            Err(Misplaced { path, fault }) => {
                let place = format_args!("data[{count}]{path}");
                problems.add(Problem::new(start.here(), place, &fault));
                if matches!(fault, Fault::Unread(Unread::TooManyValues)) {
                    return None;
                }
                cursor = start;
                cursor.skip();
            }
        }
        if trial.filled > MAX_FILLED {
            let reason = "filled in, the rows come to more than 256 MiB: send them in parts";
            problems.add(Problem::new(cursor.here(), &data.place, reason));
            return None;
        }
        count += 1;
    }
    let unmatched = trial.unmatched.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    Some((rows, unmatched))
}

/// What can be said of the rows without an endpoint: whether each is an object.
pub(super) fn check(data: &Node<'_>, problems: &mut Problems) {
    let Some(mut cursor) = list(data, problems) else { return };
    let mut count = 0;
    while !problems.is_full() && cursor.item() {
        let row = cursor.skip();
        if row.first() != b'{' {
            let place = format_args!("data[{count}]");
            problems.add(Problem::new(row.text().as_ptr(), place, Fault::Kind(row.kind())));
        }
        count += 1;
    }
}

/// A cursor at the list of rows, which must have one.
fn list<'b>(data: &Node<'b>, problems: &mut Problems) -> Option<Cursor<'b>> {
    if data.json.first() != b'[' {
        problems.add(data.not("a list of objects"));
        return None;
    }
    let cursor = data.json.cursor();
    if !cursor.clone().item() {
        problems.add(data.bad("must hold at least one row"));
        return None;
    }
    Some(cursor)
}

/// By what it is judged whether rows come to too much.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// What each may come to at most, where that is known without filling it in.
    Bounds,
    /// What each comes to.
    Sizes,
}

/// Rows on trial: each is read, and filled in where that is needed.
struct Trial<'e, 'b> {
    endpoint: &'e Endpoint,
    measure: Measure,
    reader: Reader<'e, 'b>,
    /// How many rows lacked which name.
    unmatched: BTreeMap<&'e str, u64>,
    /// How many bytes the rows came to, by the measure.
    filled: usize,
}

impl<'e, 'b> Trial<'e, 'b> {
    fn new(endpoint: &'e Endpoint, uses: &'e Uses<'e>, measure: Measure) -> Trial<'e, 'b> {
        let reader = Reader {
            uses,
            names: endpoint.names().len(),
            whole: endpoint.body_is_row(),
            shape: Vec::new(),
            left: MAX_VALUES,
            values: Vec::new(),
            literal: Vec::new(),
        };
        Trial { endpoint, measure, reader, unmatched: BTreeMap::new(), filled: 0 }
    }

    /// Reads a row into the reader's values and sees that it can be sent.
    fn row(&mut self, cursor: &mut Cursor<'b>) -> Result<(), Misplaced> {
        self.reader.row(cursor)?;
        let row = &self.reader.values;
        let bound = self.endpoint.bound(row).filter(|_| self.measure == Measure::Bounds);
        self.filled += match bound {
            Some(bound) => bound,
            None => size(&self.endpoint.fill(row).map_err(|error| {
                // The work of filling it in has been done.
                self.filled += if error == FillError::BodyTooLong { MAX_BODY } else { 0 };
                let path = error.name().map(|name| format!(".{name}")).unwrap_or_default();
                Misplaced { path, fault: error.into() }
            })?),
        };
        for name in self.endpoint.unmatched(row) {
            *self.unmatched.entry(name).or_insert(0) += 1;
        }
        Ok(())
    }
}

fn size(sent: &Filled<'_>) -> usize {
    let headers = sent.headers.iter().map(|(name, value)| name.len() + value.len());
    sent.target.len() + sent.body.as_ref().map_or(0, String::len) + headers.sum::<usize>()
}

/// What a key of a row, or of an object in it, is good for.
#[derive(Default)]
struct Uses<'e> {
    /// It is the end of this name.
    name: Option<usize>,
    /// It is followed by these, sorted.
    below: Vec<(&'e str, Uses<'e>)>,
}

impl<'e> Uses<'e> {
    fn of(names: &'e [String]) -> Uses<'e> {
        let mut uses = Uses::default();
        for (at, name) in names.iter().enumerate() {
            uses.add(iter::once(name.as_str()), at);
            if (2..=MAX_PATH).contains(&name.split('.').count()) {
                uses.add(name.split('.'), at);
            }
        }
        uses
    }

    fn add(&mut self, path: impl Iterator<Item = &'e str>, name: usize) {
        let end = path.fold(self, |uses, key| {
            let at = match uses.find(key) {
                Ok(at) => at,
                Err(at) => {
                    uses.below.insert(at, (key, Uses::default()));
                    at
                }
            };
            &mut uses.below[at].1
        });
        end.name = Some(name);
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.below.binary_search_by(|(other, _)| (*other).cmp(key))
    }
}

/// An object's keys in their order, each with its place in [`Uses::below`]. Rows of one request mostly have the same
/// keys, so that a row needs only to be compared with the one before.
type Shape<'b> = Vec<(Cow<'b, str>, Option<usize>)>;

struct Reader<'e, 'b> {
    uses: &'e Uses<'e>,
    names: usize,
    whole: bool,
    shape: Shape<'b>,
    /// How many values may still be made.
    left: usize,
    /// The row that was read last.
    values: Row<'b>,
    /// Names found as a key of the row itself, which wins over a path.
    literal: Vec<bool>,
}

/// What is wrong within a row, and where: `.device.id`.
struct Misplaced {
    path: String,
    fault: Fault,
}

/// What is wrong with a row.
#[derive(Debug, Error)]
enum Fault {
    #[error("must be an object, not {0}")]
    Kind(&'static str),
    #[error(transparent)]
    Unread(#[from] Unread),
    #[error(transparent)]
    Unfit(#[from] FillError),
}

impl<T: Into<Fault>> From<T> for Misplaced {
    fn from(fault: T) -> Misplaced {
        Misplaced { path: String::new(), fault: fault.into() }
    }
}

impl<'b> Reader<'_, 'b> {
    fn row(&mut self, cursor: &mut Cursor<'b>) -> Result<(), Misplaced> {
        if !cursor.at_object() {
            return Err(Fault::Kind(cursor.skip().kind()).into());
        }
        let start = cursor.clone();
        self.left = self.left.checked_sub(self.names).ok_or(Unread::TooManyValues)?;
        self.values.clear();
        self.values.reserve_exact(self.names + usize::from(self.whole));
        self.values.resize(self.names, Value::Null);
        self.literal.clear();
        self.literal.resize(self.names, false);
        let mut shape = mem::take(&mut self.shape);
        self.members(cursor, self.uses, &mut shape, true)?;
        self.shape = shape;
        if self.whole {
            self.values.push(Value::Literal(cursor.since(&start).text().into()));
        }
        Ok(())
    }

    /// Takes what is used from the object at the cursor: the row itself (`top`), or an object in it.
    fn members(
        &mut self,
        cursor: &mut Cursor<'b>,
        uses: &Uses<'_>,
        shape: &mut Shape<'b>,
        top: bool,
    ) -> Result<(), Misplaced> {
        let (mut at, mut new) = (0, false);
        loop {
            if !matches!(shape.get(at), Some((Cow::Borrowed(known), _)) if cursor.member_named(known))
            {
                let Some(key) = cursor.member() else { break };
                if shape.get(at).is_none_or(|(known, _)| *known != key) {
                    let place = uses.find(&key).ok();
                    shape.truncate(at);
                    shape.push((key, place));
                    new = true;
                }
            }
            match &shape[at] {
                (_, None) => drop(cursor.skip()),
                (key, Some(place)) => {
                    let taken = self.member(cursor, &uses.below[*place].1, top);
                    taken.map_err(|e| Misplaced { path: format!(".{key}{}", e.path), ..e })?;
                }
            }
            at += 1;
        }
        match new.then(|| duplicate(shape.iter().map(|(key, _)| key.as_ref()))).flatten() {
            Some(key) => Err(Unread::Duplicate(key.to_owned()).into()),
            None => Ok(()),
        }
    }

    fn member(
        &mut self,
        cursor: &mut Cursor<'b>,
        uses: &Uses<'_>,
        top: bool,
    ) -> Result<(), Misplaced> {
        let mut inner = cursor.clone();
        match uses.name.filter(|name| top || !self.literal[*name]) {
            None => drop(cursor.skip()),
            Some(name) => {
                self.values[name] = cursor.value(&mut self.left)?;
                self.literal[name] = top;
            }
        }
        if uses.below.is_empty() || !inner.at_object() {
            return Ok(());
        }
        self.members(&mut inner, uses, &mut Vec::new(), false)
    }
}
