//! So many requests a second from one client and no more: a client in an endless loop must not cost the others.
//!
//! One figure a client (GCRA, the token bucket that keeps a time instead of tokens): the instant until which its requests
//! are booked. A request books the rate's interval more, and is refused where that would be over a second ahead.

use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use postback_core::policy::parse_rate;

/// How many clients the public listener knows at a time: 2 MiB.
pub(crate) const CLIENTS: usize = 65_536;
/// How many the admin listener knows.
pub(crate) const OPERATORS: usize = 1_024;
/// A client may stand in one of so many places, which are all that is looked at for a request.
const PLACES: usize = 8;
/// A client that is throttled is told of once in this time.
const QUIET: Duration = Duration::from_secs(60);
/// So many clients are told of in that time, however many are throttled.
const LINES: usize = 10;

/// `--client-rate`: what one client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRate {
    text: String,
    /// One request's share of the time; `None`: no limit.
    interval: Option<Duration>,
}

impl FromStr for ClientRate {
    type Err = String;

    fn from_str(text: &str) -> Result<ClientRate, String> {
        let interval = match text {
            "none" => None,
            _ => match parse_rate(text).map_err(|error| format!("{error}; or say none"))? {
                0.0 => return Err("nobody could send anything; for no limit say none".into()),
                rate => Some(Duration::from_secs_f64(1.0 / rate)),
            },
        };
        Ok(ClientRate { text: text.into(), interval })
    }
}

impl fmt::Display for ClientRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An IPv4 address as `::ffff:a.b.c.d`, or the /64 of an IPv6 one: what one customer of a provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Key(u128);

impl Key {
    fn of(address: IpAddr) -> Key {
        match address {
            IpAddr::V4(ip) => Key(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Key(ip.to_bits() >> 64 << 64),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from_bits(self.0);
        match ip.to_ipv4_mapped() {
            Some(ip) => ip.fmt(f),
            None => write!(f, "{ip}/64"),
        }
    }
}

/// One client.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    key: Key,
    /// Until when its requests are booked, in nanoseconds since the throttle began. In the past: as good as empty.
    booked: u64,
}

/// All clients of a listener. What it costs, in memory and per request, does not depend on how many there are.
pub(crate) struct Throttle {
    rate: ClientRate,
    /// One request's share of the time, in nanoseconds.
    interval: u64,
    /// How far ahead requests may be booked: a second less the request itself, so that a burst is a second's worth.
    ahead: u64,
    begin: Instant,
    /// Where a client's places are, by a hash that nobody outside can know.
    hasher: RandomState,
    sets: Box<[Mutex<[Place; PLACES]>]>,
    told: Mutex<Told>,
}

impl Throttle {
    /// For about so many clients at a time; `None` without a limit.
    pub(crate) fn new(rate: &ClientRate, clients: usize, begin: Instant) -> Option<Throttle> {
        let interval = u64::try_from(rate.interval?.as_nanos()).unwrap_or(u64::MAX);
        Some(Throttle {
            rate: rate.clone(),
            interval,
            ahead: 1_000_000_000_u64.saturating_sub(interval),
            begin,
            hasher: RandomState::new(),
            sets: (0..clients.div_ceil(PLACES)).map(|_| Mutex::default()).collect(),
            told: Mutex::default(),
        })
    }

    /// Counts a request, or tells after which time the client may send another. The log hears of it once.
    pub(crate) fn admit(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let key = Key::of(client);
        let admitted = self.book(key, now);
        if admitted.is_err() && locked(&self.told).may_tell(key, now) {
            let rate = &self.rate;
            log::warn!("client {key} sends more than {rate} (--client-rate): the rest gets 429");
        }
        admitted
    }

    fn book(&self, key: Key, now: Instant) -> Result<(), Duration> {
        let now = u64::try_from(now.saturating_duration_since(self.begin).as_nanos());
        let now = now.unwrap_or(u64::MAX);
        let set = self.hasher.hash_one(key) as usize % self.sets.len();
        let mut places = locked(&self.sets[set]);
        let place = place(&mut places, key);
        let from = place.booked.max(now);
        match (from - now).checked_sub(self.ahead) {
            None | Some(0) => {
                place.booked = from.saturating_add(self.interval);
                Ok(())
            }
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }
}

/// The client's place; a new client takes the one that is booked the least far ahead. So what a flood of addresses drives
/// out are those that lose least by it, and last of all a client that is being throttled.
fn place(places: &mut [Place; PLACES], key: Key) -> &mut Place {
    let known = places.iter().position(|place| place.key == key);
    let least = || {
        let booked = places.iter().enumerate().min_by_key(|(_, place)| place.booked);
        booked.map_or(0, |(at, _)| at)
    };
    let place = known.unwrap_or_else(least);
    let place = &mut places[place];
    if place.key != key {
        *place = Place { key, booked: 0 };
    }
    place
}

/// Whom the log has heard of, and when: the last few.
#[derive(Debug, Default)]
struct Told(VecDeque<(Key, Instant)>);

impl Told {
    fn may_tell(&mut self, key: Key, now: Instant) -> bool {
        while self.0.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= QUIET) {
            self.0.pop_front();
        }
        let may = self.0.len() < LINES && self.0.iter().all(|(told, _)| *told != key);
        if may {
            self.0.push_back((key, now));
        }
        may
    }
}

/// What a panic elsewhere left is still a valid figure.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
