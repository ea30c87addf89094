//! The sink over real sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream as Client},
    process::{Command, Stdio},
};

use tokio::task::{LocalSet, spawn_blocking};

use super::*;

/// One proper answer, and no second on the same connection.
const BROKEN_NEXT: [&str; 3] = ["/close", "/close-next", "/reset-next"];

/// Runs `client`, which may block, against a sink.
async fn with_sink<T: Send + 'static>(client: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let notes = RefCell::new(Notes::open(false, None).unwrap());
    let sink = Sink { notes, flaky: RefCell::default(), is_healed: Cell::new(false), tls: None };
    LocalSet::new()
        .run_until(async {
            tokio::task::spawn_local(serve(listener, sink));
            spawn_blocking(move || client(address)).await.unwrap()
        })
        .await
}

/// What comes within the time, or at most so many bytes, in answer to a GET.
fn get(stream: &mut Client, path: &str, most: usize, within: Duration) -> Vec<u8> {
    // On a connection that is broken already nothing comes.
    _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    stream.set_read_timeout(Some(within)).unwrap();
    let (mut came, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    while came.len() < most {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => came.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    came
}

#[tokio::test]
async fn every_path_of_the_help_does_something_of_its_own() {
    let unlike_others = |address: SocketAddr| {
        let plain = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lasts = |line: &&str| !line.starts_with("date: ");
            text.lines().filter(lasts).map(|line| format!("{line}\n")).collect::<String>()
        };
        let within = Duration::from_millis(30);
        let ask = |path: &str| {
            plain(get(&mut Client::connect(address).unwrap(), path, 128 * 1024, within))
        };
        let other = ask("/x");
        assert!(other.starts_with("HTTP/1.1 200 OK\n") && other.ends_with("\n\nok\n"), "{other}");
        for path in answer::PATHS
            .map(|(path, _)| path.to_owned())
            .into_iter()
            .chain(fault::TABLE.iter().map(Fault::path))
        {
            let asked = path.replace("CODE", "404").replace("URL", "http%3A%2F%2Fx");
            let asked = asked.replace("MS", "1").replace("/N", "/1").replace("VALUE", "date+5");
            // These differ in the next answer.
            if !BROKEN_NEXT.contains(&path.as_str()) {
                assert_ne!(ask(&asked), other, "{path}");
            }
        }
    };
    with_sink(unlike_others).await;
}

#[tokio::test]
async fn connections_are_kept_or_broken_as_the_help_says() {
    let check = |address: SocketAddr| {
        let second = |path: &str, within: u64| {
            let mut stream = Client::connect(address).unwrap();
            let within = Duration::from_millis(within);
            get(&mut stream, path, usize::MAX, within);
            String::from_utf8(get(&mut stream, "/status/404", usize::MAX, within)).unwrap()
        };
        let served = "HTTP/1.1 404 Not Found\r\n";
        for kept in ["/surplus", "/length-and-chunked", "/status/200", "/redirect/301?to=x"] {
            assert!(second(kept, 50).starts_with(served), "{kept}");
        }
        for broken in BROKEN_NEXT {
            assert_eq!(second(broken, 50), "", "{broken}");
        }
    };
    with_sink(check).await;
}

#[tokio::test]
async fn the_bomb_is_valid_gzip_of_258_mib() {
    let bomb = with_sink(|address| {
        let mut stream = Client::connect(address).unwrap();
        let within = Duration::from_secs(1);
        let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 262177\r\n\r\n";
        let answer = get(&mut stream, "/gzip-bomb", head.len() + 262_177, within);
        answer.strip_prefix(head).unwrap().to_vec()
    });
    let bomb = bomb.await;
    assert_eq!(bomb.len(), 262_177);
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gzip.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(&bomb));
    let mut inflated = gzip.stdout.take().unwrap();
    let length = io::copy(&mut inflated, &mut io::sink()).unwrap();
    feed.join().unwrap().unwrap();
    assert!(gzip.wait().unwrap().success(), "its CRC or length is wrong");
    assert_eq!(length, 270_533_641);
}

#[tokio::test]
async fn what_is_ill_answers_scripts_until_it_is_healed() {
    let answers = |address: SocketAddr| {
        ["/ill", "/__heal", "/ill"].map(|path| {
            let mut client = Client::connect(address).unwrap();
            String::from_utf8(get(&mut client, path, 4096, Duration::from_millis(200))).unwrap()
        })
    };
    let [ill, _, well] = with_sink(answers).await;
    assert!(ill.starts_with("HTTP/1.1 500 ") && ill.contains("<script>"), "{ill}");
    assert!(well.starts_with("HTTP/1.1 200 "), "{well}");
}
