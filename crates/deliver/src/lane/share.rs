//! Which lane may take one of the slots of the process: pure.
//!
//! A lane takes a further slot only while it uses less than half of the slots that it sees as free. An eighth of all
//! slots is seen by those alone that have nothing in flight and are not known to be slow, and half of that eighth by
//! those alone that are known to be prompt. So slow partners, however many, and strangers, however many, leave slots
//! for the partners that answer at once. Without the eighth, lanes that come one after the other take half of what is
//! left each, and seventeen of them all of 512.

use std::{collections::VecDeque, time::Duration};

/// An attempt of a prompt partner takes less than this.
const PROMPT: Duration = Duration::from_millis(250);
/// No more slots than these are kept back: they are for one request of each lane.
const MOST_KEPT: usize = 256;

/// What is known of a partner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Its last attempt was over soon.
    Prompt,
    /// Its last attempt took long, or came to nothing after long.
    Slow,
}

impl Known {
    /// What an attempt that took so long, connecting included, makes of a partner.
    pub(crate) fn by(took: Duration) -> Known {
        if took < PROMPT { Known::Prompt } else { Known::Slow }
    }
}

/// In which order lanes that wait for a slot get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Nothing in flight, to a partner who is known to be prompt.
    Prompt,
    /// Nothing in flight.
    Idle,
    /// It has requests in flight, and goes on when they are answered in any case.
    Busy,
}

impl Rank {
    /// From the first to the last.
    pub(crate) const ALL: [Rank; 3] = [Rank::Prompt, Rank::Idle, Rank::Busy];

    pub(crate) fn of(in_flight: usize, known: Known) -> Rank {
        match (in_flight, known) {
            (0, Known::Prompt) => Rank::Prompt,
            (0, _) => Rank::Idle,
            _ => Rank::Busy,
        }
    }

    /// Whether there are lanes of this rank that may take one of the `free` slots.
    pub(crate) fn has_chance(self, slots: usize, free: usize) -> bool {
        match self {
            Rank::Prompt => allows(slots, free, 0, Known::Prompt),
            Rank::Idle => allows(slots, free, 0, Known::Unknown),
            Rank::Busy => allows(slots, free, 1, Known::Prompt),
        }
    }
}

/// Lanes that wait for a slot, by rank, and in the order in which they get one.
#[derive(Debug)]
pub(crate) struct Line<T>([VecDeque<T>; Rank::ALL.len()]);

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line(Default::default())
    }
}

impl<T> Line<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    /// Puts one at the end of its rank. The busy get on by themselves, and may be gone before there is a slot for their
    /// rank: with each new one two are looked at, so that those who do not wait any more never outnumber the others.
    pub(crate) fn push(&mut self, rank: Rank, new: T, still_waits: impl Fn(&T) -> bool) {
        let line = &mut self.0[rank as usize];
        if rank == Rank::Busy {
            for _ in 0..2 {
                line.pop_front()
                    .filter(&still_waits)
                    .into_iter()
                    .for_each(|lane| line.push_back(lane));
            }
        }
        line.push_back(new);
    }

    /// The one whose turn it is, of the ranks with a chance, and its rank.
    pub(crate) fn pop(&mut self, has_chance: impl Fn(Rank) -> bool) -> Option<(T, Rank)> {
        Rank::ALL.into_iter().filter(|rank| has_chance(*rank)).find_map(|rank| {
            let lane = self.0[rank as usize].pop_front()?;
            Some((lane, rank))
        })
    }
}

/// Whether a lane with `in_flight` requests may take one more of the `free` of all `slots`.
pub(crate) fn allows(slots: usize, free: usize, in_flight: usize, known: Known) -> bool {
    let eighth = (slots / 8).min(MOST_KEPT);
    let kept = match (in_flight, known) {
        (0, Known::Prompt) => 0,
        (0, Known::Unknown) => eighth / 2,
        _ => eighth,
    };
    2 * in_flight < free.saturating_sub(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lanes with endless rows come one after the other, each taking what it gets; returns the free slots.
    fn fill(slots: usize, lanes: usize, known: Known) -> usize {
        let mut free = slots;
        for _ in 0..lanes {
            let mut in_flight = 0;
            while allows(slots, free, in_flight, known) {
                (in_flight, free) = (in_flight + 1, free - 1);
            }
        }
        free
    }

    #[test]
    fn no_number_of_slow_lanes_or_strangers_takes_what_is_kept_for_the_prompt() {
        for lanes in [1, 20, 100, 10_000] {
            assert!(fill(512, lanes, Known::Slow) >= 64, "{lanes} slow lanes");
            assert!(fill(512, lanes, Known::Unknown) >= 32, "{lanes} strangers");
        }
        assert_eq!(fill(512, 10_000, Known::Prompt), 0);
    }

    #[test]
    fn nearly_all_of_many_slots_can_be_used_by_few_lanes() {
        assert!(fill(20_000, 40, Known::Slow) <= 300);
        assert!(fill(512, 20, Known::Unknown) <= 64);
    }

    #[test]
    fn a_rank_without_a_chance_has_no_lane_that_may_take_a_slot() {
        for (slots, free) in (0..150).flat_map(|slots| (0..=slots).map(move |free| (slots, free))) {
            for known in [Known::Unknown, Known::Prompt, Known::Slow] {
                for in_flight in 0..5 {
                    let has_chance = Rank::of(in_flight, known).has_chance(slots, free);
                    let may = allows(slots, free, in_flight, known);
                    assert!(has_chance || !may, "{slots} {free} {in_flight} {known:?}");
                }
            }
        }
    }

    #[test]
    fn who_does_not_wait_any_more_is_forgotten_though_no_slot_is_free() {
        let mut line = Line::default();
        // Every tenth goes on waiting.
        for n in 0..10_000 {
            line.push(Rank::Busy, n, |n| n % 10 == 0);
        }
        assert!(line.len() < 2_100, "{}", line.len());
        let mut left: Vec<_> = std::iter::from_fn(|| line.pop(|_| true)).collect();
        left.retain(|(n, _)| n % 10 == 0);
        assert_eq!(left.len(), 1_000);
        for rank in [Rank::Idle, Rank::Prompt, Rank::Idle] {
            line.push(rank, 0, |_| false);
        }
        let turns = [Rank::Prompt, Rank::Idle, Rank::Idle];
        assert_eq!(turns.map(|_| line.pop(|_| true).unwrap().1), turns);
        assert_eq!((line.pop(|_| true), line.len()), (None, 0));
    }

    #[test]
    fn a_lane_alone_gets_a_slot_however_few_there_are() {
        for slots in 1..20 {
            for known in [Known::Unknown, Known::Prompt, Known::Slow] {
                assert!(allows(slots, slots, 0, known), "{slots} {known:?}");
            }
        }
    }
}
