use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn throttle(rate: &str, clients: usize) -> (Throttle, Instant) {
    let begin = Instant::now();
    (Throttle::new(&rate.parse().unwrap(), clients, begin).unwrap(), begin)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_client_has_a_second_s_worth_at_once_and_then_the_rate() {
    let check = |rate: &str, burst: usize, interval: Duration| {
        let (throttle, begin) = throttle(rate, 8);
        let client = ip("198.51.100.1");
        let admitted =
            |at: Instant| (0..2 * burst).filter(|_| throttle.admit(client, at).is_ok()).count();
        assert_eq!(admitted(begin), burst, "{rate}");
        assert_eq!(throttle.admit(client, begin), Err(interval), "{rate}");
        let half = interval / 2;
        assert_eq!(throttle.admit(client, begin + half), Err(interval - half), "{rate}");
        assert_eq!(admitted(begin + interval), 1, "{rate}");
        // What was refused has cost nothing; what was not used adds up to a second's worth and no more.
        assert_eq!(admitted(begin + 4 * interval), 3.min(burst), "{rate}");
        assert_eq!(admitted(begin + Duration::from_secs(100_000)), burst, "{rate}");
    };
    check("1000/s", 1000, ms(1));
    check("4/s", 4, ms(250));
    check("1/s", 1, ms(1000));
    check("30/m", 1, ms(2000));
    check("1000000/s", 1_000_000, Duration::from_micros(1));
}

#[test]
fn clients_do_not_share_but_a_64_of_ipv6_does() {
    let check = |one: &str, other: &str, shared: bool| {
        let (throttle, begin) = throttle("1/s", 64);
        assert_eq!(throttle.admit(ip(one), begin), Ok(()));
        assert_eq!(throttle.admit(ip(other), begin).is_err(), shared, "{one} {other}");
    };
    check("198.51.100.1", "198.51.100.1", true);
    check("198.51.100.1", "198.51.100.2", false);
    check("2001:db8::1", "2001:db8::ffff:1", true);
    check("2001:db8::1", "2001:db8:0:1::1", false);
    check("::1", "0.0.0.0", false);
}

#[test]
fn a_flood_of_addresses_neither_grows_the_table_nor_frees_a_throttled_client() {
    // One set of places: everyone meets everyone.
    let (throttle, begin) = throttle("10/s", PLACES);
    assert_eq!(throttle.sets.len(), 1);
    let client = ip("198.51.100.1");
    while throttle.admit(client, begin).is_ok() {}
    for n in 0..100_000_u32 {
        let other = IpAddr::V4((0x0a00_0000 + n).into());
        assert_eq!(throttle.admit(other, begin), Ok(()));
    }
    assert!(throttle.admit(client, begin).is_err());
    // What is spent goes first.
    let later = begin + ms(2_000);
    assert_eq!(throttle.admit(client, later), Ok(()));
    let kept =
        locked(&throttle.sets[0]).iter().filter(|place| place.key == Key::of(client)).count();
    assert_eq!(kept, 1);
}

#[test]
fn a_full_table_still_limits_each_of_its_clients() {
    let (throttle, begin) = throttle("1/s", CLIENTS);
    assert_eq!(throttle.sets.len() * PLACES, CLIENTS);
    assert!(size_of_val(&*throttle.sets) < 3 << 20);
    // A third of the table: places are found by hash, so that some sets are full before the table is.
    let clients = || (0..CLIENTS as u32 / 3).map(|n| IpAddr::V4((0x0a00_0000 + n).into()));
    assert!(clients().all(|client| throttle.admit(client, begin).is_ok()));
    let forgotten = clients().filter(|client| throttle.admit(*client, begin).is_ok()).count();
    assert!(forgotten < CLIENTS / 100, "{forgotten}");
}

#[test]
fn the_log_hears_of_a_client_once_a_minute_and_of_few_in_all() {
    let begin = Instant::now();
    let mut told = Told::default();
    let key = |n: u32| Key::of(IpAddr::V4(n.into()));
    assert!(told.may_tell(key(0), begin));
    assert!(!told.may_tell(key(0), begin + ms(59_999)));
    assert!(told.may_tell(key(0), begin + QUIET));
    let begin = begin + QUIET;
    assert_eq!((1..1000).filter(|n| told.may_tell(key(*n), begin + ms(1))).count(), LINES - 1);
    assert!(!told.may_tell(key(1000), begin + QUIET - ms(1)));
    assert!(told.may_tell(key(1000), begin + QUIET));
    assert!(told.0.len() <= LINES);
}

#[test]
fn a_client_is_shown_as_it_is_counted() {
    let check = |address: &str, shown: &str| assert_eq!(Key::of(ip(address)).to_string(), shown);
    check("198.51.100.1", "198.51.100.1");
    check("2001:db8::1", "2001:db8::/64");
}

#[test]
fn a_client_rate_is_a_rate_or_none() {
    let check =
        |text: &str, good: bool| assert_eq!(text.parse::<ClientRate>().is_ok(), good, "{text}");
    for text in ["1000/s", "30/m", "0.5/s", "1/h", "none"] {
        check(text, true);
    }
    for text in ["", "0", "0/s", "1000", "-1/s", "NaN/s", "2000000/s", "None"] {
        check(text, false);
    }
    assert!(Throttle::new(&"none".parse().unwrap(), 8, Instant::now()).is_none());
}
