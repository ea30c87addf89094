//! Proxy variables in the environment are not for us: the address that was checked is the one called.

use std::{io::ErrorKind, net::TcpListener};

use postback_core::view::Standing;

use super::{ended, enqueue_one, lane, tls::Partner};
use crate::support::Stack;

#[tokio::test]
async fn proxy_variables_are_ignored() {
    let mut stack = Stack::start();
    let secure = Partner::start(&stack, "good");
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());

    let mut command = stack.deliver_command();
    command.args(["--allow-net", "127.0.0.0/8", "--ca-file"]).arg(&secure.ca_file);
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env(name, &address).env(name.to_uppercase(), &address);
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    stack.spawn_command(&mut command);

    let plain = enqueue_one(&stack, &stack.endpoint("/plain"), &lane("plain")).await;
    let endpoint = secure.endpoint(&stack, "localhost", "/secure");
    let secure = enqueue_one(&stack, &endpoint, &lane("secure")).await;
    for id in [plain, secure] {
        let shown = ended(&stack, id).await;
        assert_eq!(shown.state, Standing::Delivered, "{shown:#?}");
    }
    let called = proxy.accept().map_err(|error| error.kind());
    assert_eq!(called.err(), Some(ErrorKind::WouldBlock), "the proxy was called");
}
