//! A network namespace for each test: the test runs itself again in it, as root of nothing but that.
//!
//! In it every address, IPv4 and IPv6, public or not, is the machine's own: what is let through connects.

use std::{
    any::type_name,
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Output},
};

/// Set in the test that runs inside.
const INSIDE: &str = "POSTBACK_TEST_NAMESPACE";
/// Where the namespace's names are asked for.
pub(crate) const NAME_SERVER: &str = "127.0.0.53:53";

/// Runs a test's body in a namespace of its own. Where there may be none the test is skipped, in CI it fails.
pub(crate) fn inside<F: Future<Output = ()>>(body: F) {
    if env::var_os(INSIDE).is_some() {
        prepare();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        return runtime.enable_all().build().expect("a runtime").block_on(body);
    }
    if let Err(reason) = check(&unshared("ip").args(["link", "set", "lo", "up"]).output()) {
        let ci = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        assert!(!ci, "cannot make a network namespace (unshare, iproute2): {reason}");
        // Past the test harness, which keeps what a passing test prints.
        let line = format!("skipped: cannot make a network namespace: {reason}\n");
        return drop(io::stderr().write_all(line.as_bytes()));
    }
    again(&test_name::<F>());
}

/// The test's name for the harness, from that of its body: `namespace::options::a_test::{{closure}}`.
fn test_name<F>() -> String {
    let path = type_name::<F>().split("::{{").next().unwrap_or_default();
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}

/// Runs this one test inside, and fails as it does.
fn again(test: &str) {
    let output = unshared(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare starts");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} failed inside its namespace: see above");
    assert!(text.contains("1 passed"), "there is no test {test}");
}

/// The program in new namespaces of users, network and mounts.
fn unshared(program: impl AsRef<OsStr>) -> Command {
    let mut unshare = Command::new("unshare");
    let path = env::var("PATH").unwrap_or_default();
    unshare.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    unshare.args(["--user", "--map-root-user", "--net", "--mount", "--"]).arg(program);
    unshare
}

fn check(output: &io::Result<Output>) -> Result<(), String> {
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output();
    check(&output).unwrap_or_else(|error| panic!("{command}: {error}"));
}

/// Gives the machine an address to call from: any can be called, but of IPv6 only such are sources.
pub(crate) fn own(address: &str) {
    run(&format!("ip address add {address} dev lo"));
}

/// Makes every address our own, and our name server the only source of names.
fn prepare() {
    run("ip link set lo up");
    run("ip route add local 0.0.0.0/0 dev lo");
    run("ip -6 route add local ::/0 dev lo");
    let dir = env::temp_dir().join(format!("postback-namespace-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    // Time limits stay the resolver's own: 5 s, and a second try. No search list, or the host's name gives one.
    let (server, _) = NAME_SERVER.rsplit_once(':').expect("host:port");
    cover("/etc/resolv.conf", &dir, &format!("nameserver {server}\nsearch .\n"));
    cover("/etc/nsswitch.conf", &dir, "hosts: files dns\n");
    cover("/etc/hosts", &dir, "127.0.0.1 localhost\n::1 localhost\n");
    if Path::new("/run/nscd").exists() {
        run("mount -t tmpfs none /run/nscd"); // its cache asks outside of the namespace
    }
    fs::remove_dir_all(&dir).expect("the directory goes");
}

/// Shows this text, in this namespace, in a system file's place.
fn cover(file: &str, dir: &Path, text: &str) {
    if !Path::new(file).exists() {
        assert_ne!(file, "/etc/resolv.conf", "{file} is missing: the tests need one to cover");
        return;
    }
    let own = dir.join("file");
    fs::write(&own, text).expect("a file");
    run(&format!("mount --bind {} {file}", own.display()));
    fs::remove_file(&own).expect("the mount holds it");
}
