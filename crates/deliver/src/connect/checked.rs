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
use tower_service::Service;

use super::{Metered, Stream};

/// A connector that gives out its one stream.
struct Checked(Option<TokioIo<Metered>>);

impl Service<Uri> for Checked {
    type Response = TokioIo<Metered>;
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
    tcp: TokioIo<Metered>,
) -> Result<Stream, String> {
    let uri = Uri::builder().scheme("https").authority(host).path_and_query("/").build();
    let uri = uri.map_err(|error| format!("{host}: {error}"))?;
    let mut connector = HttpsConnector::from((Checked(Some(tcp)), tls.clone().into()));
    connector.call(uri).await.map_err(|error| reason(&error.to_string()))
}

/// The part for people of OpenSSL's `error:NUMBER:library:function:reason:file:line: (certificate's fault)`.
fn reason(text: &str) -> String {
    let fields = text.strip_prefix("error:");
    let reason = fields.and_then(|fields| fields.split(':').nth(3)).unwrap_or(text);
    match text.rsplit_once(" (") {
        Some((_, fault)) => format!("{reason}: {}", fault.trim_end_matches(')')),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_openssl_error_is_cut_to_its_reason() {
        let check = |text: &str, expect: &str| assert_eq!(reason(text), expect);
        check("unexpected EOF", "unexpected EOF");
        check(
            "error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../ssl/record.c:354:",
            "wrong version number",
        );
        check(
            "error:0A000086:SSL routines:f:certificate verify failed:../ssl/clnt.c:1889: (certificate has expired)",
            "certificate verify failed: certificate has expired",
        );
    }
}
