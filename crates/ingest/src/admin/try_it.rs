//! `/try`: a form for one postback, which shows what would be sent, or stores it as a request of one row.

use actix_web::{
    HttpRequest, HttpResponse, ResponseError as _,
    http::header::{HeaderValue, RETRY_AFTER},
    web,
};
use askama::Template;
use postback_core::{
    endpoint::Method,
    id::PostbackId,
    request::{Request, parse},
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    done, page, page_with, prefers_json,
    redact::{HIDDEN, Redact},
    text::{Text, link},
};
use crate::{
    accept::{Bounds, store_alone},
    problem::Problem,
    store::Store,
    trace::RequestId,
};

/// The longest form, in bytes.
pub(super) const MOST: usize = 1024 * 1024;
/// The longest link that carries what was typed to the page after sending.
const LINK: usize = 4000;

/// What is typed, or given by a link.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    method: String,
    url: String,
    headers: String,
    body: String,
    row: String,
    policy: String,
    r#do: String,
    sent: String,
}

#[derive(Template, Serialize)]
#[template(path = "try.html")]
struct Page {
    #[serde(skip)]
    form: Typed,
    #[serde(skip)]
    methods: Vec<&'static str>,
    faults: Vec<Fault>,
    retry_after: Option<String>,
    dry_run: Option<Shown>,
    /// The postback that was stored.
    sent: Option<String>,
}

#[derive(Serialize)]
struct Fault {
    place: Text,
    detail: Text,
}

/// A row as it would be sent.
#[derive(Serialize)]
struct Shown {
    method: &'static str,
    url: Text,
    headers: Vec<(Text, Text)>,
    body: Option<Text>,
    unmatched: Vec<Text>,
}

impl Page {
    fn new(form: Typed) -> Page {
        let methods =
            [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Head];
        Page {
            form,
            methods: methods.map(Method::as_str).into(),
            faults: Vec::new(),
            retry_after: None,
            dry_run: None,
            sent: None,
        }
    }

    /// What is wrong with what was typed into a field.
    fn fault(&self, field: &str) -> Option<&Text> {
        let of_field = |place: &str| match field {
            "url" => place.starts_with("endpoint.url"),
            "headers" => place.starts_with("endpoint.headers") || place == "headers",
            "body" => place.starts_with("endpoint.body"),
            "row" => place.starts_with("data") || place == "row",
            _ => place.starts_with("policy"),
        };
        self.faults.iter().find(|fault| of_field(&fault.place.0)).map(|fault| &fault.detail)
    }
}

pub(super) async fn form(
    request: HttpRequest,
    query: web::Query<Typed>,
) -> Result<HttpResponse, Problem> {
    let typed = query.into_inner();
    let sent = typed.sent.parse::<PostbackId>().ok().map(|id| id.to_string());
    page(&request, &Page { sent, ..Page::new(typed) })
}

pub(super) async fn act(
    request: HttpRequest,
    form: web::Form<Typed>,
    id: web::ReqData<RequestId>,
    store: web::Data<Store>,
    bounds: web::Data<Bounds>,
    redact: web::Data<Redact>,
) -> Result<HttpResponse, Problem> {
    let typed = form.into_inner();
    let text = match typed.request() {
        Ok(text) => text,
        Err((place, why)) => {
            let problem = Problem::bad_request(format_args!("{place}: {why}"));
            return refused(&request, typed, problem);
        }
    };
    if typed.r#do != "send" {
        return match dry_run(&text, &bounds, &redact) {
            Ok(shown) => page(&request, &Page { dry_run: Some(shown), ..Page::new(typed) }),
            Err(problem) => refused(&request, typed, problem),
        };
    }
    let RequestId(id) = id.into_inner();
    let stored = match store_alone(text, id.clone(), &store, &bounds).await {
        Ok(stored) => stored,
        Err(problem) => return refused(&request, typed, problem),
    };
    let sent = stored.first().map(|batch| batch.id.postback(0).to_string()).unwrap_or_default();
    Ok(done(&request, &typed.place(&sent, &redact), &json!({ "id": sent, "request_id": id })))
}

