//! The connections of this box's nginx, from the page of its `stub_status`.

use std::{str::FromStr, time::Duration};

use postback_core::health::Nginx;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long nginx may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that is read of an answer; a right one has about 300 bytes.
const ANSWER: u64 = 4096;

/// Where nginx's status page is: `http://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxStatus {
    /// `host:port`.
    address: String,
    /// As it was given.
    host: String,
    path: String,
}

impl FromStr for NginxStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<NginxStatus, String> {
        let bad = || "must be like http://127.0.0.1:8000/nginx_status".to_owned();
        let rest = text.strip_prefix("http://").ok_or_else(bad)?;
        let (host, path) = rest.split_at(rest.find('/').ok_or_else(bad)?);
        let is_plain = |c: char| c.is_ascii_graphic() && !"@#\\\"<>".contains(c);
        if host.is_empty() || !text.chars().all(is_plain) || host.contains('?') {
            return Err(bad());
        }
        let name = host.rsplit_once(']').map_or(host, |(_, port)| port);
        let has_port = match name.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => true,
            Some(_) => return Err(bad()),
            None => false,
        };
        let address = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(NginxStatus { address, host: host.to_owned(), path: path.to_owned() })
    }
}

impl NginxStatus {
    /// Its connections; `None` where it does not tell.
    pub(crate) async fn ask(&self) -> Option<Nginx> {
        let asked = timeout(PATIENCE, self.read()).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                log::debug!("nginx's status at {}: {error}", self.address);
                return None;
            }
            Err(_) => return None,
        };
        let head = "HTTP/1.1 200 ";
        Nginx::parse(answer.strip_prefix(head)?)
    }

    /// HTTP/1.0: one answer, as long as the connection lasts.
    async fn read(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let (path, host) = (&self.path, &self.host);
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: postback\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_page_s_url_is_http_with_a_path() {
        let check = |text: &str, address: Option<&str>| {
            let status = text.parse::<NginxStatus>().ok();
            assert_eq!(status.as_ref().map(|status| &status.address[..]), address, "{text}");
        };
        check("http://127.0.0.1:8000/nginx_status", Some("127.0.0.1:8000"));
        check("http://nginx/s?x=1", Some("nginx:80"));
        check("http://[::1]:81/s", Some("[::1]:81"));
        check("http://[::1]/s", Some("[::1]:80"));
        for text in [
            "",
            "127.0.0.1:8000/s",
            "https://a/s",
            "http://a",
            "http:///s",
            "http://a:x/s",
            "http://a:99999/s",
            "http://u:p@a/s",
            "http://a/s\r\nX: y",
            "http://a/s t",
        ] {
            check(text, None);
        }
    }

    /// What is made of this answer.
    async fn asked(answer: &'static str) -> Option<Nginx> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let status: NginxStatus = format!("http://{address}/s").parse().expect("a good url");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("it asks");
            let mut head = [0; 1024];
            let n = stream.read(&mut head).await.expect("a request");
            assert!(head[..n].starts_with(b"GET /s HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.expect("it reads");
        };
        tokio::join!(serve, status.ask()).1
    }

    #[tokio::test]
    async fn nginx_s_connections_are_read_from_its_page() {
        let page = "HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\nActive connections: 2 \nserver accepts handled requests\n 9 9 9 \nReading: 0 Writing: 1 Waiting: 1 \n";
        let expect = Nginx { active: 2, reading: 0, writing: 1, waiting: 1 };
        assert_eq!(asked(page).await, Some(expect));
        assert_eq!(asked("HTTP/1.1 404 Not Found\r\n\r\nActive connections: 2 ").await, None);
        assert_eq!(asked("").await, None);
        let nobody: NginxStatus = "http://127.0.0.1:1/s".parse().expect("a good url");
        assert_eq!(nobody.ask().await, None);
    }
}
