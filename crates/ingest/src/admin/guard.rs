//! Around every page: who may come with which name and from where, what a browser may do with the answer, and
//! refusals as pages.
//!
//! Tokens are asked for at the door. Without them whoever reaches the listener may act, and what must be kept out is
//! other sites' scripts in an operator's browser: by their origin, and, where they made their own name point here (DNS
//! rebinding), by that name.

use std::net::IpAddr;

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, header},
    middleware::Next,
    web,
};

use super::{HTML, Refusal, asks_for_html, prefers_json, render};
use crate::{door::Door, problem::Problem, store::Store, trace::RequestId};

/// Nothing but our own files, no frame around us, forms to ourselves alone.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What is found out for the layout before a page is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Why the fleet is paused, if it is.
    pub(crate) paused: Option<String>,
    /// Whether Redis did not tell.
    pub(crate) is_redis_away: bool,
}

pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match check(&request) {
        Ok(()) => {
            look(&request).await;
            next.call(request).await?.map_into_boxed_body()
        }
        // Not `into_response`, which would forget the problem and with it why.
        Err(problem) => request.error_response(problem),
    };
    if let Some(refusal) = refusal(&response) {
        response = response.into_response(refusal);
    }
    harden(response.headers_mut());
    Ok(response)
}

fn check(request: &ServiceRequest) -> Result<(), Problem> {
    let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let has_tokens = request.app_data::<web::Data<Door>>().is_some_and(|door| door.has_tokens());
    if !has_tokens && !is_own_name(host) {
        return Err(forbidden(
            "without --admin-token-file the pages are only shown under an address, such as http://127.0.0.1:8081, \
             localhost or the box's own name",
        ));
    }
    let acts = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if acts && !is_same_origin(request.headers(), host) {
        return Err(forbidden("this was asked for by another site's page: use the buttons here"));
    }
    Ok(())
}

/// Whether no stranger can have made the name: an address, one without a dot, which no public name is, or the box's own.
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || name.eq_ignore_ascii_case(own.trim())
}

/// Browsers tell where a request comes from, and scripts cannot change it (Fetch Metadata; RFC 6454). What tells nothing
/// is no browser.
fn is_same_origin(headers: &header::HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let origin = text("origin").is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host))
    });
    site && origin
}

/// Asks what the layout tells on every page; a page about Redis being away is still a page.
async fn look(request: &ServiceRequest) {
    if prefers_json(request.request()) || request.path().starts_with("/assets/") {
        return;
    }
    let Some(store) = request.app_data::<web::Data<Store>>() else { return };
    let seen = match store.paused().await {
        Ok(paused) => Seen { paused, is_redis_away: false },
        Err(_) => Seen { paused: None, is_redis_away: true },
    };
    request.extensions_mut().insert(seen);
}

/// A refusal as a page, unless JSON is asked for: `routes::frame` makes problems of the others.
fn refusal(response: &ServiceResponse) -> Option<HttpResponse> {
    let request = response.request();
    let status = response.status();
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == HTML);
    let fine = !status.is_client_error() && !status.is_server_error();
    if fine || is_page || !asks_for_html(request) {
        return None;
    }
    let own = response.response().error().and_then(|error| error.as_error::<Problem>());
    let detail = own.map_or_else(String::new, |problem| problem.detail().to_owned());
    let page = Refusal {
        status: status.as_u16(),
        title: status.canonical_reason().unwrap_or_default(),
        detail: detail.into(),
        request_id: request
            .extensions()
            .get::<RequestId>()
            .map_or_else(String::new, |RequestId(id)| id.clone()),
    };
    let text = render(request, &page).ok()?;
    let mut refusal = HttpResponse::build(status);
    if let Some((name, value)) = own.and_then(Problem::header) {
        refusal.insert_header((name.clone(), value.as_str()));
    }
    Some(refusal.insert_header((header::CONTENT_TYPE, HTML)).body(text))
}

fn harden(headers: &mut header::HeaderMap) {
    let set = |headers: &mut header::HeaderMap, name, value| {
        headers.insert(name, header::HeaderValue::from_static(value));
    };
    set(headers, header::CONTENT_SECURITY_POLICY, POLICY);
    // Not `no-referrer`: forms would come with the origin `null`.
    set(headers, header::REFERRER_POLICY, "same-origin");
    set(headers, header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(headers, header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(headers, header::VARY, "Accept");
    if !headers.contains_key(header::CACHE_CONTROL) {
        set(headers, header::CACHE_CONTROL, "no-store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_stranger_may_own_is_not_ours() {
        let check = |host, expect| assert_eq!(is_own_name(host), expect, "{host}");
        for host in ["127.0.0.1", "127.0.0.1:8081", "[::1]:8081", "[::1]", "localhost:8081", "box1"]
        {
            check(host, true);
        }
        for host in [
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
        ] {
            check(host, false);
        }
    }

    #[test]
    fn other_sites_may_not_act() {
        let check = |given: &[(&'static str, &'static str)], expect| {
            let mut headers = header::HeaderMap::new();
            for (name, value) in given {
                headers.insert(
                    header::HeaderName::from_static(name),
                    header::HeaderValue::from_static(value),
                );
            }
            assert_eq!(is_same_origin(&headers, "127.0.0.1:8081"), expect, "{given:?}");
        };
        check(&[], true);
        check(&[("origin", "http://127.0.0.1:8081")], true);
        check(&[("origin", "http://127.0.0.1:8081"), ("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("origin", "http://127.0.0.1:8082")], false);
        check(&[("origin", "http://evil.example")], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "http://127.0.0.1:8081"), ("sec-fetch-site", "cross-site")], false);
    }
}