/// The form again, with what is wrong beside it; for programs the problem.
fn refused(request: &HttpRequest, typed: Typed, problem: Problem) -> Result<HttpResponse, Problem> {
    if prefers_json(request) {
        return Err(problem);
    }
    let mut faults: Vec<_> = problem
        .faults()
        .map(|(place, detail)| Fault {
            place: place.to_owned().into(),
            detail: detail.to_owned().into(),
        })
        .collect();
    if faults.is_empty() {
        // A field of the form that could not be read at all is named in front.
        let (place, detail) = match problem.detail().split_once(": ") {
            Some((place @ ("headers" | "row" | "policy"), why)) => (place, why),
            _ => ("", problem.detail()),
        };
        faults.push(Fault { place: place.to_owned().into(), detail: detail.to_owned().into() });
    }
    let retry_after = problem.header().filter(|(name, _)| *name == RETRY_AFTER);
    let retry_after = retry_after.map(|(_, seconds)| seconds.clone());
    let shown = Page { faults, retry_after: retry_after.clone(), ..Page::new(typed) };
    let mut answer = page_with(problem.status_code(), request, &shown)?;
    if let Some(seconds) = retry_after.and_then(|text| HeaderValue::from_str(&text).ok()) {
        answer.headers_mut().insert(RETRY_AFTER, seconds);
    }
    Ok(answer)
}

fn dry_run(text: &str, bounds: &Bounds, redact: &Redact) -> Result<Shown, Problem> {
    let Request { envelope, rows, .. } = parse(text.as_bytes(), bounds.requests.limits())?;
    let endpoint = &envelope.endpoint;
    let row = rows.first().ok_or_else(|| Problem::bad_request("there is no row"))?;
    let filled = endpoint.fill(row).map_err(Problem::bad_request)?;
    let header = |(name, value): (&str, String)| {
        (name.to_owned().into(), redact.header(name, &value).into())
    };
    Ok(Shown {
        method: endpoint.template().method.as_str(),
        url: redact.url(&endpoint.origin().url(&filled.target)).into(),
        headers: filled.headers.into_iter().map(header).collect(),
        body: filled.body.map(|body| redact.body(&body).into()),
        unmatched: filled.unmatched.iter().map(|name| Text((*name).to_owned())).collect(),
    })
}

impl Typed {
    /// The request as a client would post it; or which field is not what it must be, and why.
    fn request(&self) -> Result<String, (&'static str, String)> {
        let or = |text: &str, default: &str| {
            let text = text.trim();
            if text.is_empty() { default.to_owned() } else { text.to_owned() }
        };
        let raw = |place: &'static str, text: String| {
            RawValue::from_string(text).map_err(|error| (place, format!("is not JSON: {error}")))
        };
        let mut headers = serde_json::Map::new();
        for line in self.headers.lines().filter(|line| !line.trim().is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                return Err(("headers", format!("`{line}` has no colon")));
            };
            if headers.insert(name.trim().into(), value.trim().into()).is_some() {
                return Err(("headers", format!("`{}` is given twice", name.trim())));
            }
        }
        let body = match self.body.trim() {
            "" => "null".to_owned(),
            text if text.starts_with(['{', '[']) && raw("", text.to_owned()).is_ok() => text.into(),
            // Browsers end lines with both.
            _ => json!(self.body.replace("\r\n", "\n")).to_string(),
        };
        let (row, policy) =
            (raw("row", or(&self.row, "{}"))?, raw("policy", or(&self.policy, "{}"))?);
        let (method, url) = (json!(or(&self.method, "GET")), json!(self.url.trim()));
        let headers = json!(headers);
        let endpoint =
            format!(r#"{{"method":{method},"url":{url},"headers":{headers},"body":{body}}}"#);
        Ok(format!(r#"{{"endpoint":{endpoint},"data":[{row}],"policy":{policy}}}"#))
    }

    /// Where the browser goes on: the form with what was typed, if a link can carry it. What is hidden elsewhere is
    /// hidden in it: links stay in histories and in logs of proxies.
    fn place(&self, sent: &str, redact: &Redact) -> String {
        let header = |line: &str| match line.split_once(':') {
            Some((name, value)) => format!("{name}: {}", redact.header(name.trim(), value.trim())),
            None => line.to_owned(),
        };
        let headers: Vec<_> = self.headers.lines().map(header).collect();
        let fields = [
            ("sent", sent),
            ("method", &self.method),
            ("url", &redact.url(&self.url)),
            ("headers", &headers.join("\n")),
            ("body", &redact.body(&self.body)),
            ("row", &redact.body(&self.row)),
            ("policy", &self.policy),
        ];
        let whole = link("/try", fields);
        if whole.len() <= LINK { whole } else { link("/try", [fields[0]]) }
    }

    /// Whether a hidden value stands in it that must be put in before it is sent.
    fn is_hidden(&self) -> bool {
        let fields = [&self.url, &self.headers, &self.body, &self.row];
        fields.iter().any(|text| text.contains(HIDDEN))
    }
}
