//! How many addresses pods used lately: what is released is measured by the peak, not the moment.

use crate::Time;
use std::{collections::VecDeque, time::Duration};

/// How long addresses stay that are more than the targets ask for: a cron job that comes every five
/// minutes costs no call of EC2 (`docs/decisions.md`).
pub const HOLD: Duration = Duration::from_secs(300);

/// Changes within this time are one: it bounds the list.
const GRAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Addresses in use from a time on, the oldest first.
    steps: VecDeque<(Time, usize)>,
}

impl Usage {
    pub(crate) fn note(&mut self, in_use: usize, now: Time) {
        // All but the newest of what is older than the window: that one tells where it begins.
        while self.steps.get(1).is_some_and(|(since, _)| *since + HOLD <= now) {
            self.steps.pop_front();
        }
        match self.steps.back_mut() {
            // Two peaks so close count as the higher one, unless what follows is all that matters.
            Some((since, before)) if now < *since + GRAIN => {
                let high = (*before).max(in_use);
                if high == in_use {
                    *before = in_use;
                } else {
                    self.steps.push_back((now, in_use));
                    self.compact();
                }
            }
            Some(_) | None => self.steps.push_back((now, in_use)),
        }
    }

    /// Keeps of steps within a grain the highest and the last.
    fn compact(&mut self) {
        while let [.., (a, high), (b, middle), (_, _)] = self.steps.make_contiguous()
            && *b < *a + GRAIN
            && middle <= high
        {
            let at = self.steps.len() - 2;
            self.steps.remove(at);
        }
    }

    /// The most that was in use at once in the time of [`HOLD`] before `now`.
    pub(crate) fn peak(&self, now: Time) -> usize {
        let mut peak = 0;
        for (since, in_use) in self.steps.iter().rev() {
            peak = peak.max(*in_use);
            if *since + HOLD <= now {
                break;
            }
        }
        peak
    }

    /// When the peak may become lower.
    pub(crate) fn next_change(&self, now: Time) -> Option<Time> {
        let current = self.steps.back().map_or(0, |(_, in_use)| *in_use);
        if self.peak(now) <= current {
            return None;
        }
        let ends = self.steps.iter().skip(1).map(|(since, _)| *since + HOLD);
        ends.filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_remembered_for_the_hold_and_then_forgotten() {
        let mut usage = Usage::default();
        usage.note(10, at(0));
        usage.note(2, at(60));

        assert_eq!(usage.peak(at(60)), 10);
        assert_eq!(usage.peak(at(359)), 10);
        assert_eq!(usage.next_change(at(60)), Some(at(360)));
        assert_eq!(usage.peak(at(360)), 2);
        assert_eq!(usage.next_change(at(360)), None);
    }

    #[test]
    fn the_list_is_bounded_by_the_hold_whatever_the_churn() {
        let mut usage = Usage::default();
        for millis in 0..1_000_000 {
            let in_use = (millis % 7) as usize;
            usage.note(in_use, Time(Duration::from_millis(millis)));
        }

        assert!(usage.steps.len() <= 3 * 301, "{}", usage.steps.len());
        assert_eq!(usage.peak(at(1_000)), 6);
    }

    #[test]
    fn steps_that_are_a_grain_apart_are_two_and_closer_ones_are_one() {
        let steps = |notes: &[(u64, usize)]| {
            let mut usage = Usage::default();
            for (millis, in_use) in notes {
                usage.note(*in_use, Time(Duration::from_millis(*millis)));
            }
            usage
        };

        // Up, and down much later.
        assert_eq!(steps(&[(0, 5), (1_000, 9), (20_000, 1)]).next_change(at(20)), Some(at(301)));
        assert_eq!(steps(&[(0, 5), (999, 9), (20_000, 1)]).next_change(at(20)), Some(at(320)));
        // Down, and further down within a grain.
        let down = Time(Duration::from_millis(301_200));
        assert_eq!(steps(&[(0, 9), (1_000, 5), (1_500, 3)]).peak(down), 5);
        assert_eq!(steps(&[(0, 9), (999, 5), (1_500, 3)]).peak(down), 9);
    }

    #[test]
    fn the_next_change_is_later_than_now() {
        let mut usage = Usage::default();
        usage.note(9, at(0));
        usage.note(5, at(10));
        usage.note(1, at(20));

        assert_eq!(usage.next_change(at(309)), Some(at(310)));
        assert_eq!(usage.next_change(at(310)), Some(at(320)));
        assert_eq!(usage.next_change(at(320)), None);
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }
}
