//! A filled postback as an HTTP request.

use std::cell::RefCell;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request,
    header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use postback_core::{attempt::Failure, endpoint, endpoint::Origin};

const AGENT: &str = concat!("postback/", env!("CARGO_PKG_VERSION"));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Headers of our own on a request, at most.
const OWN_HEADERS: usize = 7;

/// The `Host` header for an origin, to be made once; `None`: it cannot be written, which a checked endpoint rules out.
pub(crate) fn host_header(origin: &Origin) -> Option<HeaderValue> {
    origin.authority().try_into().ok()
}

/// What one attempt sends.
#[derive(Debug, Clone)]
pub(crate) struct Prepared<'a> {
    /// HTTP method.
    pub(crate) method: endpoint::Method,
    /// Where it goes.
    pub(crate) origin: &'a Origin,
    /// As [`host_header`] makes it of the origin.
    pub(crate) host: Option<HeaderValue>,
    /// Path and query as sent; starts with `/`.
    pub(crate) target: &'a str,
    /// The endpoint's headers, filled.
    pub(crate) headers: &'a [(&'a str, String)],
    /// The body, if there is one.
    pub(crate) body: Option<&'a str>,
    /// `webhook-id`: the postback's id, the same on every attempt.
    pub(crate) id: &'a str,
    /// `traceparent` (W3C Trace Context).
    pub(crate) traceparent: String,
    /// `webhook-timestamp`: the time of the attempt in seconds since 1970.
    pub(crate) timestamp: u64,
    /// `webhook-signature` (Standard Webhooks), if there is a key.
    pub(crate) signature: Option<String>,
}

impl Prepared<'_> {
    /// The request as it is written.
    ///
    /// # Errors
    /// `Blocked` when it cannot be written as HTTP, which a checked endpoint rules out.
    pub(super) fn into_request(mut self) -> Result<Request<Full<Bytes>>, Failure> {
        let unwritable = |error: hyper::http::Error| {
            Failure::Blocked(format!("the request cannot be written as HTTP: {error}"))
        };
        let host = self.host.take().ok_or_else(|| {
            Failure::Blocked(format!("the host {} cannot be written", self.origin.host))
        })?;
        let traceparent = std::mem::take(&mut self.traceparent);
        let headers = self.headers(host, traceparent).map_err(unwritable)?;
        let body = Bytes::copy_from_slice(self.body.unwrap_or_default().as_bytes());
        let request = Request::builder().method(method(self.method)).uri(self.target);
        let mut request = request.body(Full::new(body)).map_err(unwritable)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The user's headers between ours; of ours, only `User-Agent` is theirs to change.
    fn headers(
        &self,
        host: HeaderValue,
        traceparent: String,
    ) -> Result<HeaderMap, hyper::http::Error> {
        let mut headers = HeaderMap::with_capacity(OWN_HEADERS + self.headers.len());
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in self.headers {
            headers
                .insert(HeaderName::try_from(*name)?, HeaderValue::from_bytes(value.as_bytes())?);
        }
        headers.insert(WEBHOOK_ID, self.id.try_into()?);
        headers.insert(WEBHOOK_TIMESTAMP, stamp(self.timestamp));
        if let Some(signature) = &self.signature {
            headers.insert(WEBHOOK_SIGNATURE, signature.try_into()?);
        }
        headers.insert(TRACEPARENT, traceparent.try_into()?);
        // hyper gives a length to bodies that are not empty; these methods have one even so (RFC 9110, 8.6).
        use endpoint::Method::{Patch, Post, Put};
        if matches!(self.method, Post | Put | Patch) && self.body.is_none_or(str::is_empty) {
            headers.insert(CONTENT_LENGTH, 0.into());
        }
        Ok(headers)
    }
}

thread_local! {
    /// The last time that was written, and how.
    static STAMP: RefCell<(u64, HeaderValue)> = RefCell::new((0, 0.into()));
}

/// A time in seconds as a header's value, made once a second.
fn stamp(seconds: u64) -> HeaderValue {
    STAMP.with_borrow_mut(|(at, value)| {
        if *at != seconds {
            (*at, *value) = (seconds, seconds.into());
        }
        value.clone()
    })
}

fn method(method: endpoint::Method) -> Method {
    match method {
        endpoint::Method::Get => Method::GET,
        endpoint::Method::Post => Method::POST,
        endpoint::Method::Put => Method::PUT,
        endpoint::Method::Patch => Method::PATCH,
        endpoint::Method::Delete => Method::DELETE,
        endpoint::Method::Head => Method::HEAD,
    }
}

#[cfg(test)]
mod tests {
    use postback_core::endpoint::{BodyTemplate, Endpoint, EndpointTemplate, Unmatched};

    use super::*;

    #[test]
    fn every_target_that_an_endpoint_makes_is_sent_as_it_is() {
        let check = |text: &str| {
            let template = EndpointTemplate {
                method: endpoint::Method::Get,
                url: format!("http://a.test/{text}?{text}"),
                headers: vec![],
                body: BodyTemplate::None,
                reference: None,
                unmatched: Unmatched::Text(String::new()),
            };
            let Ok(endpoint) = Endpoint::compile(template) else { return false };
            let filled = endpoint.fill(&vec![]).unwrap();
            let prepared = Prepared {
                method: endpoint::Method::Get,
                origin: endpoint.origin(),
                host: Some(HeaderValue::from_static("a.test")),
                target: &filled.target,
                headers: &filled.headers,
                body: None,
                id: "id",
                traceparent: "trace".into(),
                timestamp: 0,
                signature: None,
            };
            assert_eq!(prepared.into_request().unwrap().uri().to_string(), filled.target);
            true
        };
        let sendable = (1..=u8::MAX).filter(|byte| check(&char::from(*byte).to_string())).count();
        assert!(sendable > 180, "only {sendable} characters could be sent");
        for text in ["", "?", "//", "..", "%2e%2e", "a?b?c", "\u{1f600}", &"x".repeat(4000)] {
            assert!(check(text), "{text}");
        }
    }
}
