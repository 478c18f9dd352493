//! Assigns and unassigns addresses and prefixes.

use crate::{
    Answer, Call, Described, Known, Refused, Reply, Step, Told, fail, odd, refuse,
    settle::{note, settle},
};
use pool::{Amount, Block, Cause, Change, EniId, Time};
use std::collections::BTreeSet;

/// EC2 has more on an interface than is on record.
const MORE_THAN_KNOWN: &str = "PrivateIpAddressLimitExceeded";

/// What an interface is asked to have more or less.
#[derive(Clone, Debug)]
pub(crate) struct Assign {
    question: Question,
    amount: Amount,
}

/// As [`Assign`].
#[derive(Clone, Debug)]
pub(crate) struct Unassign {
    question: Question,
    blocks: BTreeSet<Block>,
}

/// Before an interface is changed whose last change was not answered, EC2 is asked what it has.
#[derive(Clone, Debug)]
struct Question {
    id: EniId,
    /// When it was asked.
    at: Option<Time>,
    /// When a call before this one was made that is not known to have ended.
    open: Option<Time>,
}

/// What follows the question.
enum Asked {
    Step(Step),
    /// The change may be asked for.
    Go,
    /// What came is the answer to that.
    Answer(Answer),
}

impl Question {
    fn new(id: EniId) -> Self {
        Self { id, at: None, open: None }
    }

    fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Asked {
        match (answer, self.at) {
            (Answer::Begin, _) if known.interface(&self.id).is_none() => {
                Asked::Step(Step::Done(Ok(())))
            }
            (Answer::Begin, _) if known.recent(&self.id).asked.is_some() => {
                self.at = Some(now);
                Asked::Step(Step::Call(Call::Describe(self.id.clone())))
            }
            (Answer::Begin, _) => Asked::Go,
            (Answer::Reply(Reply::Described(described)), Some(at)) => {
                self.described(described.as_deref(), at, known)
            }
            (Answer::Refused(refused), Some(_)) => Asked::Step(refuse(&refused)),
            (answer, _) => Asked::Answer(answer),
        }
    }

    fn described(
        &mut self,
        described: Option<&Described>,
        at: Time,
        known: &mut dyn Known,
    ) -> Asked {
        self.at = None;
        // Repeated blindly a call takes twice as much: the plan looks at what there is first.
        if settle(&self.id, described, at, known) > 0 || known.interface(&self.id).is_none() {
            return Asked::Step(Step::Done(Ok(())));
        }
        self.open = known.recent(&self.id).asked;
        Asked::Go
    }

    /// EC2 has answered. A call before this one may still be open, and is no younger for that: else calls
    /// that follow each other would keep lists from ever telling what became of it.
    fn answered(&self, known: &mut dyn Known) {
        let open = self.open;
        note(&self.id, known, |recent, _| recent.asked = open);
    }
}

impl Assign {
    pub(crate) fn new(id: EniId, amount: Amount) -> Self {
        Self { question: Question::new(id), amount }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        match self.question.next(answer, known, now) {
            Asked::Step(step) => step,
            Asked::Go => {
                let eni = self.question.id.clone();
                match known.note(&eni, &mut |recent, now| recent.ask(now)) {
                    Err(error) => fail(error),
                    Ok(()) => Step::Call(Call::Assign { eni, amount: self.amount }),
                }
            }
            Asked::Answer(Answer::Reply(Reply::Assigned(blocks))) => self.assigned(&blocks, known),
            Asked::Answer(Answer::Refused(refused)) => self.refused(&refused, known),
            Asked::Answer(answer) => odd(&answer),
        }
    }

    fn assigned(&self, blocks: &BTreeSet<Block>, known: &mut dyn Known) -> Step {
        let eni = &self.question.id;
        note(&self.question.id, known, |recent, now| recent.changed(Change::Added, blocks, now));
        known.tell(Told::Assigned { eni, count: blocks.len(), amount: self.amount });
        let mut added = 0;
        known.change_interface(eni, &mut |eni| {
            let before = eni.blocks().len();
            eni.add(blocks.iter().copied());
            added = eni.blocks().len() - before;
        });
        // Not before what came is on record.
        self.question.answered(known);
        if added == 0 {
            // Else the same plan would follow at once, for ever.
            return fail(format_args!("AssignPrivateIpAddresses on {eni} added nothing"));
        }
        Step::Done(Ok(()))
    }

    fn refused(&self, refused: &Refused, known: &mut dyn Known) -> Step {
        if is_unanswered(refused) || refused.code == MORE_THAN_KNOWN {
            note(&self.question.id, known, |recent, now| recent.ask(now));
        } else {
            self.question.answered(known);
        }
        refuse(refused)
    }
}

impl Unassign {
    pub(crate) fn new(id: EniId, blocks: BTreeSet<Block>) -> Self {
        Self { question: Question::new(id), blocks }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        match self.question.next(answer, known, now) {
            Asked::Step(step) => step,
            Asked::Go => self.ask(known),
            Asked::Answer(Answer::Reply(Reply::Done)) => {
                self.went(known);
                self.question.answered(known);
                let eni = &self.question.id;
                known.tell(Told::Unassigned { eni, count: self.blocks.len() });
                Step::Done(Ok(()))
            }
            Asked::Answer(Answer::Refused(refused)) => self.refused(&refused, known),
            Asked::Answer(answer) => odd(&answer),
        }
    }

    /// Off the record first: a daemon that is killed in between must not hand out what EC2 has taken
    /// back. What EC2 refuses to take is on record again; where it does not answer, it is asked what
    /// it has before that, once its lists are certain.
    fn ask(&self, known: &mut dyn Known) -> Step {
        let (eni, blocks) = (self.question.id.clone(), &self.blocks);
        let noted = known.note(&eni, &mut |recent, now| {
            recent.changed(Change::Removed, blocks, now);
            recent.ask(now);
        });
        if let Err(error) = noted {
            return fail(error);
        }
        known.change_interface(&eni, &mut |eni| eni.remove(blocks));
        Step::Call(Call::Unassign { eni, blocks: blocks.clone() })
    }

    fn refused(&self, refused: &Refused, known: &mut dyn Known) -> Step {
        if is_unanswered(refused) {
            self.went(known);
            note(&self.question.id, known, |recent, now| recent.ask(now));
        } else {
            let eni = &self.question.id;
            known.change_interface(eni, &mut |eni| eni.add(self.blocks.iter().copied()));
            note(&self.question.id, known, |recent, _| recent.stay(&self.blocks));
            self.question.answered(known);
        }
        refuse(refused)
    }

    fn went(&self, known: &mut dyn Known) {
        let blocks = &self.blocks;
        note(&self.question.id, known, |recent, now| recent.changed(Change::Removed, blocks, now));
    }
}

/// Whether a call may have been carried out although it failed.
fn is_unanswered(refused: &Refused) -> bool {
    refused.cause() == Cause::Unavailable
}
