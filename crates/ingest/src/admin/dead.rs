//! `/dead`: the dead letters, newest batch first; replaying and dropping them is in `admin/bulk.rs`.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use postback_core::{
    attempt::Cause,
    dead_letters::{DeadCursor, DeadRow},
    endpoint::Method,
    operate,
    select::Filter,
    view::{Postback, time_text},
    when::When,
};
use serde::{Deserialize, Serialize};

use super::{
    page,
    redact::Redact,
    shown,
    text::{Text, field, link},
};
use crate::{problem::Problem, store::Store};

/// Rows of a page.
const ROWS: usize = 50;
/// A filter may accept few of very many: a page ends with what it has found by then.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Which dead rows, as `postbackctl dead` has it; what is empty is not asked for.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Asked {
    pub(super) request: String,
    pub(super) host: String,
    pub(super) status: String,
    pub(super) cause: String,
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) since: String,
    pub(super) until: String,
}

impl Asked {
    /// # Errors
    /// When a field does not mean anything; it is named.
    pub(super) fn filter(&self, now_ms: u64) -> Result<Filter, Problem> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let time = |text: &str| Ok(text.parse::<When>()?.ms(now_ms));
        let status = |text: &str| text.parse::<u16>().map_err(|_| "is no HTTP status".to_owned());
        Ok(Filter {
            request: text(&self.request),
            hosts: field("host", &self.host, operate::hosts)?,
            status: field("status", &self.status, status)?,
            cause: field("cause", &self.cause, operate::cause)?,
            reference: text(&self.reference),
            since_ms: field("since", &self.since, time)?,
            until_ms: field("until", &self.until, time)?,
        })
    }

    /// The fields that are given.
    pub(super) fn fields(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("request", &self.request),
            ("host", &self.host),
            ("status", &self.status),
            ("cause", &self.cause),
            ("ref", &self.reference),
            ("since", &self.since),
            ("until", &self.until),
        ];
        let given = all.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| (name, value.as_str())).collect()
    }
}

/// The query of the page.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    #[serde(flatten)]
    asked: Asked,
    #[serde(default)]
    from: String,
}

#[derive(Template, Serialize)]
#[template(path = "dead.html")]
struct Page {
    #[serde(skip)]
    asked: Asked,
    #[serde(skip)]
    causes: Vec<&'static str>,
    /// Rows in the dead letters, whatever the filter.
    dead: u64,
    postbacks: Vec<Row>,
    /// Where the next page begins.
    next: Option<String>,
    #[serde(skip)]
    next_link: Option<String>,
    /// Whether the page ended for want of time, not of rows.
    is_cut_short: bool,
    #[serde(skip)]
    is_first: bool,
    #[serde(skip)]
    first_link: String,
}

#[derive(Serialize)]
struct Row {
    /// Its `attempts` are in the log alone: see `/postbacks/{id}`.
    #[serde(flatten)]
    postback: Postback,
    /// The last attempt's.
    last_status: Option<u16>,
    attempts_made: u8,
    died_at: String,
}

pub(super) async fn dead(
    request: HttpRequest,
    query: web::Query<Query>,
    store: web::Data<Store>,
    redact: web::Data<Redact>,
) -> Result<HttpResponse, Problem> {
    let Query { asked, from } = query.into_inner();
    let from = field("from", &from, |text| text.parse::<DeadCursor>().map_err(|e| e.to_string()))?;
    let now_ms = store.read(async |queue| queue.shards()[0].now_ms().await).await?;
    let filter = asked.filter(now_ms)?;
    let read = store.read(async |queue| {
        let until = Instant::now() + PATIENCE;
        let mut dead = 0;
        for shard in queue.shards() {
            dead += shard.stats().await?.dead;
        }
        Ok((dead, queue.dead_page(&filter, from, ROWS, until).await?))
    });
    let (dead, found) = read.await?;
    let next = found.next.map(|next| next.to_string());
    let next_link = next.as_ref().map(|next| {
        let mut fields = asked.fields();
        fields.push(("from", next));
        link("/dead", fields)
    });
    let rows: Vec<_> = found.rows.into_iter().map(|row| Row::new(row, &redact)).collect();
    let shown = Page {
        causes: Cause::NAMES.map(|(_, name)| name).into(),
        dead,
        is_cut_short: next.is_some() && rows.len() < ROWS,
        postbacks: rows,
        next,
        next_link,
        is_first: from.is_none(),
        first_link: link("/dead", asked.fields()),
        asked,
    };
    page(&request, &shown)
}

impl Row {
    fn new(row: DeadRow, redact: &Redact) -> Row {
        Row {
            postback: shown::redacted(redact, row.postback),
            last_status: (row.status > 0).then_some(row.status),
            attempts_made: row.attempts,
            died_at: time_text(row.died_ms),
        }
    }

    fn reference(&self) -> Option<Text> {
        self.postback.reference.clone().map(Text)
    }

    fn url(&self) -> Text {
        Text(self.postback.url.clone())
    }

    fn method(&self) -> &'static str {
        self.postback.method.map_or("cannot be read", Method::as_str)
    }
}
