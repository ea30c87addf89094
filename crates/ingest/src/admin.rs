//! The operators' pages, on the admin listener: which there are, and what all of them share.
//!
//! A page is a struct that is both an askama template and JSON; its handler is in a file of the page's name under
//! `admin/`, its HTML in `templates/`. Who may see and change things is in `admin/guard.rs`, what is hidden in
//! `admin/redact.rs`.

mod assets;
mod bulk;
mod dead;
mod errors;
mod guard;
mod hosts;
mod overview;
mod postback;
pub(crate) mod redact;
mod requests;
mod shown;
mod text;
mod try_it;
mod workers;

use actix_web::{
    Handler, HttpMessage, HttpRequest, HttpResponse, Resource, Responder, ResponseError,
    http::{StatusCode, header},
    middleware::from_fn,
    web,
};
use askama::Template;
use postback_core::queue::PastSteps;
use serde::Serialize;

pub(crate) use self::{bulk::Runs, guard::Seen};
use crate::problem::Problem;

/// The content type of pages.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// The longest form, in bytes: a page of ticked rows takes 3 KiB.
const FORM: usize = 16 * 1024;

/// What is in the navigation: path and name.
const PLACES: [(&str, &str); 7] = [
    ("/", "Overview"),
    ("/requests", "Requests"),
    ("/errors", "Errors"),
    ("/dead", "Dead letters"),
    ("/hosts", "Hosts"),
    ("/workers", "Workers"),
    ("/try", "Try"),
];

/// Every page. What is not among them is told to be missing.
pub(crate) fn pages(config: &mut web::ServiceConfig) {
    let missing = || async {
        let detail = "there is no such page";
        Err::<HttpResponse, _>(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
    };
    config.service(
        web::scope("")
            .wrap(from_fn(guard::guard))
            .app_data(web::Data::new(PastSteps::default()))
            .app_data(web::QueryConfig::default().error_handler(|error, _| unread(&error)))
            .app_data(form(FORM))
            .service(read("/", overview::overview))
            .service(read("/assets/style.css", assets::style))
            .service(read("/assets/live.js", assets::script))
            .service(read("/requests", requests::requests))
            .service(read("/postbacks/{id}", postback::postback))
            .service(act("/postbacks/{id}/replay", postback::replay))
            .service(act("/postbacks/{id}/cancel", postback::cancel))
            .service(read("/errors", errors::errors))
            .service(act("/errors/replay", bulk::replay))
            .service(read("/dead", dead::dead))
            .service(act("/dead/replay", bulk::replay))
            .service(act("/dead/drop", bulk::drop_rows))
            .service(read("/dead/progress", bulk::progress))
            .service(act("/dead/stop", bulk::stop))
            .service(read("/hosts", hosts::hosts))
            .service(act("/hosts/limit", hosts::limit))
            .service(read("/workers", workers::workers))
            .service(act("/workers/pause", workers::pause))
            .service(act("/workers/resume", workers::resume))
            .service(
                read("/try", try_it::form)
                    .app_data(form(try_it::MOST))
                    .route(web::post().to(try_it::act)),
            )
            .default_service(web::to(missing)),
    );
}

/// How forms are read, up to so many bytes.
fn form(most: usize) -> web::FormConfig {
    web::FormConfig::default().limit(most).error_handler(|error, _| unread(&error))
}

/// A query or a form that cannot be read: what the extractor found wrong with it.
fn unread(error: &(impl ResponseError + 'static)) -> actix_web::Error {
    let status = error.status_code();
    let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "bad_request" };
    Problem::new(status, code, error).into()
}

/// A path that is only read.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let other = web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) });
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(other)
}

/// A path that does something: by POST alone.
fn act<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let other = web::to(|| async { Err::<HttpResponse, _>(Problem::method("POST")) });
    web::resource(path).route(web::post().to(handler)).default_service(other)
}

