//! Merges what EC2 answered lately about an interface with its lists, which may be older.

use crate::{Block, time::Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long EC2's lists and the instance metadata may show what was before a change, on bad days
/// (`docs/references.md#ec2-consistency`).
pub const CONSISTENCY_WINDOW: Duration = Duration::from_secs(60);

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// EC2 answered that it is there.
    Added,
    /// EC2 was asked to take it back: it may be gone from then on.
    Removed,
}

/// What calls for one interface changed lately. It is on record, so that a daemon that was killed
/// and is back at once does not act on lists that are older than the last one's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentCalls {
    /// When EC2 was asked for a change that it has not answered.
    pub asked: Option<Time>,
    /// The interface was attached, or is being given back.
    pub eni: Option<(Change, Time)>,
    /// Its blocks that changed.
    pub blocks: BTreeMap<Block, (Change, Time)>,
}

/// Where an interface is, by record, list and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is attached.
    Attached,
    /// It is being given back.
    Releasing,
    /// It is not attached any more.
    Gone,
}

/// The blocks of an interface, merged from the record and a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The blocks.
    pub blocks: BTreeSet<Block>,
    /// The list and what EC2 answered say the same, and no answer is missing.
    pub certain: bool,
}

impl RecentCalls {
    /// A change is asked for.
    pub fn ask(&mut self, now: Time) {
        self.asked = Some(now);
    }

    /// It was answered, or it is known what became of it.
    pub fn answered(&mut self) {
        self.asked = None;
    }

    /// Blocks came, or may go from now on.
    pub fn changed<'a>(
        &mut self,
        change: Change,
        of: impl IntoIterator<Item = &'a Block>,
        now: Time,
    ) {
        self.blocks.extend(of.into_iter().map(|block| (*block, (change, now))));
    }

    /// EC2 has not taken these back.
    pub fn stay(&mut self, blocks: &BTreeSet<Block>) {
        self.blocks.retain(|block, _| !blocks.contains(block));
    }

    /// Forgets what lists show by now. Whether nothing is left. `on_record`: whether the interface is
    /// still on record; while it is, it is not forgotten that it is being given back.
    pub fn forget(&mut self, on_record: bool, now: Time) -> bool {
        self.blocks.retain(|_, (_, at)| is_young(*at, now));
        let leaves = |change| on_record && change == Change::Removed;
        self.eni = self.eni.filter(|(change, at)| leaves(*change) || is_young(*at, now));
        if !on_record {
            (self.asked, self.blocks) = (None, BTreeMap::new());
        }
        *self == Self::default()
    }

    /// Whether a list of now tells what became of the call that was not answered.
    #[must_use]
    pub fn is_conclusive(&self, now: Time) -> bool {
        self.asked.is_none_or(|at| !is_young(at, now))
    }

    /// Which blocks are there, by the record and a list of EC2's.
    #[must_use]
    pub fn blocks(
        &self,
        recorded: &BTreeSet<Block>,
        listed: &BTreeSet<Block>,
        now: Time,
    ) -> Merged {
        let lately = |block: &Block, way: Change| {
            self.blocks.get(block).is_some_and(|(change, at)| *change == way && is_young(*at, now))
        };
        let there = listed.iter().filter(|block| !lately(block, Change::Removed));
        let new = recorded.difference(listed).filter(|block| lately(block, Change::Added));
        let blocks: BTreeSet<Block> = there.chain(new).copied().collect();
        let certain = self.asked.is_none() && blocks == *listed;
        Merged { blocks, certain }
    }

    /// Whether the interface is there, by a list of EC2's and the instance metadata.
    #[must_use]
    pub fn presence(&self, in_list: bool, in_metadata: bool, now: Time) -> Presence {
        match self.eni {
            Some((Change::Removed, _)) => Presence::Releasing,
            Some((Change::Added, at)) if is_young(at, now) => Presence::Attached,
            // One of them alone may be late: only what neither knows is gone.
            Some((Change::Added, _)) | None if in_list || in_metadata => Presence::Attached,
            Some((Change::Added, _)) | None => Presence::Gone,
        }
    }
}

