//! What the query of `/requests` asks for. A field that is empty, as forms send it, asks for nothing.

use postback_core::{
    endpoint::Method,
    operate,
    queue::Place,
    view::{Postback, Standing, Wanted, time_text},
    when::When,
};
use serde::Deserialize;

use crate::{
    admin::text::{field, link},
    problem::Problem,
};

/// How many postbacks a page has, and how many at most.
const LIMIT: usize = 50;
const MOST: usize = 500;
/// The longest text that is searched for, in bytes: the longest ref.
const TEXT: usize = 1024;

pub(super) const METHODS: [Method; 6] =
    [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Head];

/// The query as it came.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::admin) struct Query {
    q: Option<String>,
    state: Option<String>,
    host: Option<String>,
    status: Option<String>,
    cause: Option<String>,
    method: Option<String>,
    since: Option<String>,
    until: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// What it means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Criteria {
    /// A postback's id, a request's id or a ref.
    pub(super) text: Option<String>,
    pub(super) wanted: Wanted,
    /// From when on it last changed, milliseconds since 1970, Redis's time.
    pub(super) since_ms: Option<u64>,
    /// Before when.
    pub(super) until_ms: Option<u64>,
    pub(super) before: Option<Place>,
    pub(super) most: usize,
}

impl Query {
    fn fields(&self) -> [(&'static str, &Option<String>); 10] {
        [
            ("q", &self.q),
            ("state", &self.state),
            ("host", &self.host),
            ("status", &self.status),
            ("cause", &self.cause),
            ("method", &self.method),
            ("since", &self.since),
            ("until", &self.until),
            ("limit", &self.limit),
            ("before", &self.before),
        ]
    }

    /// A field's text, for the form; empty: not given.
    pub(super) fn get(&self, field: &str) -> &str {
        let found = self.fields().into_iter().find(|(name, _)| *name == field);
        found.and_then(|(_, text)| text.as_deref()).unwrap_or_default()
    }

    pub(super) fn before(&self) -> Option<&str> {
        Some(self.get("before")).filter(|before| !before.is_empty())
    }

    /// The same list, behind another place.
    pub(super) fn link(&self, before: Option<&str>) -> String {
        let kept = self.fields().into_iter().filter(|(name, _)| *name != "before");
        let kept = kept.map(|(name, text)| (name, text.as_deref().unwrap_or_default()));
        link("/requests", kept.chain(before.map(|before| ("before", before))))
    }
}

impl Criteria {
    /// `now_ms`: the fleet's time.
    pub(super) fn read(query: &Query, now_ms: u64) -> Result<Criteria, Problem> {
        let hosts = field("host", query.get("host"), |text| {
            let mut hosts = operate::hosts(text)?;
            hosts.dedup();
            Ok(hosts)
        })?;
        let time = |text: &str| Ok(text.parse::<When>()?.ms(now_ms));
        Ok(Criteria {
            text: field("q", query.get("q"), |text| {
                let fits = text.len() <= TEXT;
                let why = || format!("is longer than {TEXT} bytes, as no id and no ref is");
                fits.then(|| text.to_owned()).ok_or_else(why)
            })?,
            wanted: Wanted {
                state: field("state", query.get("state"), state)?,
                hosts,
                status: field("status", query.get("status"), status)?,
                cause: field("cause", query.get("cause"), operate::cause)?,
                method: field("method", query.get("method"), method)?,
            },
            since_ms: field("since", query.get("since"), time)?,
            until_ms: field("until", query.get("until"), time)?,
            before: field("before", query.get("before"), |text| {
                text.parse().map_err(|error: postback_core::queue::PlaceError| error.to_string())
            })?,
            most: field("limit", query.get("limit"), |text| {
                let most = text.parse().ok().filter(|most| (1..=MOST).contains(most));
                most.ok_or_else(|| format!("must be from 1 to {MOST}"))
            })?
            .unwrap_or(LIMIT),
        })
    }

