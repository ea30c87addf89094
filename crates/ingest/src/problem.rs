//! Every refusal as `application/problem+json` (RFC 9457), with a code for programs and a detail for people.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use postback_core::{
    inert,
    queue::QueueError,
    request::{ErrorKind, RequestErrors},
};
use serde::Serialize;

use crate::store::NotStored;

/// Seconds after which a client should try again what Redis could not take.
const RETRY_AFTER: u64 = 2;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Option<Box<RequestErrors>>,
    header: Option<(header::HeaderName, String)>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault<'a>>,
}

/// One of the faults of a request, in the style of RFC 9457, section 3.
#[derive(Serialize)]
struct Fault<'a> {
    place: &'a str,
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl fmt::Display,
    ) -> Problem {
        Problem { status, code, detail: detail.to_string(), errors: None, header: None }
    }

    pub(crate) fn bad_request(detail: impl fmt::Display) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(crate) fn unavailable(code: &'static str, detail: impl fmt::Display) -> Problem {
        Problem::retry(code, detail, RETRY_AFTER)
    }

    /// The word for programs, of a closed list.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// Redis cannot be used.
    pub(crate) fn not_ready(error: &QueueError) -> Problem {
        Problem::unavailable("not_ready", format_args!("redis cannot be used ({})", error.kind()))
    }

    /// 503, and after how many seconds to come again.
    fn retry(code: &'static str, detail: impl fmt::Display, seconds: u64) -> Problem {
        let header = Some((header::RETRY_AFTER, seconds.to_string()));
        Problem { header, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// With a header beside what every problem has.
    pub(crate) fn with(self, name: header::HeaderName, value: String) -> Problem {
        Problem { header: Some((name, value)), ..self }
    }

    /// Each fault of a request: its place and what is wrong.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        let errors = self.errors.as_deref().map_or(&[][..], RequestErrors::as_slice);
        errors.iter().map(|error| (error.place.as_str(), error.reason.as_str()))
    }

    /// For people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The header beside what every problem has.
    pub(crate) fn header(&self) -> Option<&(header::HeaderName, String)> {
        self.header.as_ref()
    }

    /// The path is right, the method is not.
    pub(crate) fn method(allow: &str) -> Problem {
        let detail = format!("this path takes {allow}");
        Problem {
            header: Some((header::ALLOW, allow.into())),
            ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        }
    }

    /// What actix-web refused by itself.
    pub(crate) fn of_status(status: StatusCode) -> Problem {
        let code = if status.is_server_error() { "internal" } else { "bad_request" };
        Problem::new(status, code, status.canonical_reason().unwrap_or_default().to_lowercase())
    }

    /// The answer.
    pub(crate) fn respond(&self, request_id: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some((name, value)) = &self.header {
            response.insert_header((name.clone(), value.as_str()));
        }
        // `about:blank` (RFC 9457, 4.2.1): the title is the status's own, `code` tells more.
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
            errors: self.errors.as_deref().map(faults).unwrap_or_default(),
        };
        // Names and values of a request are quoted in it.
        let text = inert::json(&serde_json::to_string(&body).unwrap_or_default());
        response.insert_header((header::CONTENT_TYPE, "application/problem+json")).body(text)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    /// Replaced by [`Problem::respond`], which knows the request's id.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status)
    }
}

fn faults(errors: &RequestErrors) -> Vec<Fault<'_>> {
    let faults = errors.as_slice().iter();
    faults.map(|error| Fault { place: &error.place, detail: &error.reason }).collect()
}

impl From<RequestErrors> for Problem {
    fn from(errors: RequestErrors) -> Problem {
        let problem = match errors.kind() {
            ErrorKind::Bad => Problem::bad_request(&errors),
            ErrorKind::TooManyRows => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", &errors)
            }
        };
        Problem { errors: Some(Box::new(errors)), ..problem }
    }
}

impl From<NotStored> for Problem {
    /// Says nothing of where Redis is: clients may be strangers. An operator finds it in the log.
    fn from(NotStored { error, is_unknown, has_key }: NotStored) -> Problem {
        let kind = error.kind();
        match &error {
            QueueError::OtherBody => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key came with another body before: take a new key for a new request",
            ),
            QueueError::Full(room) | QueueError::Memory(room) => {
                let is_memory = matches!(error, QueueError::Memory(_));
                let what = if is_memory { "redis's memory" } else { "the backlog" };
                let detail =
                    format!("nothing was stored: {what} is full; repeat the request later");
                Problem::retry("not_enqueued", detail, room.wait().as_secs())
            }
            _ if is_unknown && has_key => {
                let again = "repeat the request with the same Idempotency-Key";
                let detail = format!("redis's answer was lost ({kind}): {again}");
                Problem::unavailable("unknown", detail)
            }
            _ if is_unknown => {
                let again =
                    "a repeated request may be stored twice, unless both had an Idempotency-Key";
                let detail =
                    format!("redis's answer was lost ({kind}), the rows may be stored: {again}");
                Problem::unavailable("unknown", detail)
            }
            _ => {
                let detail = format!(
                    "nothing was stored: redis cannot take it now ({kind}); repeat the request"
                );
                Problem::unavailable("not_enqueued", detail)
            }
        }
    }
}
