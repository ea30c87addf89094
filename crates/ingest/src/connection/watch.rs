//! What a connection and the request on it know of each other: what is under way, and until when it may be.

use std::{cell::Cell, rc::Rc, task::Waker, time::Duration};

use actix_web::{
    dev::{Payload, ServiceRequest},
    http::header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::time::Instant;

use super::gate::Gate;

/// How long a client may take to send a head, from its first byte (or the connection's opening) to its last.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// Above nginx's 60 s, so that it is nginx that closes a quiet connection: one that ingest closes just as nginx
/// writes a request into it costs that request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long what a refused client still sends is read and thrown away: a connection closed with unread bytes is reset,
/// and the answer may be lost with it.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// What is under way on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: no byte of a request.
    Quiet,
    /// A head is coming.
    Head,
    /// A request is being answered. Its body has a limit of its own.
    Request { body_is_read: bool },
    /// There is an answer, which is the last: the client wants it so, or did not send a body that would have to be read to
    /// tell a further request from it.
    Last,
}

/// What a connection and the request on it know of each other.
pub(crate) struct Watch {
    phase: Cell<Phase>,
    /// When the phase must be over; of no meaning in [`Phase::Request`].
    until: Cell<Instant>,
    gate: Cell<Gate>,
    /// Who waits for the gate.
    waiting: Cell<Option<Waker>>,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch {
            phase: Cell::new(Phase::Quiet),
            until: Cell::new(Instant::now() + HEAD_TIME),
            gate: Cell::new(Gate::NEXT),
            waiting: Cell::new(None),
        }
    }

    /// When the first head must have come, before anything has.
    pub(super) fn opened(&self) -> Instant {
        self.until.get()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    fn enter(&self, phase: Phase, time: Duration) {
        self.phase.set(phase);
        self.until.set(Instant::now() + time);
    }

    /// That of a request's connection.
    pub(crate) fn of(request: &ServiceRequest) -> Option<Rc<Watch>> {
        request.conn_data().cloned()
    }

    /// A request has been read up to its body. False where the answer before it was the last one.
    pub(crate) fn begins(&self, request: &ServiceRequest) -> bool {
        let has_body = !matches!(request.parts().1, Payload::None);
        let is_open = self.phase.get() != Phase::Last;
        if is_open {
            self.phase.set(Phase::Request { body_is_read: !has_body });
            self.let_pass(if has_body { body(request) } else { Gate::Shut });
        }
        is_open
    }

    fn let_pass(&self, gate: Gate) {
        self.gate.set(gate);
        if !gate.is_shut() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether nothing more may pass for now; otherwise `waker` is woken when something may.
    pub(super) fn is_shut(&self, waker: &Waker) -> bool {
        let is_shut = self.gate.get().is_shut();
        if is_shut {
            self.waiting.set(Some(waker.clone()));
        }
        is_shut
    }

    /// Whether a body came as far as its head told.
    pub(super) fn has_whole_body(&self) -> bool {
        self.gate.get() == Gate::Body(0)
    }

    /// These came: how many of them may pass.
    pub(super) fn pass(&self, bytes: &[u8]) -> usize {
        let mut gate = self.gate.get();
        let is_head = matches!(gate, Gate::Head(_));
        let passed = gate.pass(bytes);
        self.gate.set(gate);
        if passed > 0 {
            self.has_heard();
        }
        if is_head && gate.is_shut() {
            // Whole: how long it waits now for the answer before it is not its client's doing.
            self.phase.set(Phase::Request { body_is_read: false });
        }
        passed
    }

    /// The next byte is another request's.
    pub(crate) fn body_is_read(&self) {
        self.phase.set(Phase::Request { body_is_read: true });
    }

    /// The request's answer is ready; whether it is the last one.
    pub(crate) fn is_answered(&self, closes: bool) -> bool {
        let is_last = closes || self.phase.get() != (Phase::Request { body_is_read: true });
        match is_last {
            true => self.enter(Phase::Last, LINGER),
            false => {
                self.enter(Phase::Quiet, KEEP_ALIVE);
                self.let_pass(Gate::NEXT);
            }
        }
        is_last
    }

    /// A byte came.
    fn has_heard(&self) {
        if self.phase.get() == Phase::Quiet {
            self.phase.set(Phase::Head);
            self.until.set(self.until.get().min(Instant::now() + HEAD_TIME));
        }
    }

    /// When the phase must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!matches!(self.phase.get(), Phase::Request { .. })).then(|| self.until.get())
    }
}

/// As actix-http delimits it. A length that it does not go by (with an upgrade, say) ends nothing too early: the request has
/// no more than that.
fn body(request: &ServiceRequest) -> Gate {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH).filter(|_| !headers.contains_key(TRANSFER_ENCODING));
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.map_or(Gate::Open, Gate::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That a watch has this phase, and that it ends in about this time.
    fn check(watch: &Watch, phase: Phase, time: Option<Duration>) {
        assert_eq!(watch.phase(), phase);
        let left = watch.deadline().map(|until| until.saturating_duration_since(Instant::now()));
        match (left, time) {
            (Some(left), Some(time)) => assert!(left <= time && left >= time / 2, "{left:?}"),
            (left, time) => assert_eq!(left, time, "{phase:?}"),
        }
    }

    #[test]
    fn each_phase_has_its_time() {
        let watch = Watch::new();
        check(&watch, Phase::Quiet, Some(HEAD_TIME));
        watch.has_heard();
        check(&watch, Phase::Head, Some(HEAD_TIME));
        watch.body_is_read();
        check(&watch, Phase::Request { body_is_read: true }, None);
        assert!(!watch.is_answered(false));
        check(&watch, Phase::Quiet, Some(KEEP_ALIVE));
        watch.has_heard();
        check(&watch, Phase::Head, Some(HEAD_TIME));
        watch.body_is_read();
        assert!(watch.is_answered(true));
        check(&watch, Phase::Last, Some(LINGER));
    }

    #[test]
    fn nginx_closes_a_quiet_connection_before_ingest_does() {
        let nginx = include_str!("../../../../nginx/nginx.conf.in");
        let upstreams =
            nginx.split("\n    upstream ").skip(1).map(|text| text.split_once('}').unwrap().0);
        let times: Vec<u64> = upstreams
            .map(|text| text.split_once("keepalive_timeout ").unwrap().1)
            .map(|text| text.split_once("s;").unwrap().0.parse().unwrap())
            .collect();
        assert_eq!(times.len(), 2);
        assert!(times.iter().all(|time| Duration::from_secs(time + 5) < KEEP_ALIVE), "{times:?}");
    }
}
