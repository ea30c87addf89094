//! The load: requests at an even rate through nginx, each sent once, and a journal of every answer.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{StatusCode, client::conn::http1::SendRequest, header};
use tokio::task::JoinSet;

use super::{
    journal::{Answer, Request, Stored},
    script::Script,
};
use crate::load::connect;

/// Connections to nginx; when all wait for an answer, the rate is not kept.
const CLIENTS: usize = 16;
/// How long an answer may take: nginx gives one of its own before.
const PATIENCE: Duration = Duration::from_secs(90);

/// A load that runs until it is stopped.
pub(super) struct Generator {
    shared: Rc<Shared>,
    clients: JoinSet<anyhow::Result<()>>,
}

struct Shared {
    script: Script,
    listen: SocketAddr,
    /// The sink's addresses: requests take turns.
    hosts: Vec<String>,
    /// Time from one request to the next.
    every: Duration,
    /// When the next request is due. What could not be sent in time is not caught up on.
    due: Cell<Instant>,
    next: Cell<u64>,
    /// Requests to send; more are not.
    most: u64,
    stopped: Cell<bool>,
    journal: RefCell<File>,
    accepted: Cell<u64>,
    refused: Cell<u64>,
}

/// What a load is like.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Requests a second.
    pub(super) rate: u32,
    /// Requests at most.
    pub(super) most: u64,
}

impl Generator {
    /// Starts sending.
    pub(super) fn start(
        script: Script,
        load: &Load,
        listen: SocketAddr,
        hosts: &[String],
        journal: &Path,
    ) -> anyhow::Result<Generator> {
        let shared = Rc::new(Shared {
            script,
            listen,
            hosts: hosts.to_vec(),
            every: Duration::from_secs(1) / load.rate,
            due: Instant::now().into(),
            next: Cell::new(0),
            most: load.most,
            stopped: Cell::new(false),
            journal: File::create(journal).context("cannot write the journal")?.into(),
            accepted: Cell::new(0),
            refused: Cell::new(0),
        });
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn_local(Rc::clone(&shared).client());
        }
        Ok(Generator { shared, clients })
    }

    /// Rows accepted so far.
    pub(super) fn accepted(&self) -> u64 {
        self.shared.accepted.get()
    }

    /// Rows so far that were refused though nothing is wrong with them.
    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.get()
    }

    /// Sends no more, and waits for the answers still due.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.shared.stopped.set(true);
        while let Some(client) = self.clients.join_next().await {
            client??;
        }
        Ok(())
    }
}

impl Shared {
    async fn client(self: Rc<Self>) -> anyhow::Result<()> {
        let mut sender = None;
        while !self.stopped.get() && self.next.get() < self.most {
            let number = self.next.replace(self.next.get() + 1);
            let due = self.due.get().max(Instant::now());
            self.due.set(due + self.every);
            tokio::time::sleep_until(due.into()).await;
            if self.stopped.get() {
                break;
            }
            self.send(number, &mut sender).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        number: u64,
        sender: &mut Option<SendRequest<Full<Bytes>>>,
    ) -> anyhow::Result<()> {
        let draft = self.script.draw(number);
        let host = (number % self.hosts.len().max(1) as u64) as usize;
        let body = draft.json(&self.hosts[host], &self.script.retries_ms);
        let sent_us = now_us();
        let answer = tokio::time::timeout(PATIENCE, self.ask(body, sender)).await;
        let answer = answer.unwrap_or_else(|_| {
            *sender = None;
            Answer::Unknown("no answer in time".into())
        });
        let count = |counter: &Cell<u64>| counter.set(counter.get() + draft.rows.len() as u64);
        match &answer {
            Answer::Accepted(_) => count(&self.accepted),
            Answer::Refused { status, .. } if *status >= 500 => count(&self.refused),
            _ => {}
        }
        let request = Request {
            number,
            shape: draft.shape,
            lane: draft.lane,
            host: self.hosts[host].clone(),
            steady: host > 0,
            retries_ms: self.script.retries_ms.clone(),
            rows: draft.rows,
            sent_us,
            answered_us: now_us(),
            answer,
        };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        Ok(self.journal.borrow_mut().write_all(&line)?)
    }

    async fn ask(&self, body: String, kept: &mut Option<SendRequest<Full<Bytes>>>) -> Answer {
        let mut sender = match usable(kept.take()).await {
            Some(sender) => sender,
            None => match connect(&self.listen.to_string()).await {
                Ok(sender) => sender,
                Err(error) => return Answer::Refused { status: 0, code: format!("{error:#}") },
            },
        };
        match self.exchange(body, &mut sender).await {
            Ok((status, body)) => {
                *kept = Some(sender);
                answer(status, &body)
            }
            Err(error) => Answer::Unknown(format!("{error:#}")),
        }
    }

    async fn exchange(
        &self,
        body: String,
        sender: &mut SendRequest<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = hyper::Request::post("/ingest")
            .header(header::HOST, self.listen.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// A kept connection, if nginx has not closed it.
async fn usable(kept: Option<SendRequest<Full<Bytes>>>) -> Option<SendRequest<Full<Bytes>>> {
    let mut sender = kept?;
    sender.ready().await.ok().map(|()| sender)
}

/// What an answer says of the rows.
fn answer(status: StatusCode, body: &[u8]) -> Answer {
    let text = || String::from_utf8_lossy(body).into_owned();
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Answer::Unknown(format!("{status} without JSON: {}", text()));
    };
    if status == StatusCode::ACCEPTED {
        let stored: Result<Vec<Stored>, _> = serde_json::from_value(json["batches"].clone());
        return stored.map_or_else(
            |error| Answer::Unknown(format!("202 {error}: {}", text())),
            Answer::Accepted,
        );
    }
    let code = json["code"].as_str().unwrap_or_default().to_owned();
    // Only what says so surely stored nothing.
    if status.is_client_error() || code == "not_enqueued" {
        Answer::Refused { status: status.as_u16(), code }
    } else {
        Answer::Unknown(format!("{status}: {}", text()))
    }
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_stored_nothing() {
        let check = |status: u16, body: &str, expect: fn(&Answer) -> bool| {
            let answer = answer(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert!(expect(&answer), "{status} {body}: {answer:?}");
        };
        let unknown = |answer: &Answer| matches!(answer, Answer::Unknown(_));
        let refused = |answer: &Answer| matches!(answer, Answer::Refused { .. });
        check(
            202,
            r#"{"batches":[{"id":"a","first":0,"rows":1}]}"#,
            |answer| matches!(answer, Answer::Accepted(stored) if stored[0].rows == 1),
        );
        check(202, "{}", unknown);
        check(400, r#"{"code":"bad_request"}"#, refused);
        check(503, r#"{"code":"not_enqueued"}"#, refused);
        check(502, r#"{"code":"not_enqueued"}"#, refused);
        check(503, r#"{"code":"unknown"}"#, unknown);
        check(500, "<html>", unknown);
    }
}
