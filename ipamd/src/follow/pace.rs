//! When a watch of Kubernetes is tried again. Pure.

use crate::retry::Pauses;
use std::time::Duration;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest: whoever creates what was missing, or grants what was refused, waits no longer, and a
/// thousand nodes that are refused ask less than forty times a second together.
const LONGEST: Duration = Duration::from_secs(60);

/// A watch that lasted so long was a good one. Servers end them after minutes, balancers after a
/// minute or more; what is refused or cut off ends at once.
const GOOD: Duration = Duration::from_secs(30);

/// How a round of listing and watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server, or something on the way, ended it in order.
    Closed,
    /// The version that was known from before is no longer kept (410).
    Expired,
    /// It was refused, or broke; or what had just been listed was no longer kept.
    Failed,
}

/// The pauses of one watch. A list that is answered does not count as a success: lists are what costs
/// the server, and a watch behind them may be refused every time. Only a watch that lasted does.
#[derive(Debug)]
pub(super) struct Pace {
    pauses: Pauses,
    hurried: bool,
}

impl Pace {
    /// With a number of this node's own.
    pub(super) fn new(seed: u64) -> Self {
        Self { pauses: Pauses::new(FIRST, LONGEST, seed), hurried: false }
    }

    /// The pause after a round whose watch lasted so long. What has expired is listed at once, whatever
    /// was before: a list is needed, and after it nothing is known from before. What ends in order is
    /// followed by the next round at once, but only once until a watch is a good one again.
    pub(super) fn after(&mut self, end: End, lasted: Duration) -> Duration {
        if lasted >= GOOD {
            self.pauses.reset();
            self.hurried = false;
        }
        match end {
            End::Expired => Duration::ZERO,
            End::Closed if !self.hurried => {
                self.hurried = true;
                Duration::ZERO
            }
            End::Closed | End::Failed => self.pauses.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn pauses_of_a_watch_that_fails_grow_and_stay_between_half_and_all_of_the_longest() {
        for seed in 0..100 {
            let mut pace = Pace::new(seed);
            let pauses: Vec<_> = (0..12).map(|_| pace.after(End::Failed, Duration::ZERO)).collect();

            for (nth, pause) in pauses.iter().enumerate() {
                let grown = LONGEST.min(FIRST * (1 << nth));
                assert!(*pause > grown / 2 && *pause <= grown, "seed {seed}: {pauses:?}");
            }
        }
    }

    #[test]
    fn nodes_that_were_refused_together_come_back_apart() {
        let pauses: std::collections::BTreeSet<Duration> =
            (0..100).map(|seed| Pace::new(seed).after(End::Failed, Duration::ZERO)).collect();

        assert!(pauses.len() > 50, "{pauses:?}");
    }

    #[test]
    fn whatever_ends_early_is_tried_at_most_140_times_an_hour() {
        for end in [End::Closed, End::Failed] {
            for seed in 0..100 {
                assert!(
                    rounds(Pace::new(seed), &[end], Duration::ZERO) <= 140,
                    "{end:?}, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn what_has_expired_is_listed_at_once_however_much_failed_before() {
        let mut pace = Pace::new(7);
        for _ in 0..9 {
            pace.after(End::Failed, Duration::ZERO);
        }

        assert_eq!(pace.after(End::Expired, Duration::ZERO), Duration::ZERO);
    }

    /// Only what was known from before expires: each list is followed by another end.
    #[test]
    fn a_server_that_keeps_nothing_is_asked_for_at_most_140_lists_an_hour() {
        for end in [End::Closed, End::Failed] {
            for seed in 0..100 {
                let lists = rounds(Pace::new(seed), &[end, End::Expired], Duration::ZERO) / 2;

                assert!(lists <= 140, "{end:?}, seed {seed}: {lists}");
            }
        }
    }

    #[test]
    fn a_watch_that_is_refused_after_every_list_is_no_success() {
        let mut pace = Pace::new(7);
        let first = pace.after(End::Failed, Duration::from_millis(1));

        let later = (0..8).map(|_| pace.after(End::Failed, Duration::from_millis(1))).max();

        assert!(later > Some(first * 8), "{first:?}, {later:?}");
    }

    #[test]
    fn a_good_watch_that_ends_or_expires_goes_on_at_once_every_time() {
        for end in [End::Closed, End::Expired] {
            let mut pace = Pace::new(7);

            let pauses = [0; 5].map(|_| pace.after(end, GOOD));

            assert_eq!(pauses, [Duration::ZERO; 5]);
        }
    }

    #[test]
    fn after_a_good_watch_the_next_failure_is_a_first_one() {
        let mut pace = Pace::new(7);
        let first = pace.after(End::Failed, Duration::ZERO);
        for _ in 0..9 {
            pace.after(End::Failed, Duration::ZERO);
        }

        assert_eq!(pace.after(End::Failed, GOOD), first);
    }

    /// How many rounds an hour has that end so in turn.
    fn rounds(mut pace: Pace, ends: &[End], lasted: Duration) -> u32 {
        let (mut passed, mut rounds) = (Duration::ZERO, 0);
        for end in ends.iter().cycle() {
            if passed >= HOUR {
                break;
            }
            rounds += 1;
            passed += lasted + pace.after(*end, lasted);
        }
        rounds
    }
}
