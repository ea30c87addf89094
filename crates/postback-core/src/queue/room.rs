//! When there is room again: what must go, and how fast rows went of late.

use std::time::Duration;

use redis::Value;

/// The bounds of what a client is told to wait for room, in seconds; the longer where too little is drained.
const WAIT: (u64, u64) = (1, 60);

/// What must go before more is taken, and how fast it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    over: f64,
    /// How much goes when all that waits is delivered: neither dead rows nor kept answers do.
    drains: f64,
    bytes_a_second: f64,
}

impl Room {
    /// As `enqueue.lua` tells it: what must go (bytes), how much there is of rows (bytes; how many pending, how many
    /// dead), and how many rows went in the last so many milliseconds.
    pub(super) fn read(reply: &[Value]) -> Room {
        let mut figures = reply.iter().map(|value| match value {
            Value::Int(n) => *n as f64,
            _ => 0.0,
        });
        let mut next = || figures.next().unwrap_or_default();
        let (over, used, pending, dead, gone, window) =
            (next(), next(), next(), next(), next(), next());
        let bytes_a_row = used / (pending + dead).max(1.0);
        let bytes_a_second = bytes_a_row * gone / window.max(1.0) * 1000.0;
        Room { over, drains: bytes_a_row * pending, bytes_a_second }
    }

    /// As fast, with so many bytes to go.
    pub fn of(self, over: u64) -> Room {
        Room { over: over as f64, ..self }
    }

    /// How long a client should wait: 1 to 60 s.
    pub fn wait(&self) -> Duration {
        let drains = self.bytes_a_second > 0.0 && self.over <= self.drains;
        let seconds = if drains { (self.over / self.bytes_a_second).ceil() } else { f64::MAX };
        Duration::from_secs((seconds as u64).clamp(WAIT.0, WAIT.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_expected_by_what_was_drained() {
        let room = |figures: [i64; 6]| {
            let reply: Vec<Value> = figures.into_iter().map(Value::Int).collect();
            Room::read(&reply)
        };
        let check = |figures: [i64; 6], seconds: u64| {
            assert_eq!(room(figures).wait().as_secs(), seconds, "{figures:?}");
        };
        // 100 bytes a row, 1,000 rows in 10 s: 10,000 bytes a second.
        check([100_000, 1_000_000, 10_000, 0, 1_000, 10_000], 10);
        check([1, 1_000_000, 10_000, 0, 1_000, 10_000], 1);
        check([100_001, 1_000_000, 10_000, 0, 1_000, 10_000], 11);
        check([1_000_000, 1_000_000, 10_000, 0, 1_000, 10_000], 60);
        check([1, 1_000_000, 10_000, 0, 0, 60_000], 60);
        check([1, 0, 0, 0, 0, 0], 60);
        // Half of the rows are dead, and stay.
        check([500_000, 1_000_000, 5_000, 5_000, 5_000, 10_000], 10);
        check([500_001, 1_000_000, 5_000, 5_000, 5_000, 10_000], 60);
        // Nearly all are kept answers.
        check([1_000, 500, 5, 0, 1_000, 10_000], 60);
        assert_eq!(Room::read(&[]).wait().as_secs(), 60);
        let other = room([1_000_000, 1_000_000, 10_000, 0, 1_000, 10_000]).of(20_000);
        assert_eq!(other.wait().as_secs(), 2);
    }
}
