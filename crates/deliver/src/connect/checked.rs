//! hyper-tls over a stream that is already connected.
//!
//! hyper-util's connector would resolve by itself, and not at all for literals: the one here hands
//! hyper-tls the checked stream, whatever URL it is asked for.

use std::{
    future::{Ready, ready},
    io,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_tls::HttpsConnector;
use hyper_util::rt::TokioIo;
use native_tls::TlsConnector;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Stream;

/// A connector that gives out its one stream.
struct Checked(Option<TokioIo<TcpStream>>);

impl Service<Uri> for Checked {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// The TLS handshake with the certificate checked against `host`, which is also its SNI.
///
/// # Errors
/// Why there is no handshake, for people.
pub(super) async fn secure(
    tls: &TlsConnector,
    host: &str,
    tcp: TokioIo<TcpStream>,
) -> Result<Stream, String> {
    let uri = Uri::builder().scheme("https").authority(host).path_and_query("/").build();
    let uri = uri.map_err(|error| format!("{host}: {error}"))?;
    let mut connector = HttpsConnector::from((Checked(Some(tcp)), tls.clone().into()));
    connector.call(uri).await.map_err(|error| error.to_string())
}
