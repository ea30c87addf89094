//! TLS in front of the sink: the handshake, good or bad by `--tls`. The certificates are made in
//! [`certificate`].

mod certificate;

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use native_tls::{Identity, TlsAcceptor};
use tokio::net::TcpStream;
use tokio_native_tls::TlsStream;

use self::certificate::{Certificate, Wish};
use super::{Socket, fault::until_closed};

/// Options of TLS.
#[derive(Debug, clap::Args)]
pub(super) struct TlsOptions {
    /// Speak TLS on the listening address, with certificates made at start.
    #[arg(long = "tls", value_name = "MODE")]
    mode: Option<Mode>,
    /// Write the root certificate to trust to this file (PEM).
    #[arg(long, value_name = "FILE", requires = "mode")]
    ca_file: Option<PathBuf>,
    /// A further host name or address in the certificate, beside localhost, 127.0.0.1 and ::1.
    #[arg(long = "tls-name", value_name = "NAME", requires = "mode")]
    names: Vec<String>,
}

/// How good the TLS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// A certificate by the root in `--ca-file`.
    Good,
    /// One that ran out yesterday.
    Expired,
    /// One signed by itself, not by the root.
    SelfSigned,
    /// One for `wrong-name.invalid` and no other name.
    WrongName,
    /// The TCP connection is taken, the handshake never answered.
    Stall,
}

/// What each connection goes through first.
pub(super) enum Tls {
    Handshake(tokio_native_tls::TlsAcceptor),
    Stall,
}

impl Tls {
    /// Makes the certificates and writes the root's file; `None` without `--tls`.
    pub(super) fn set_up(options: &TlsOptions) -> anyhow::Result<Option<Tls>> {
        let Some(mode) = options.mode else { return Ok(None) };
        let root = Certificate::root().context("cannot make the root certificate")?;
        if let Some(path) = &options.ca_file {
            fs::write(path, root.pem()?)
                .with_context(|| format!("cannot write the root to {}", path.display()))?;
        }
        if mode == Mode::Stall {
            return Ok(Some(Tls::Stall));
        }
        let leaf = leaf(mode, &options.names, &root).context("cannot make the certificate")?;
        let identity = Identity::from_pkcs8(&leaf.pem()?, &leaf.key_pem()?)?;
        let acceptor = TlsAcceptor::new(identity).context("cannot set up TLS")?;
        Ok(Some(Tls::Handshake(acceptor.into())))
    }

    /// The stream after the handshake; `None` when there was none.
    pub(super) async fn accept(&self, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match self {
            Tls::Handshake(acceptor) => acceptor.accept(stream).await.ok(),
            Tls::Stall => {
                // However it ends, there was no handshake.
                _ = until_closed(&mut stream).await;
                None
            }
        }
    }
}

fn leaf(mode: Mode, more: &[String], root: &Certificate) -> anyhow::Result<Certificate> {
    let names = match mode {
        Mode::WrongName => vec!["wrong-name.invalid"],
        _ => ["localhost", "127.0.0.1", "::1"]
            .into_iter()
            .chain(more.iter().map(String::as_str))
            .collect(),
    };
    let issuer = (mode != Mode::SelfSigned).then_some(root);
    Certificate::leaf(&Wish { names: &names, issuer, expired: mode == Mode::Expired })
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().get_ref().get_ref()
    }
}