/// What the layout shows around a page.
#[derive(Debug, Clone)]
struct Frame {
    path: String,
    /// Why the fleet is paused, if it is.
    paused: Option<String>,
    /// Whether Redis did not answer when it was asked for that.
    is_redis_away: bool,
}

impl Frame {
    fn of(request: &HttpRequest) -> Frame {
        let seen = request.extensions().get::<Seen>().cloned().unwrap_or_default();
        Frame {
            path: request.path().to_owned(),
            paused: seen.paused,
            is_redis_away: seen.is_redis_away,
        }
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        PLACES.iter().map(|(path, name)| Place { path, name, is_here: *path == self.path })
    }
}

/// A line of the navigation.
struct Place {
    path: &'static str,
    name: &'static str,
    is_here: bool,
}

/// Answers with a page: as HTML, or as JSON where the client would rather have that.
///
/// # Errors
/// When the template fails, which is a fault of ours.
pub(crate) fn page<T: Template + Serialize>(
    request: &HttpRequest,
    page: &T,
) -> Result<HttpResponse, Problem> {
    page_with(StatusCode::OK, request, page)
}

/// The same with another status.
pub(crate) fn page_with<T: Template + Serialize>(
    status: StatusCode,
    request: &HttpRequest,
    page: &T,
) -> Result<HttpResponse, Problem> {
    if prefers_json(request) {
        return Ok(HttpResponse::build(status).json(page));
    }
    let text = render(request, page)?;
    Ok(HttpResponse::build(status).insert_header((header::CONTENT_TYPE, HTML)).body(text))
}

fn render(request: &HttpRequest, page: &impl Template) -> Result<String, Problem> {
    let values = ("frame", Box::new(Frame::of(request)) as Box<dyn std::any::Any>);
    page.render_with_values(&values).map_err(|error| {
        log::error!("cannot draw {}: {error}", request.path());
        Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

/// Leads on after an action that is done: a page that is loaded again does not act again.
pub(crate) fn see_other(place: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, place)).finish()
}

/// What an action answers: to a browser where to look, to a program the document.
pub(crate) fn done(request: &HttpRequest, place: &str, document: &impl Serialize) -> HttpResponse {
    if prefers_json(request) { HttpResponse::Ok().json(document) } else { see_other(place) }
}

/// Whether JSON is asked for and not HTML, or rather than it.
pub(crate) fn prefers_json(request: &HttpRequest) -> bool {
    let (json, html) = accepted(request);
    json > html
}

/// Whether HTML is asked for by name, as browsers do. Who takes anything gets refusals as problems.
fn asks_for_html(request: &HttpRequest) -> bool {
    let (json, html) = accepted(request);
    html > 0.0 && html >= json
}

/// How much JSON and HTML are wanted (RFC 9110, 12.5.1); what is not named is not wanted.
fn accepted(request: &HttpRequest) -> (f32, f32) {
    let texts = request.headers().get_all(header::ACCEPT).filter_map(|text| text.to_str().ok());
    let (mut json, mut html) = (0.0, 0.0);
    for range in texts.flat_map(|text| text.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match name {
            _ if name.eq_ignore_ascii_case("application/json") => json = quality,
            _ if name.eq_ignore_ascii_case("text/html") => html = quality,
            _ => {}
        }
    }
    (json, html)
}

/// A refusal, for people.
#[derive(Template, Serialize)]
#[template(path = "problem.html")]
struct Refusal {
    status: u16,
    title: &'static str,
    detail: text::Text,
    request_id: String,
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        let check = |accept: &str, expect| {
            let request = TestRequest::default().insert_header((header::ACCEPT, accept));
            assert_eq!(prefers_json(&request.to_http_request()), expect, "{accept}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("text/html;q=0.5, application/json;q=0.9", true);
        check("application/json;q=0", false);
        check("*/*", false);
        check("", false);
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false);
        check("text/html, application/json", false);
    }
}
