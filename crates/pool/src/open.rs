//! What was begun and not finished: it is done again, with the pauses of its kind, until its end is known.

use crate::{Action, CONSISTENCY_WINDOW, Pool, Refusal, Time, Unfinished};

impl Pool {
    /// Notes that an action was begun before this process was, or may have been. It counts as under way,
    /// and is planned again until its end is known.
    pub fn reopen(&mut self, action: &Action) {
        self.underway.leave_open(action);
    }

    /// Notes that an action was refused, and that it has begun: the record says so, and EC2 may have
    /// something of it. It goes on counting as under way, and is planned again after a pause.
    pub fn left_open(&mut self, action: &Action, refusal: Refusal, now: Time) {
        self.reopen(action);
        self.backoff.refused(action.kind(), None, refusal, now);
    }

    /// Notes what is unfinished beside the actions that are under way.
    pub fn set_unfinished(&mut self, unfinished: Unfinished) {
        self.unfinished = unfinished;
    }
}

/// What is to be done again now.
pub(crate) fn again(pool: &Pool, now: Time) -> Vec<Action> {
    let discards = pool.unfinished.discarded.iter().map(|eni| Action::Discard { eni: eni.clone() });
    // One that is attached after all is given back first, if it is.
    let discards = discards.filter(|action| {
        let attached = action.eni().is_some_and(|eni| pool.enis.contains_key(eni));
        !attached && pool.underway.on(&action.target()).is_none()
    });
    let settles = pool.unfinished.unsure.iter().filter(|(id, asked)| {
        is_due(**asked, now) && pool.enis.contains_key(*id) && pool.underway.on_eni(id).is_none()
    });
    let settles = settles.map(|(eni, _)| Action::Settle { eni: eni.clone() });
    let all = pool.underway.open().cloned().chain(discards).chain(settles);
    all.filter(|action| pool.backoff.of_kind(action.kind(), now).is_none()).collect()
}

/// When EC2 is to be asked what became of a call that it has not answered. Before that its lists may be
/// older than the call; a call for the same interface asks earlier.
pub(crate) fn next_question(pool: &Pool, now: Time) -> Option<Time> {
    let due = pool.unfinished.unsure.values().map(|asked| *asked + CONSISTENCY_WINDOW);
    due.filter(|at| *at > now).min()
}

fn is_due(asked: Time, now: Time) -> bool {
    asked + CONSISTENCY_WINDOW <= now
}
