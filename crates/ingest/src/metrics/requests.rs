//! What came in over HTTP and how it was answered. Every label is of a closed list: paths by what they are for,
//! methods by name as far as they are served, our own status codes and problems' codes.

use std::time::Instant;

use actix_web::{
    dev::ServiceRequest,
    http::{Method, StatusCode},
    web,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    r#for: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    r#for: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: &'static str,
}

/// The counters of all worker threads.
pub(crate) struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Family<Taken, Histogram, fn() -> Histogram>,
    refused: Family<Refused, Counter>,
}

/// 250 µs to 8 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            answered: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            refused: Family::default(),
        }
    }
}

impl Requests {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let answered = self.answered.clone();
        registry.register("postback_requests", "Requests answered by this ingest", answered);
        let help = "From a request's head to its answer's";
        let (name, unit) = ("postback_request", Unit::Seconds);
        registry.register_with_unit(name, help, unit, self.seconds.clone());
        let help = "Requests refused, by the code of the problem they got";
        registry.register("postback_refused_requests", help, self.refused.clone());
    }
}

/// A request on its way.
pub(crate) struct Asked {
    requests: web::Data<Requests>,
    taken: Taken,
    since: Instant,
}

impl Asked {
    /// `None`: nobody counts.
    pub(crate) fn of(request: &ServiceRequest) -> Option<Asked> {
        Some(Asked {
            requests: request.app_data::<web::Data<Requests>>()?.clone(),
            taken: Taken { r#for: purpose(request.path()), method: method(request.method()) },
            since: Instant::now(),
        })
    }

    pub(crate) fn refused(&self, code: &'static str) {
        self.requests.refused.get_or_create(&Refused { code }).inc();
    }

    pub(crate) fn answered(self, status: StatusCode) {
        let Taken { r#for, method } = self.taken;
        let answered = Answered { r#for, method, status: status.as_u16() };
        self.requests.answered.get_or_create(&answered).inc();
        let seconds = self.since.elapsed().as_secs_f64();
        self.requests.seconds.get_or_create(&self.taken).observe(seconds);
    }
}

fn purpose(path: &str) -> &'static str {
    match path {
        "/healthz" | "/readyz" => "health",
        "/metrics" => "metrics",
        _ if path.strip_prefix("/i").is_some_and(is_end_of_ingest) => "rows",
        _ => "pages",
    }
}

fn is_end_of_ingest(rest: &str) -> bool {
    rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.')
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_of_closed_lists_whatever_clients_send() {
        let check = |path, expect| assert_eq!(purpose(path), expect, "{path}");
        check("/ingest", "rows");
        check("/i", "rows");
        check("/ingest.php", "rows");
        check("/ingest/x", "pages");
        check("/I", "pages");
        check("/readyz", "health");
        check("/metrics", "metrics");
        check("/", "pages");
        check("/x%0a", "pages");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
