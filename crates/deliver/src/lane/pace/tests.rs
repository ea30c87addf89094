use super::*;

fn granted(from_ms: f64, every_ms: f64, count: u32) -> Pace {
    let mut pace = Pace::default();
    pace.grant(Slots { from_ms, every_ms, count });
    pace
}

/// How many rows go at this time.
fn go(pace: &mut Pace, now_ms: f64) -> usize {
    (0..).take_while(|_| pace.take(now_ms) == Turn::Now).count()
}

#[test]
fn each_row_takes_a_slot_at_its_time() {
    let mut pace = granted(1000.0, 202.0, 2);
    assert_eq!(pace.take(999.0), Turn::At(1000.0));
    assert_eq!(pace.take(1000.0), Turn::Now);
    assert_eq!(pace.take(1000.0), Turn::At(1202.0));
    assert_eq!(pace.take(1205.0), Turn::Now);
    assert_eq!(pace.take(1400.0), Turn::Ask(0.0));
    assert_eq!(pace.asks_at(1400.0), Some(0.0));
}

#[test]
fn a_slot_missed_by_more_than_50_ms_is_lost() {
    let mut pace = granted(1000.0, 10.1, 100);
    assert_eq!(go(&mut pace, 1500.0), 5, "half a second late");
    assert_eq!(granted(1000.0, 505.0, 2).take(1050.0), Turn::Now);
    let mut slow = granted(1000.0, 505.0, 2);
    assert_eq!(slow.asks_at(1051.0), None);
    assert_eq!(slow.take(1051.0), Turn::At(1505.0));
    assert_eq!(slow.asks_at(1556.0), Some(0.0));
}

#[test]
fn a_fast_rate_is_kept_by_a_slow_timer() {
    let mut pace = granted(0.0, 1.01, 1000);
    let sent: usize = (0..=260).map(|tick| go(&mut pace, f64::from(tick) * 4.0)).sum();
    assert_eq!(sent, 1000);
}

#[test]
fn unused_slots_are_told_once() {
    let mut pace = granted(1000.0, 200.0, 5);
    pace.take(1000.0);
    assert_eq!(pace.give_up(), Some((1200.0, 2000.0)));
    assert_eq!(pace.give_up(), None);
}

/// What `reserve.lua` does for a lane that has this rate.
struct Redis {
    rate: f64,
    score: f64,
}

impl Redis {
    fn grant(&mut self, now: f64, end: f64, want: u32) -> Slots {
        let every_ms = 1010.0 / self.rate;
        let holder = (self.score - end).abs() < 1.0;
        let early = if holder { every_ms.max(100.0) } else { 0.0 };
        if self.score > now + early {
            return Slots { from_ms: self.score - early, every_ms, count: 0 };
        }
        let from_ms = now.max(if holder { self.score } else { self.score + 40.0 });
        let count = want.min(((2000.0 / every_ms) as u32).max(1));
        self.score = from_ms + f64::from(count) * every_ms;
        Slots { from_ms, every_ms, count }
    }
}

/// When workers with endless rows in small rounds send, each timer being late by up to `late` ms.
fn sends(rate: f64, workers: usize, late: f64, rng: &mut fastrand::Rng) -> Vec<f64> {
    let mut redis = Redis { rate, score: 0.0 };
    let mut paces = vec![Pace::default(); workers];
    let mut wakes = vec![0.0_f64; workers];
    let mut sent = Vec::new();
    while let Some(next) = (0..workers).min_by(|a, b| wakes[*a].total_cmp(&wakes[*b])) {
        let (now, pace) = (wakes[next], &mut paces[next]);
        if now > 30_000.0 {
            break;
        }
        wakes[next] = match pace.take(now) {
            Turn::Now => {
                sent.push(now);
                now
            }
            Turn::At(at) => at + rng.f64() * late,
            Turn::Ask(_) => {
                let slots = redis.grant(now, pace.end_ms(), 1 + rng.u32(..10.max(2 * rate as u32)));
                pace.grant(slots);
                if slots.count > 0 { now } else { slots.from_ms.max(now + 1.0) + rng.f64() * late }
            }
        };
    }
    sent
}

#[test]
fn no_second_is_too_full_and_few_slots_are_lost_however_late_timers_are() {
    let mut rng = fastrand::Rng::with_seed(5);
    for rate in [1.0, 5.0, 37.0, 400.0] {
        for (workers, late) in [(1, 2.0), (1, 30.0), (3, 5.0), (3, 12.0), (3, 30.0), (3, 100.0)] {
            let sent = sends(rate, workers, late, &mut rng);
            let most =
                (rate as usize..sent.len()).filter(|n| sent[*n] - sent[n - rate as usize] < 999.9);
            assert_eq!(most.count(), 0, "{rate}/s, {workers} workers, {late} ms late");
            if late < 20.0 {
                let reached = sent.len() as f64 / 30.0 / rate;
                assert!(reached > 0.85, "{rate}/s, {workers} workers, {late} ms late: {reached}");
            }
        }
    }
}
