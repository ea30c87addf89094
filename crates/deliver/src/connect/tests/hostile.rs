//! The list of hostile URLs, each through the endpoint's syntax and then the dialer's judgement.

use std::path::Path;

use super::*;

/// What a name server of the list's names would say.
fn test_dns(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(addresses(match host {
        "private.test" => &["10.0.0.1"],
        "cname.test" | "self.test" => &["127.0.0.1", "::1"],
        "metadata.google.internal" => &["169.254.169.254"],
        _ => &["1.1.1.1"],
    }))
}

/// The addresses that a postback to this URL may go to.
async fn judged(dialer: &Dialer, url: &str) -> Result<Vec<SocketAddr>, String> {
    let endpoint = endpoint(url).map_err(|error| error.to_string())?;
    dialer.addresses(endpoint.origin()).await.map_err(|why| format!("{why:?}"))
}

#[tokio::test]
async fn hostile_urls_lead_nowhere() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases/hostile_urls.tsv");
    let Ok(list) = fs::read_to_string(&list) else {
        println!("skipped: there is no {}", list.display());
        return;
    };
    let dialer = strict(test_dns);
    let mut checked = 0;
    for row in list.lines().skip(1) {
        let mut fields = row.split('\t');
        let mut next = || fields.next().unwrap_or_else(|| panic!("short row: {row}"));
        let (id, _group, url, verdict) = (next(), next(), next(), next());
        let url = url.split(" (").next().unwrap_or(url).replace("\\t", "\t").replace("\\n", "\n");
        // Redirects are not followed (`send`); an answer that changes is judged anew for each connection.
        let expect = match verdict {
            _ if ["F9", "F11"].contains(&id) => true,
            "BLOCK" => false,
            "ALLOW" => true,
            other => panic!("{id}: unknown verdict {other}"),
        };
        let found = judged(&dialer, &url).await;
        assert_eq!(found.is_ok(), expect, "{id} {url}: {found:?}");
        checked += 1;
    }
    assert!(checked > 0, "the list is empty");
}

#[tokio::test]
async fn a_name_that_turns_private_is_judged_anew() {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    static PRIVATE: AtomicBool = AtomicBool::new(false);
    let rebinding = |_: &str| {
        Ok(addresses(if PRIVATE.swap(true, SeqCst) { &["127.0.0.1"] } else { &["1.1.1.1"] }))
    };
    let mut dialer = strict(rebinding);
    judged(&dialer, "http://rebind.test/").await.unwrap();
    dialer.names = Names::new(rebinding); // The first answer is forgotten.
    judged(&dialer, "http://rebind.test/").await.unwrap_err();
}
