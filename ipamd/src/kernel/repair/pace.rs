//! The pace of repair: at once, and slower against a program that keeps undoing it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long after the first notification to look: programs flush many things in one go, and one
/// look sees all of them.
pub(super) const FIRST_GAP: Duration = Duration::from_millis(50);

/// The longest time between two repairs: with what they take themselves, what is lost is back within
/// a second, also in a fight.
const LONGEST_GAP: Duration = Duration::from_millis(800);

/// After so long without a loss the next one is answered at once again.
const CALM: Duration = Duration::from_secs(10);

/// The same thing lost so often without calm in between is a fight, not an accident.
const FIGHT: u32 = 5;

/// Lines about a fight while it lasts: one a minute.
const FIGHT_REPORT: Duration = Duration::from_secs(60);

/// What was repaired lately.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    last_loss: Option<Instant>,
    lost: BTreeMap<String, u32>,
    told: Option<Instant>,
}

/// What to tell about a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// What was lost.
    Loss,
    /// That somebody keeps undoing the repair, and how often that was.
    Fight(u32),
    /// Nothing: it is the fight of which was told.
    Nothing,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { gap: FIRST_GAP, last_loss: None, lost: BTreeMap::new(), told: None }
    }

    /// How long to wait after a notification.
    pub(super) fn gap(&self, now: Instant) -> Duration {
        if self.is_calm(now) { FIRST_GAP } else { self.gap }
    }

    /// Notes what was lost and is repaired now.
    pub(super) fn lost(&mut self, what: impl Iterator<Item = String>, now: Instant) -> Tell {
        if self.is_calm(now) {
            *self = Self::new();
        } else {
            self.gap = (self.gap * 2).min(LONGEST_GAP);
        }
        self.last_loss = Some(now);
        let counts = what.map(|what| {
            let count = self.lost.entry(what).or_default();
            *count += 1;
            *count
        });
        // Over all of them: each must be counted.
        let (most, least) =
            counts.fold((0, u32::MAX), |(most, least), count| (most.max(count), least.min(count)));
        // Something that was not lost before is news, also during a fight.
        if most < FIGHT || least == 1 {
            return Tell::Loss;
        }
        if self.told.is_some_and(|at| now - at < FIGHT_REPORT) {
            return Tell::Nothing;
        }
        self.told = Some(now);
        Tell::Fight(most)
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.last_loss.is_none_or(|at| now - at > CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_repaired_within_a_second_and_told_once_a_minute() {
        let mut pace = Pace::new();
        let mut now = Instant::now();
        let end = now + 2 * FIGHT_REPORT;
        let mut told = vec![];
        while now < end {
            now += pace.gap(now);
            told.push(pace.lost(["rule 512".to_owned()].into_iter(), now));
            assert!(pace.gap(now) < Duration::from_secs(1));
        }

        assert!(told.len() < 2 * 60 * 1000 / 800 + 10, "{} repairs", told.len());
        assert_eq!(told.iter().filter(|it| **it == Tell::Loss).count(), 4);
        let fights = told.iter().filter(|it| matches!(it, Tell::Fight(_))).count();
        assert_eq!(fights, 2);
    }

    #[test]
    fn losses_far_apart_are_answered_at_once_and_told_each_time() {
        let mut pace = Pace::new();
        let mut now = Instant::now();
        for loss in 0..20 {
            now += CALM + FIRST_GAP;

            assert_eq!(pace.gap(now), FIRST_GAP, "loss {loss}");
            let told = pace.lost(["rule 512".to_owned()].into_iter(), now);
            assert_eq!(told, Tell::Loss, "loss {loss}");
        }
    }

    #[test]
    fn something_new_is_told_also_during_a_fight() {
        let mut pace = Pace::new();
        let now = Instant::now();
        for _ in 0..10 {
            pace.lost(["rule 512".to_owned()].into_iter(), now);
        }

        let both = ["rule 512", "rule 1024"].map(str::to_owned).into_iter();

        assert_eq!(pace.lost(both, now), Tell::Loss);
    }
}