/// Whether lists may not show yet what happened then. A clock that was set back a little is no
/// reason to act on them.
fn is_young(at: Time, now: Time) -> bool {
    now.0.abs_diff(at.0) < CONSISTENCY_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Time = Time(Duration::from_secs(1_000));

    #[test]
    fn a_list_that_still_shows_what_was_given_back_is_not_believed_within_the_consistency_window() {
        let mut recent = RecentCalls::default();
        recent.changed(Change::Removed, &[block(1)], ASKED);
        let listed = [block(1), block(2)].into();

        let believed = |now| recent.blocks(&[block(2)].into(), &listed, now);

        assert_eq!(believed(ASKED), Merged { blocks: [block(2)].into(), certain: false });
        assert_eq!(
            believed(ASKED + CONSISTENCY_WINDOW),
            Merged { blocks: listed.clone(), certain: true }
        );
    }

    #[test]
    fn a_list_that_does_not_show_yet_what_came_is_not_believed_within_the_consistency_window() {
        let mut recent = RecentCalls::default();
        recent.changed(Change::Added, &[block(1)], ASKED);
        let recorded = [block(1), block(2)].into();

        let believed = |now| recent.blocks(&recorded, &[].into(), now);

        assert_eq!(believed(ASKED), Merged { blocks: [block(1)].into(), certain: false });
        assert_eq!(
            believed(ASKED + CONSISTENCY_WINDOW),
            Merged { blocks: [].into(), certain: true }
        );
    }

    #[test]
    fn an_address_that_came_again_after_it_went_is_there() {
        let mut recent = RecentCalls::default();
        recent.changed(Change::Removed, &[block(1)], ASKED);
        recent.changed(Change::Added, &[block(1)], ASKED);

        let believed = recent.blocks(&[block(1)].into(), &[block(1)].into(), ASKED);

        assert_eq!(believed, Merged { blocks: [block(1)].into(), certain: true });
    }

    #[test]
    fn what_ec2_refused_to_take_back_is_believed_at_once() {
        let mut recent = RecentCalls::default();
        recent.changed(Change::Removed, &[block(1)], ASKED);
        recent.stay(&[block(1)].into());

        assert!(recent.forget(true, ASKED));
    }

    #[test]
    fn a_call_that_was_not_answered_leaves_the_outcome_unknown_within_the_consistency_window() {
        let mut recent = RecentCalls::default();
        recent.ask(ASKED);
        let same = [block(1)].into();

        assert!(!recent.blocks(&same, &same, ASKED).certain);
        assert!(!recent.is_conclusive(ASKED));
        assert!(recent.is_conclusive(ASKED + CONSISTENCY_WINDOW));
        assert!(!recent.forget(true, ASKED + CONSISTENCY_WINDOW), "somebody must ask first");
        recent.answered();
        assert!(recent.is_conclusive(ASKED) && recent.blocks(&same, &same, ASKED).certain);
    }

    #[test]
    fn an_interface_is_gone_only_when_no_view_knows_it_and_it_did_not_come_lately() {
        let came = RecentCalls { eni: Some((Change::Added, ASKED)), ..RecentCalls::default() };
        let old = RecentCalls::default();

        assert_eq!(came.presence(false, false, ASKED), Presence::Attached);
        assert_eq!(came.presence(false, false, ASKED + CONSISTENCY_WINDOW), Presence::Gone);
        assert_eq!(old.presence(true, false, ASKED), Presence::Attached);
        assert_eq!(old.presence(false, true, ASKED), Presence::Attached);
        assert_eq!(old.presence(false, false, ASKED), Presence::Gone);
    }

    #[test]
    fn an_interface_that_is_being_given_back_leaves_whatever_the_views_show() {
        let mut went =
            RecentCalls { eni: Some((Change::Removed, ASKED)), ..RecentCalls::default() };

        assert_eq!(went.presence(true, true, ASKED + CONSISTENCY_WINDOW), Presence::Releasing);
        assert!(!went.forget(true, ASKED + CONSISTENCY_WINDOW));
        assert!(!went.forget(false, ASKED));
        assert!(went.forget(false, ASKED + CONSISTENCY_WINDOW));
    }

    #[test]
    fn what_lists_show_by_now_is_forgotten() {
        let mut recent =
            RecentCalls { eni: Some((Change::Added, ASKED)), ..RecentCalls::default() };
        recent.changed(Change::Removed, &[block(1)], ASKED);

        assert!(!recent.clone().forget(true, ASKED));
        assert!(recent.forget(true, ASKED + CONSISTENCY_WINDOW));
    }

    #[test]
    fn a_clock_that_was_set_back_a_little_is_no_reason_to_believe_a_list() {
        let mut recent = RecentCalls::default();
        recent.changed(Change::Removed, &[block(1)], ASKED);
        let before = Time(ASKED.0 - Duration::from_secs(5));

        assert!(!recent.blocks(&[].into(), &[block(1)].into(), before).certain);
    }

    fn block(host: u8) -> Block {
        Block::Address([10, 0, 0, host].into())
    }
}
