//! What Prometheus may ask of this process: `/metrics`, `/healthz`, `/readyz`.

use std::{convert::Infallible, rc::Rc, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use postback_core::exposition::Exposition;
use tokio::{net::TcpListener, sync::Semaphore};

use super::Load;
use crate::process::Process;

/// Scrapers at a time; further ones wait.
const MOST_CONNECTIONS: usize = 32;

/// Serves the pages for as long as the process lives; `load` tells of the workers.
pub(crate) async fn serve(listener: TcpListener, process: Rc<Process>, load: Rc<dyn Fn() -> Load>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = places.clone().acquire_owned().await else { return };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly; others will be closed soon.
                log::warn!("cannot accept on the metrics listener: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (process, load) = (process.clone(), load.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            std::future::ready(Ok::<_, Infallible>(answer(&request, &process, load())))
        });
        tokio::task::spawn_local(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .max_buf_size(16 * 1024);
            let _permit = permit;
            // A client that goes away in the middle concerns nobody.
            drop(http.serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}

fn answer(request: &Request<Incoming>, process: &Process, load: Load) -> Response<Full<Bytes>> {
    let plain = "text/plain";
    let (status, kind, text) = match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get_all("accept").iter();
            let form = Exposition::of(accept.filter_map(|value| value.to_str().ok()));
            (200, form.content_type(), process.metrics.text(load, form))
        }
        "/healthz" => (200, plain, "ok\n".to_owned()),
        "/readyz" if load.is_ready => (200, plain, "ready\n".to_owned()),
        "/readyz" => (503, plain, "redis is away\n".to_owned()),
        _ => (404, plain, "there are /metrics, /healthz and /readyz\n".to_owned()),
    };
    let response = Response::builder().status(status).header("content-type", kind);
    response.body(Full::new(Bytes::from(text))).unwrap_or_default()
}
