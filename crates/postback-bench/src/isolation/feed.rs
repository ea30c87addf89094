//! Rows on their way into the queue, past ingest: what is measured begins where Redis has them.

use std::{
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use postback_core::{
    batch::{Source, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::{LaneId, lane_name},
    policy::Policy,
    queue::{Enqueue, Queue},
    value::{Row, Value},
};
use tokio::task::JoinSet;

/// The most enqueues under way at a time.
const CLIENTS: usize = 64;
/// Rows of one enqueue where many are queued: four batches.
pub(super) const MANY: u64 = 1024;

/// A partner: one address, one lane.
#[derive(Debug, Clone)]
pub(super) struct Partner {
    endpoint: Rc<EndpointTemplate>,
    lane: LaneId,
    name: Rc<str>,
}

impl Partner {
    /// The partner at this address. Each row has two values, which the path may take: `{n}`, then `{at}`.
    pub(super) fn new(address: Ipv4Addr, port: u16, path: &str) -> Partner {
        Partner::of(&Origin { tls: false, host: address.to_string(), port }, None, path)
    }

    /// As [`Partner::new`] with any origin, and a label that gives the rows a lane of their own.
    pub(super) fn of(origin: &Origin, label: Option<&str>, path: &str) -> Partner {
        let base = lane_name(origin, None);
        let endpoint = EndpointTemplate {
            method: Method::Get,
            url: format!("{base}{path}?n={{n}}&at={{at}}"),
            headers: vec![],
            body: BodyTemplate::None,
            reference: None,
            unmatched: Unmatched::Text(String::new()),
        };
        let name = lane_name(origin, label).into();
        Partner { endpoint: Rc::new(endpoint), lane: LaneId::of(origin, label), name }
    }

    /// Stores these rows, with the present as `{at}`, as one request; its batches are of at most 256 rows.
    pub(super) async fn enqueue(
        &self,
        queue: &Queue,
        rows: std::ops::Range<u64>,
    ) -> anyhow::Result<()> {
        let now = now_us();
        let value = |n: u64| Value::Literal(n.to_string().into());
        let rows: Vec<Row<'_>> = rows.map(|n| vec![value(n), value(now)]).collect();
        let source = Source {
            request_id: "isolation".into(),
            traceparent: None,
            received_at_ms: now / 1000,
            first_row: 0,
            nginx_ms: None,
        };
        let batches = encode(&self.endpoint, &Policy::default(), &source, &rows);
        let request = Enqueue {
            lane: self.lane,
            name: &self.name,
            delay: Duration::ZERO,
            batches: &batches,
            max_backlog: 0,
        };
        queue.enqueue(request).await?;
        Ok(())
    }
}

/// So many addresses of this host's own, each of which a sink on all addresses serves; 250 in each /24 from
/// 127.`net`.0.0 on.
pub(crate) fn addresses(net: u8, count: usize) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(move |n| Ipv4Addr::new(127, net, (n / 250) as u8, (n % 250 + 1) as u8))
}

/// Stores `each` rows for each partner, `at_once` in a request, the partners taking turns.
pub(super) async fn fill(
    queue: &Queue,
    partners: &[Partner],
    each: u64,
    at_once: u64,
) -> anyhow::Result<()> {
    let starts = (0..each).step_by(usize::try_from(at_once)?);
    let mut under_way = JoinSet::new();
    for (start, partner) in starts.flat_map(|start| partners.iter().map(move |p| (start, p))) {
        if under_way.len() >= CLIENTS
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
        let (queue, partner) = (queue.clone(), partner.clone());
        under_way.spawn_local(async move {
            partner.enqueue(&queue, start..each.min(start + at_once)).await
        });
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

/// Microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}
