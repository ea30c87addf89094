//! A request's body: which kinds are taken, reading within the limits of size, time and memory, and the thread on which it
//! is inflated and parsed.

mod budget;
mod inflate;

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest,
    http::{StatusCode, header},
    web,
};
use futures_util::StreamExt;
use tokio::sync::Semaphore;

pub(crate) use self::budget::Held;
use self::{
    budget::{Budget, SHORT_BODY},
    inflate::{Coding, Fault},
};
use crate::{connection::Watch, problem::Problem};

/// How long a client may take to send a body. nginx hands it on whole, so this is for clients without it.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A body of this size is parsed in about 1 ms. Longer ones go to another thread, so that others need not wait.
const LONG_BODY: usize = 256 * 1024;

/// What holds for all bodies of the process.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    most: usize,
    budget: Arc<Budget>,
    /// For the threads that inflate and parse: more of them than there are cores gain nothing and take more memory.
    threads: Arc<Semaphore>,
}

/// A body as it was sent, and then plain.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    coding: Coding,
    held: Held,
}

impl Bodies {
    /// `most` bytes each, as sent and inflated.
    pub(crate) fn new(most: usize) -> Bodies {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Bodies {
            most,
            budget: Arc::new(Budget::new(most)),
            threads: Arc::new(Semaphore::new(threads)),
        }
    }

    /// The longest body, in bytes.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Reads a body to its end.
    pub(crate) async fn read(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<Body, Problem> {
        let coding = check_type(request)?;
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok());
        let length = length.and_then(|n| n.parse().ok()).unwrap_or(0);
        if length > self.most {
            return Err(too_large(self.most, "the body"));
        }
        // A short body is given its place at once; a long one gets more as it comes.
        let bytes = Vec::with_capacity(length.min(SHORT_BODY));
        let body = Body { bytes, coding, held: Held::none(&self.budget) };
        let body = tokio::time::timeout(BODY_TIME, self.gather(payload, body)).await;
        let body = body.unwrap_or_else(|_| {
            let detail = format!("the body took longer than {} s", BODY_TIME.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail))
        })?;
        if let Some(watch) = request.conn_data::<Rc<Watch>>() {
            watch.body_is_read();
        }
        Ok(body)
    }

    async fn gather(&self, mut payload: web::Payload, mut body: Body) -> Result<Body, Problem> {
        while let Some(chunk) = payload.next().await {
            let chunk = chunk
                .map_err(|error| Problem::bad_request(format_args!("the body was cut: {error}")))?;
            let length = body.bytes.len() + chunk.len();
            if length > self.most {
                return Err(too_large(self.most, "the body"));
            }
            body.held.resize(length)?;
            body.bytes.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What `work` makes of the plain body, and what is kept of the budget for it: to be dropped with the answer.
    pub(crate) async fn open<T: Send + 'static>(
        &self,
        mut body: Body,
        work: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<(T, Held), Problem> {
        let most = self.most;
        let short = most.min(LONG_BODY);
        if body.bytes.len() <= short {
            // A few bytes may inflate to millions: so far here, further on another thread.
            match body.inflate(short) {
                Err(Fault::TooLong) if short < most => {}
                inflated => {
                    inflated.map_err(|fault| fault.problem(most))?;
                    return body.work(work);
                }
            }
        }
        let broken = || Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR);
        let turn = self.threads.clone().acquire_owned().await.map_err(|_| broken())?;
        let done = web::block(move || {
            let _turn = turn;
            body.inflate(most).map_err(|fault| fault.problem(most))?;
            body.work(work)
        });
        done.await.unwrap_or_else(|_| Err(broken()))
    }
}

impl Body {
    /// Makes it plain, where that is at most `most` bytes.
    fn inflate(&mut self, most: usize) -> Result<(), Fault> {
        if self.coding != Coding::Identity {
            self.bytes = self.coding.inflate(&self.bytes, most)?;
            self.coding = Coding::Identity;
        }
        Ok(())
    }

    fn work<T>(
        mut self,
        work: impl FnOnce(&[u8]) -> Result<T, Problem>,
    ) -> Result<(T, Held), Problem> {
        // What was sent is counted already. While it is inflated nothing is taken: few do that at a time.
        self.held.resize(self.bytes.len())?;
        Ok((work(&self.bytes)?, self.held))
    }
}

/// More than `most` bytes.
pub(crate) fn too_large(most: usize, what: &str) -> Problem {
    let detail = format!("{what} is longer than {most} bytes: send the rows in parts");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

/// Only JSON in UTF-8, plain or in one coding that we know.
fn check_type(request: &HttpRequest) -> Result<Coding, Problem> {
    let refuse =
        |detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    let header = |name| request.headers().get_all(name).map(|v| v.to_str().unwrap_or_default());
    let mut types = header(header::CONTENT_TYPE);
    if !types.next().is_some_and(is_json) || types.next().is_some() {
        return Err(refuse("send the header `Content-Type: application/json`"));
    }
    let mut codings = header(header::CONTENT_ENCODING);
    let coding = codings.next().map_or(Some(Coding::Identity), Coding::named);
    coding.filter(|_| codings.next().is_none()).ok_or_else(|| {
        refuse("send the body plain, or with one Content-Encoding: gzip or zstd")
            .with(header::ACCEPT_ENCODING, inflate::ACCEPTED.to_owned())
    })
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}
