//! Clients that each send one request with one row after the other, and what they saw.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, header};
use tokio::task::JoinSet;

use crate::load::connect;

/// What the clients saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// How long each answer took, in microseconds, sorted.
    pub(super) waits: Vec<u64>,
    /// Different batches in the answers.
    pub(super) batches: usize,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) ingest: SocketAddr,
    /// The partner's port.
    pub(super) port: u16,
    pub(super) clients: usize,
    pub(super) endpoints: usize,
    pub(super) requests: usize,
}

#[derive(Debug, Default)]
struct Shared {
    begun: Cell<usize>,
    waits: RefCell<Vec<u64>>,
    batches: RefCell<HashSet<String>>,
}

/// Sends all requests; fails unless each is answered with 202.
pub(super) async fn send(work: Work) -> anyhow::Result<Seen> {
    let shared = Rc::<Shared>::default();
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..work.clients {
        clients.spawn_local(client(work, number, Rc::clone(&shared)));
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let took = start.elapsed();
    let mut waits = shared.waits.take();
    waits.sort_unstable();
    Ok(Seen { took, waits, batches: shared.batches.borrow().len() })
}

async fn client(work: Work, number: usize, shared: Rc<Shared>) -> anyhow::Result<()> {
    let host = work.ingest.to_string();
    let mut sender = connect(&host).await?;
    while shared.begun.get() < work.requests {
        let request = shared.begun.replace(shared.begun.get() + 1);
        let request = Request::post("/ingest")
            .header(header::HOST, &host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body(work, number % work.endpoints, request))))?;
        let start = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        shared.waits.borrow_mut().push(start.elapsed().as_micros() as u64);
        let answer = str::from_utf8(&answer)?;
        anyhow::ensure!(status == 202, "ingest answered {status}: {answer}");
        let id = answer.split_once(r#""id":""#).and_then(|(_, rest)| rest.split_once('"'));
        let (id, _) = id.context("an answer without a batch")?;
        shared.batches.borrow_mut().insert(id.to_owned());
    }
    Ok(())
}

fn body(work: Work, endpoint: usize, request: usize) -> String {
    let url = format!("http://127.0.0.1:{}/e{endpoint}", work.port);
    format!(
        r#"{{"endpoint":{{"method":"GET","url":"{url}?title={{mascot}}&image={{location}}&id={{click_id}}"}},"policy":{{"ref":"{{click_id}}"}},"data":[{{"mascot":"Gopher {request}","location":"https://blog.golang.org/gopher/gopher.png","click_id":"c-{request:x}"}}]}}"#
    )
}
