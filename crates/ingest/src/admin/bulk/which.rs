//! Which dead rows a form is about: some by their ids, a group of failures, or what a filter accepts.

use std::time::Duration;

use actix_web::http::StatusCode;
use postback_core::{
    attempt::Cause,
    failures::Kind,
    id::PostbackId,
    operate,
    queue::{Budget, Queue, QueueError, Recorded, Revision, Scan, Stream},
    select::{Filter, Selection},
    view::time_text,
    when::When,
};

use super::super::{dead::Asked, text::field};
use crate::problem::Problem;

/// Of a group so many deaths are looked for at most, and so long; the newest first.
const DEATHS: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// The fields of a form, in order; a name may come several times.
#[derive(Debug, Clone)]
pub(super) struct Fields(pub(super) Vec<(String, String)>);

impl Fields {
    /// A field's first value, or nothing.
    pub(super) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Those that say which rows, to be sent once more; times that were told as `ago` as they are now.
    pub(super) fn resolved(self, now_ms: u64) -> Fields {
        let keep = |(name, _): &(String, String)| name != "confirm" && name != "rate";
        let resolve = |(name, value): (String, String)| {
            let when =
                value.trim().parse::<When>().ok().filter(|_| name == "since" || name == "until");
            let value = when.map_or(value, |when| time_text(when.ms(now_ms)));
            (name, value)
        };
        Fields(self.0.into_iter().filter(keep).map(resolve).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Which {
    /// These, whatever they died of.
    Rows(Vec<PostbackId>),
    /// Those that died of this at this host in this time, as far as the log of failures knows.
    Group { kind: Kind, host: String, since_ms: Option<u64>, until_ms: Option<u64> },
    /// Those that the filter accepts, and what was asked for.
    Filter(Filter, String),
}

impl Which {
    /// # Errors
    /// When a field does not mean anything; it is named.
    pub(super) fn of(fields: &Fields, now_ms: u64) -> Result<Which, Problem> {
        let id = |text: &str| text.parse::<PostbackId>().map_err(|error| error.to_string());
        let rows = fields.all("row").map(|text| field("row", text, id));
        let rows = rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
        if !rows.is_empty() {
            return Ok(Which::Rows(rows));
        }
        if fields.get("only") == "rows" {
            let detail = "no row is ticked: tick some, or use the buttons for all";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail));
        }
        let asked = Asked {
            request: fields.get("request").to_owned(),
            host: fields.get("host").to_owned(),
            status: fields.get("status").to_owned(),
            cause: fields.get("cause").to_owned(),
            reference: fields.get("ref").to_owned(),
            since: fields.get("since").to_owned(),
            until: fields.get("until").to_owned(),
        };
        let filter = asked.filter(now_ms)?;
        let error = fields.get("error");
        if error.is_empty() {
            let given: Vec<_> =
                asked.fields().iter().map(|(name, value)| format!("{name} {value}")).collect();
            return Ok(Which::Filter(filter, given.join(", ")));
        }
        let cause = filter.cause.unwrap_or(Cause::Status);
        let kind = Kind { cause, error: error.to_owned() };
        let (since_ms, until_ms) = (filter.since_ms, filter.until_ms);
        Ok(Which::Group { kind, host: asked.host, since_ms, until_ms })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Which::Rows(rows) => {
                format!("{} ticked", operate::counted(rows.len() as u64, "", "row"))
            }
            Which::Group { kind, host, .. } => {
                format!("rows to {host} that died of: {}", kind.error)
            }
            Which::Filter(_, given) if given.is_empty() => "all dead rows".to_owned(),
            Which::Filter(_, given) => format!("dead rows with {given}"),
        }
    }

    /// Finds them, as long as `go_on` says so.
    pub(super) async fn select(
        &self,
        queue: &Queue,
        revision: Revision,
        go_on: impl FnMut(usize) -> bool,
    ) -> Result<Selection, QueueError> {
        match self {
            Which::Rows(rows) => queue.select_rows(revision, rows.iter().copied()).await,
            Which::Filter(filter, _) => queue.select_while(revision, filter.clone(), go_on).await,
            Which::Group { kind, host, since_ms, until_ms } => {
                let died = died(queue, kind.clone(), host.clone(), (*since_ms, *until_ms)).await?;
                let (rows, is_whole) = died;
                let mut selection = queue.select_rows(revision, rows).await?;
                selection.is_whole &= is_whole;
                Ok(selection)
            }
        }
    }
}

/// The rows that the log of failures knows to have died so, and whether it was read to its end.
async fn died(
    queue: &Queue,
    kind: Kind,
    host: String,
    (since_ms, until_ms): (Option<u64>, Option<u64>),
) -> Result<(Vec<PostbackId>, bool), QueueError> {
    let scan = Scan {
        stream: Stream::Errors,
        since_ms,
        until_ms,
        // Entries that do not name the host need not be decoded.
        text: Some(host.clone()).filter(|host| !host.is_empty()),
        most: DEATHS,
        budget: Budget { records: usize::MAX, time: PATIENCE },
        ..Scan::default()
    };
    let page = queue.scan(&scan, move |logged| {
        let record = logged.record;
        let is_asked = record.host == host
            && matches!(record.then, Recorded::Dead(_))
            && Kind::of(&record).as_ref() == Some(&kind);
        is_asked.then(|| record.id.parse().ok()).flatten()
    });
    let page = page.await?;
    Ok((page.found, page.next.is_none()))
}
