//! Resolves the outcome of calls that were not answered: takes over what EC2 says that there is.

use crate::{Answer, Call, Described, Known, Reply, Step, Told, fail, odd, refuse};
use pool::{EniId, RecentCalls, Time};

/// Asks EC2 what an interface has.
#[derive(Clone, Debug)]
pub(crate) struct Settle {
    id: EniId,
    at: Time,
}

impl Settle {
    pub(crate) fn new(id: EniId) -> Self {
        Self { id, at: Time::default() }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        match answer {
            Answer::Begin => {
                self.at = now;
                Step::Call(Call::Describe(self.id.clone()))
            }
            Answer::Reply(Reply::Described(described)) => {
                settle(&self.id, described.as_deref(), self.at, known);
                if known.recent(&self.id).asked.is_none() {
                    return Step::Done(Ok(()));
                }
                fail(format_args!("what EC2 lists of {} may be older than the last call", self.id))
            }
            Answer::Refused(refused) => refuse(&refused),
            Answer::Reply(_) | Answer::Waited => odd(&answer),
        }
    }
}

/// Takes over what EC2 listed at a time and recent calls do not contradict. How many blocks are new.
pub(crate) fn settle(
    id: &EniId,
    described: Option<&Described>,
    at: Time,
    known: &mut dyn Known,
) -> usize {
    let recent = known.recent(id);
    let mut added = 0;
    if let Some(described) = described {
        known.change_interface(id, &mut |eni| {
            let before = eni.blocks();
            eni.add(recent.blocks(&before, &described.blocks, at).blocks);
            added = eni.blocks().len() - before.len();
        });
        known.tell(Told::Settled { eni: id, added });
    }
    // It may have been given back meanwhile.
    if recent.is_conclusive(at) || known.interface(id).is_none() {
        answered(id, known);
    }
    added
}

/// Takes over the blocks that EC2 listed at a time in the place of those on record, as far as recent calls
/// do not contradict.
pub(crate) fn take_blocks(id: &EniId, described: &Described, at: Time, known: &mut dyn Known) {
    let recent = known.recent(id);
    known.change_interface(id, &mut |eni| {
        let blocks = recent.blocks(&eni.blocks(), &described.blocks, at).blocks;
        eni.addresses.clear();
        eni.prefixes.clear();
        eni.add(blocks);
    });
}

/// It is known what became of all calls for an interface.
pub(crate) fn answered(id: &EniId, known: &mut dyn Known) {
    note(id, known, |recent, _| recent.answered());
}

/// Notes what came of a call, when it is too late for anything else than a line in the log.
pub(crate) fn note(
    id: &EniId,
    known: &mut dyn Known,
    mut change: impl FnMut(&mut RecentCalls, Time),
) {
    if let Err(error) = known.note(id, &mut change) {
        known.tell(Told::NotNoted { eni: id, why: &error.0 });
    }
}
