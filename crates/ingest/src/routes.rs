//! Which path and method leads where, and what holds for every answer: the request id, and problems as JSON.

use actix_http::ConnectionType;
use actix_web::{
    Error, HttpMessage, HttpResponse, Resource,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web,
};

use crate::{
    accept::accept,
    admin::{HTML, pages},
    connection::Watch,
    door::admit,
    metrics::{Asked, metrics},
    openapi::openapi,
    problem::Problem,
    store::Store,
    trace::{REQUEST_ID, RequestId},
};

/// The longest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// What clients use. The path is the old system's: `/ingest`, `/ingest.php`, `/i` and more.
pub(crate) fn public(config: &mut web::ServiceConfig) {
    let requests = |path: &str| {
        let other = web::to(|| async { Err::<HttpResponse, _>(Problem::method("POST")) });
        web::resource(path).post(accept).default_service(other)
    };
    // Nearly all go to the first, which is found without a regular expression.
    config.service(requests("/ingest")).service(requests("/i{rest:[a-z.]*}"));
    let document = get("/openapi.json").get(openapi).head(openapi);
    config.service(document).configure(health).default_service(web::to(missing));
}

/// What operators use.
pub(crate) fn admin(config: &mut web::ServiceConfig) {
    config.service(get("/metrics").get(metrics).head(metrics)).configure(health).configure(pages);
}

async fn missing() -> Result<HttpResponse, Problem> {
    let detail = "no such path: requests go to /ingest";
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
}

fn health(config: &mut web::ServiceConfig) {
    config
        .service(get("/healthz").get(healthz).head(healthz))
        .service(get("/readyz").get(readyz).head(readyz));
}

fn get(path: &str) -> Resource {
    let other = web::to(|| async { Err::<HttpResponse, _>(Problem::method("GET, HEAD")) });
    web::resource(path).default_service(other)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(store: web::Data<Store>) -> Result<&'static str, Problem> {
    store.ready().await.map_err(|error| Problem::not_ready(&error))?;
    Ok("ready\n")
}

/// Gives the request its id, and every refusal its form, whoever refused.
pub(crate) async fn frame(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let RequestId(id) = RequestId::of(request.headers());
    let watch = Watch::of(&request);
    if watch.as_ref().is_some_and(|watch| !watch.begins(&request)) {
        // No request any more: the connection drops this answer.
        return Ok(request.into_response(HttpResponse::BadRequest().finish()));
    }
    let asked = Asked::of(&request);
    // After a request for an upgrade too, which it does not get, actix-http ends the connection.
    let closes = request.head().connection_type() != ConnectionType::KeepAlive;
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = if let Err(problem) = check_head(&request).and_then(|()| admit(&request)) {
        count(asked.as_ref(), &problem);
        request.into_response(problem.respond(&id))
    } else {
        let response = next.call(request).await?.map_into_boxed_body();
        match refusal(&response, &id, asked.as_ref()) {
            Some(refusal) => response.into_response(refusal),
            None => response,
        }
    };
    if let Some(asked) = asked {
        asked.answered(response.status());
    }
    if let Ok(id) = header::HeaderValue::from_str(&id) {
        response.headers_mut().insert(header::HeaderName::from_static(REQUEST_ID), id);
    }
    // What a client sent may be quoted in it: no browser shall guess that it is a page.
    let no_sniffing = header::HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, no_sniffing);
    if watch.is_some_and(|watch| watch.is_answered(closes)) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

fn count(asked: Option<&Asked>, problem: &Problem) {
    if let Some(asked) = asked {
        asked.refused(problem.code());
    }
}

fn refusal(response: &ServiceResponse, id: &str, asked: Option<&Asked>) -> Option<HttpResponse> {
    let status = response.status();
    // The pages' own refusals are for people.
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == HTML);
    if is_page || !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let own = response.response().error().and_then(|error| error.as_error::<Problem>());
    if status.is_server_error() {
        // What Redis could not do is told once for all requests, by `store`.
        let of_redis = status == StatusCode::SERVICE_UNAVAILABLE;
        let level = if of_redis { log::Level::Debug } else { log::Level::Warn };
        let text = own.map_or_else(|| status.to_string(), Problem::to_string);
        log::log!(level, "request {id}: {text}");
    }
    let made = own.is_none().then(|| Problem::of_status(status));
    let problem = own.or(made.as_ref())?;
    count(asked, problem);
    Some(problem.respond(id))
}

fn check_head(request: &ServiceRequest) -> Result<(), Problem> {
    let headers = request.headers().iter();
    let lengths = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
    let uri = request.uri().path().len() + request.query_string().len();
    if lengths.sum::<usize>() + uri <= MAX_HEAD {
        return Ok(());
    }
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Err(Problem::new(status, "head_too_large", "the head is longer than 64 KiB"))
}
