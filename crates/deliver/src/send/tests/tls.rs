//! TLS by the URL's host, with the system's roots and those of `--ca-file`.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    thread,
};

use ipnet::IpNet;
use native_tls::{Identity, TlsAcceptor};

use super::*;
use crate::connect::DialerConfig;

/// A fresh self-signed certificate for `localhost` and its key, as PEM files in a folder of their own.
struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    fn new(name: &str) -> Certificate {
        let folder = std::env::temp_dir().join(format!("postback-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "1", "-subj", "/CN=postback test"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Certificate { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Serves one answer to each connection that gets through the handshake.
    fn serve(&self) -> u16 {
        let [cert, key] =
            ["cert.pem", "key.pem"].map(|name| fs::read(self.folder.join(name)).unwrap());
        let identity = Identity::from_pkcs8(&cert, &key).unwrap();
        let acceptor = TlsAcceptor::new(identity).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut tls) = acceptor.accept(stream.unwrap()) else { continue };
                let n = tls.read(&mut [0; 4096]).unwrap();
                assert!(n > 0);
                tls.write_all(OK.as_bytes()).unwrap();
                tls.shutdown().unwrap();
            }
        });
        port
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What is left in the folder for temporary files does no harm.
        _ = fs::remove_dir_all(&self.folder);
    }
}

fn dialer_with(ca_file: Option<PathBuf>) -> Dialer {
    let allow_net = vec![IpNet::new([127, 0, 0, 0].into(), 8).unwrap()];
    Dialer::new(DialerConfig { allow_net, ca_file, bind: None }).unwrap()
}

fn secure(host: &str, port: u16) -> Origin {
    Origin { tls: true, ..origin(host, port) }
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_ca_file_and_for_its_name_only() {
    let certificate = Certificate::new("trusted");
    let port = certificate.serve();
    let check = async |ca_file, host: &str, expect: Result<u16, &str>| {
        let (dialer, origin) = (dialer_with(ca_file), secure(host, port));
        let outcome = send(&mut None, &dialer, post(&origin, "/"), LIMIT).await;
        match (outcome.result, expect) {
            (Ok(response), Ok(status)) => assert_eq!(response.status, status),
            (Err(Failure::Tls(why)), Err(expect)) => assert_eq!(why, expect),
            other => panic!("{host}: {other:?}"),
        }
    };
    check(Some(certificate.path()), "localhost", Ok(200)).await;
    check(None, "localhost", Err("certificate verify failed: self-signed certificate")).await;
    check(
        Some(certificate.path()),
        "127.0.0.1",
        Err("certificate verify failed: IP address mismatch"),
    )
    .await;
}

#[tokio::test]
async fn a_partner_without_tls_or_without_a_word_is_a_tls_failure() {
    let sent = async {
        let (plain, _) = partner(|_| (OK.to_owned(), Then::Keep)).await;
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut dialer = dialer_with(None);
        dialer.tls_limit(SHORT);
        for port in [plain.port, silent.local_addr().unwrap().port()] {
            let origin = secure("localhost", port);
            let outcome = send(&mut None, &dialer, get(&origin, "/"), LIMIT).await;
            assert!(matches!(outcome.result, Err(Failure::Tls(_))), "{outcome:?}");
        }
    };
    LocalSet::new().run_until(sent).await;
}
