//! Trial `tls`: what a postback over TLS costs on a kept connection, and on one of its own.
//!
//! Without reuse the sink promises to keep the connection and closes it after the answer (`/close`). `deliver` runs
//! with few slots, so that with reuse the first handshakes are few beside the rows.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use native_tls::{Certificate, TlsConnector};
use postback_core::endpoint::Origin;

use super::{
    Sizes,
    feed::{MANY, Partner, fill},
    measure::{self, Counts},
    stack::{Plan, Stack},
    table::{Figure, digits},
};

/// Lanes that share the load, by label: there is one certificate, for one name.
const LANES: u64 = 16;
const DELIVER: [&str; 2] = ["--concurrency", "64"];
const NAME: &str = "localhost";
const PATIENCE: Duration = Duration::from_secs(60);
/// How often `deliver` is asked for its progress.
const LOOK: Duration = Duration::from_millis(50);

/// Sends rows with and without reuse.
pub(super) async fn run(sizes: &Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut figures = send("with reuse", "/ok", sizes.tls_rows).await?;
    figures.extend(send("without reuse", "/close", sizes.tls_rows_closed).await?);
    Ok(figures)
}

async fn send(name: &str, path: &str, rows: u64) -> anyhow::Result<Vec<Figure>> {
    let stack =
        Stack::start_with_deliver(&Plan { tls: true, deliver: &DELIVER, ..Plan::default() })
            .await?;
    let origin = Origin { tls: true, host: NAME.into(), port: stack.port };
    let partner = |n: u64| Partner::of(&origin, Some(&n.to_string()), path);
    let partners: Vec<Partner> = (0..LANES).map(partner).collect();
    let each = rows.div_ceil(LANES);
    let rows = each * LANES;
    let pids = [stack.delivers[0].pid(), stack.sink.pid()];
    let before = [measure::cpu_seconds(pids[0])?, measure::cpu_seconds(pids[1])?];
    let start = Instant::now();
    fill(&stack.queue()?, &partners, each, MANY).await?;
    while measure::seen(stack.metrics[0]).await?.delivered < rows && start.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = measure::cpu_seconds(pids[0])? - before[0];
    let sink = measure::cpu_seconds(pids[1])? - before[1];
    let counts = counts(&stack)?;
    let what = |what: &str| format!("{name}: {what}");
    Ok(vec![
        Figure::new(what("throughput"), digits(rows as f64 / seconds, 0), "postbacks/s"),
        Figure::new(
            what("deliver's CPU for 100,000 postbacks"),
            digits(100_000.0 * cpu / rows as f64, 2),
            "s",
        ),
        Figure::new(what("CPU of deliver"), digits(100.0 * cpu / seconds, 0), "% of a core"),
        Figure::new(what("CPU of the sink"), digits(100.0 * sink / seconds, 0), "% of a core"),
        // One is ours, that asked.
        Figure::new(what("connections"), counts.connections.saturating_sub(1), "connections"),
        Figure::new(
            what("rows sent, arrived, repeated"),
            format!("{rows}, {}, {}", counts.ids, counts.repeats),
            "rows",
        )
        .goal("each once", counts.ids == rows && counts.repeats == 0),
    ])
}

/// What the sink counted, over TLS as all that it answers.
fn counts(stack: &Stack) -> anyhow::Result<Counts> {
    let ca_file = stack.ca_file.as_deref().context("the sink has no TLS")?;
    let text = get(stack, ca_file).context("cannot ask the sink over TLS")?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

fn get(stack: &Stack, ca_file: &Path) -> anyhow::Result<String> {
    let root = Certificate::from_pem(&fs::read(ca_file)?)?;
    let tls = TlsConnector::builder().add_root_certificate(root).build()?;
    let tcp = TcpStream::connect(stack.sink_address())?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = tls.connect(NAME, tcp)?;
    stream.write_all(b"GET /__count HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
