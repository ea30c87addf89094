//! `/errors`: failed attempts in groups, and apart from them what the daemons themselves complain of.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use postback_core::{
    attempt::Cause,
    failures::{Group, Groups, Kind, Others},
    operate,
    queue::{Budget, Notice, Queue, QueueError, Scan, Stream},
    view::time_text,
    when::When,
};
use serde::{Deserialize, Serialize};

use super::{
    page,
    text::{Text, field, link},
};
use crate::{problem::Problem, store::Store};

/// How far it is looked back, where nothing is said.
const BACK: Duration = Duration::from_secs(24 * 3600);
/// So many failures are looked at for a page, and so long.
const BUDGET: Budget = Budget { records: 500_000, time: Duration::from_millis(1500) };
/// So many groups are shown.
const SHOWN: usize = 200;
/// So many lines of the daemons' logs.
const NOTICES: usize = 50;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    host: String,
    cause: String,
    since: String,
    until: String,
}

#[derive(Template, Serialize)]
#[template(path = "errors.html")]
struct Page {
    #[serde(skip)]
    asked: Asked,
    #[serde(skip)]
    causes: Vec<&'static str>,
    groups: Vec<Shown>,
    /// Groups that are not among them.
    left_out: usize,
    others: Others,
    looked_at: usize,
    /// From when on failures were asked for.
    since: String,
    /// When the oldest failure that was looked at was written down.
    back_to: Option<String>,
    /// Whether all that was asked for was looked at.
    is_whole: bool,
    daemons: Vec<Shout>,
}

#[derive(Serialize)]
struct Shown {
    cause: Cause,
    error: Text,
    host: Text,
    attempts: u64,
    postbacks: u64,
    deaths: u64,
    first_seen: String,
    last_seen: String,
    samples: Vec<String>,
    /// The error without its cause, which is shown beside it.
    #[serde(skip)]
    text: Text,
    #[serde(skip)]
    requests_link: String,
    #[serde(skip)]
    dead_link: String,
}

/// A line of a daemon's log.
#[derive(Serialize)]
struct Shout {
    at: String,
    #[serde(rename = "box")]
    host: Text,
    program: Text,
    pid: u32,
    level: Text,
    text: Text,
}

impl Shout {
    fn new(notice: Notice) -> Shout {
        Shout {
            at: notice.at,
            host: notice.host.into(),
            program: notice.program.into(),
            pid: notice.pid,
            level: notice.level.into(),
            text: notice.text.into(),
        }
    }

    fn is_error(&self) -> bool {
        self.level.0 == "ERROR"
    }
}

/// What is asked of the log of failures.
#[derive(Clone)]
struct Question {
    hosts: Option<Vec<String>>,
    cause: Option<Cause>,
    since_ms: u64,
    until_ms: Option<u64>,
}

impl Question {
    fn of(asked: &Asked, now_ms: u64) -> Result<Question, Problem> {
        let time = |text: &str| Ok(text.parse::<When>()?.ms(now_ms));
        let back = now_ms.saturating_sub(BACK.as_millis() as u64);
        Ok(Question {
            hosts: field("host", &asked.host, operate::hosts)?,
            cause: field("cause", &asked.cause, operate::cause)?,
            since_ms: field("since", &asked.since, time)?.unwrap_or(back),
            until_ms: field("until", &asked.until, time)?,
        })
    }
}

struct Answer {
    groups: Vec<Group>,
    others: Others,
    looked_at: usize,
    back_to_ms: Option<u64>,
    is_whole: bool,
}

pub(super) async fn errors(
    request: HttpRequest,
    query: web::Query<Asked>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    let asked = query.into_inner();
    let now_ms = store.read(async |queue| queue.shards()[0].now_ms().await).await?;
    let question = Question::of(&asked, now_ms)?;
    let answer = store.read(async |queue| group(queue, &question).await).await?;
    let notices = store.read(async |queue| queue.notices(NOTICES).await).await?;
    let since = time_text(question.since_ms);
    let left_out = answer.groups.len().saturating_sub(SHOWN);
    let groups = answer.groups.into_iter().take(SHOWN);
    let shown = Page {
        causes: Cause::NAMES.map(|(_, name)| name).into(),
        groups: groups.map(|group| Shown::new(group, &since, &asked.until)).collect(),
        left_out,
        others: answer.others,
        looked_at: answer.looked_at,
        since,
        back_to: answer.back_to_ms.map(time_text),
        is_whole: answer.is_whole,
        daemons: notices.into_iter().map(Shout::new).collect(),
        asked,
    };
    page(&request, &shown)
}

/// The grouping is done beside the event loop, where the scan decodes its records.
async fn group(queue: &Queue, question: &Question) -> Result<Answer, QueueError> {
    let scan = Scan {
        stream: Stream::Errors,
        since_ms: Some(question.since_ms),
        until_ms: question.until_ms,
        // Entries that do not name the host need not be decoded.
        text: question
            .hosts
            .as_ref()
            .filter(|hosts| hosts.len() == 1)
            .map(|hosts| hosts[0].clone()),
        most: usize::MAX,
        budget: BUDGET,
        ..Scan::default()
    };
    let groups = Arc::new(Mutex::new(Groups::default()));
    let (into, asked) = (groups.clone(), question.clone());
    let taken = queue.scan(&scan, move |logged| {
        let record = logged.record;
        let is_asked = asked.hosts.as_ref().is_none_or(|hosts| hosts.contains(&record.host))
            && asked.cause.is_none_or(|cause| Kind::of(&record).is_some_and(|k| k.cause == cause));
        if is_asked {
            into.lock().unwrap_or_else(PoisonError::into_inner).add(&record);
        }
        None::<()>
    });
    let page = taken.await?;
    let groups = std::mem::take(&mut *groups.lock().unwrap_or_else(PoisonError::into_inner));
    let (groups, others) = groups.into_sorted();
    Ok(Answer {
        groups,
        others,
        looked_at: page.looked_at,
        back_to_ms: page.back_to_ms,
        is_whole: page.next.is_none(),
    })
}

impl Shown {
    fn new(group: Group, since: &str, until: &str) -> Shown {
        let cause = group.cause.name();
        let host = group.host.as_str();
        let times = [("since", since), ("until", until)];
        // A status tells the partner's trouble apart whatever came of it; of the rest only the dead rows' cause is known.
        let kind = match group.error.strip_prefix("status ") {
            Some(status) => ("status", status.to_owned()),
            None => ("cause", cause.to_owned()),
        };
        let fields = [("host", host), (kind.0, kind.1.as_str())];
        let fields: Vec<_> = fields.into_iter().chain(times).collect();
        Shown {
            requests_link: link("/requests", fields.clone()),
            dead_link: link("/dead", fields),
            text: short(&group.error, cause).to_owned().into(),
            cause: group.cause,
            error: group.error.into(),
            host: group.host.clone().into(),
            attempts: group.attempts,
            postbacks: group.postbacks,
            deaths: group.deaths,
            first_seen: time_text(group.first_ms),
            last_seen: time_text(group.last_ms),
            samples: group.samples,
        }
    }
}

fn short<'a>(error: &'a str, cause: &str) -> &'a str {
    error.strip_prefix(cause).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(error)
}