    /// Whether a postback that was searched for, and last changed then, is wanted.
    pub(super) fn accepts(&self, postback: &Postback, at: &str) -> bool {
        let Wanted { state, hosts, status, cause, method } = &self.wanted;
        let last = postback.attempts.last().map_or(0, |last| last.status.unwrap_or_default());
        // Times of one form are in order as texts.
        state.is_none_or(|state| state == postback.state)
            && hosts.as_ref().is_none_or(|hosts| hosts.contains(&postback.host))
            && status.is_none_or(|(from, to)| (from..=to).contains(&last))
            && cause.is_none_or(|cause| Some(cause) == postback.cause)
            && method.is_none_or(|method| Some(method) == postback.method)
            && self.since_ms.is_none_or(|since| *at >= *time_text(since))
            && self.until_ms.is_none_or(|until| *at < *time_text(until))
    }
}

fn state(text: &str) -> Result<Standing, String> {
    let states = [Standing::Pending, Standing::Delivered, Standing::Dead];
    let found = states.into_iter().find(|state| state.as_str() == text);
    found.ok_or_else(|| "must be pending, delivered or dead".to_owned())
}

fn method(text: &str) -> Result<Method, String> {
    let found = METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("is not one of {}", METHODS.map(Method::as_str).join(", ")))
}

/// `503`, `5xx`, or `0` for no answer.
fn status(text: &str) -> Result<(u16, u16), String> {
    let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
    let found = match class {
        Some(class) => class.parse::<u16>().ok().filter(|n| (1..=9).contains(n)),
        None => text.parse::<u16>().ok().filter(|n| *n == 0 || (100..=999).contains(n)),
    };
    let range = |n: u16| if class.is_some() { (n * 100, n * 100 + 99) } else { (n, n) };
    found.map(range).ok_or_else(|| {
        "must be a status such as 503, a class such as 5xx, or 0 for no answer".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use postback_core::attempt::Cause;

    use super::*;

    fn query(text: &str) -> Query {
        actix_web::web::Query::<Query>::from_query(text).unwrap().into_inner()
    }

    #[test]
    fn empty_fields_of_a_form_ask_for_nothing() {
        let empty = "q=+&state=&host=&status=&cause=&method=&since=&until=&before=&limit=";
        let nothing = Criteria {
            text: None,
            wanted: Wanted::default(),
            since_ms: None,
            until_ms: None,
            before: None,
            most: 50,
        };
        assert_eq!(Criteria::read(&query(empty), 0).unwrap(), nothing);
        assert_eq!(Criteria::read(&query(""), 0).unwrap(), nothing);
    }

    #[test]
    fn a_field_that_is_wrong_is_named_with_what_would_do() {
        let check = |text: &str, expect: &str| {
            let problem = Criteria::read(&query(text), 0).unwrap_err().to_string();
            assert!(problem.contains(expect), "{text}: {problem}");
        };
        check("state=lost", "state `lost`: must be pending, delivered or dead");
        check("status=5x", "status `5x`: must be a status such as 503");
        check("status=0xx", "status `0xx`");
        check("cause=bad", "is not one of blocked, status");
        check("method=LOOK", "is not one of GET, POST");
        check("since=soon", "must be a time in UTC");
        check("host=a.com/x", "host `a.com/x`");
        check("before=1", "before `1`: is no cursor");
        check("limit=0", "from 1 to 500");
        check("limit=501", "from 1 to 500");
        check(&format!("q={}", "a".repeat(1025)), "longer than 1024 bytes");
    }

    #[test]
    fn filters_are_read_as_people_write_them() {
        let text = "q=+click&state=dead&host=A.com&status=4xx&cause=tls&method=get&since=1h&until=1970-01-01T02:00:00Z&limit=7";
        let criteria = Criteria::read(&query(text), 7_200_000).unwrap();
        assert_eq!((criteria.text.as_deref(), criteria.most), (Some("click"), 7));
        assert_eq!((criteria.since_ms, criteria.until_ms), (Some(3_600_000), Some(7_200_000)));
        let Wanted { state, hosts, status, cause, method } = criteria.wanted;
        assert_eq!(
            (state, status, method),
            (Some(Standing::Dead), Some((400, 499)), Some(Method::Get))
        );
        assert_eq!(
            (hosts.unwrap(), cause),
            (vec!["a.com:80".into(), "a.com:443".into()], Some(Cause::Tls))
        );
    }

    #[test]
    fn the_next_pages_link_keeps_the_filters() {
        let link = query("q=&ref=x&host=a%26b&status=5xx&before=old").link(Some("1-1.0.all"));
        assert_eq!(link, "/requests?host=a%26b&status=5xx&before=1-1.0.all");
    }
}
