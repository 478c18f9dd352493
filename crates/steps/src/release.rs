//! Gives an interface back: detaches it, waits for its device to vanish, and leaves it to be deleted.

use crate::{
    Answer, Call, Described, Known, Refused, Reply, Step, Told, fail, leaves, odd, origin, refuse,
    settle::{note, take_blocks},
    whose::take_tags,
};
use pool::{Cause, Change, EniId, Time};
use record::Origin;
use std::time::Duration;

/// How long a detached device may take to vanish; EC2 refuses to delete the interface before.
const VANISH_WAIT: Duration = Duration::from_secs(30);

/// How often to look whether it has.
const VANISH_POLL: Duration = Duration::from_millis(200);

/// Gives back an interface without pods.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    id: EniId,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    New,
    /// What is it now?
    Asking {
        at: Time,
    },
    /// `certain`: it is known to have been attached when Detach was called.
    Detaching {
        certain: bool,
    },
    Vanishing {
        until: Time,
    },
}

/// Whether EC2 says that an attachment is gone, or going.
fn is_under_way(refused: &Refused) -> bool {
    matches!(refused.code.as_str(), "InvalidAttachmentID.NotFound" | "IncorrectState")
}

impl Release {
    pub(crate) fn new(id: EniId) -> Self {
        Self { id, state: State::New }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        match (&self.state, answer) {
            (State::New, Answer::Begin) => {
                if known.interface(&self.id).is_none() {
                    return Step::Done(Ok(()));
                }
                self.state = State::Asking { at: now };
                Step::Call(Call::Describe(self.id.clone()))
            }
            (State::Asking { at }, Answer::Reply(Reply::Described(described))) => {
                self.described(described.as_deref(), *at, known, now)
            }
            (State::Asking { .. }, Answer::Refused(refused)) => refuse(&refused),
            (State::Detaching { .. }, Answer::Reply(Reply::Done)) => self.detached(known, now),
            (State::Detaching { .. }, Answer::Refused(refused)) if is_under_way(&refused) => {
                self.detached(known, now)
            }
            (State::Detaching { certain }, Answer::Refused(refused)) => {
                if refused.cause() == Cause::Unavailable {
                    // What was not answered may have been done.
                    note(&self.id, known, |recent, _| recent.ask(now));
                } else if *certain {
                    self.stays(known);
                }
                refuse(&refused)
            }
            (State::Vanishing { until }, Answer::Waited) => self.vanished(*until, known, now),
            (_, answer) => odd(&answer),
        }
    }

    fn described(
        &mut self,
        described: Option<&Described>,
        at: Time,
        known: &mut dyn Known,
        now: Time,
    ) -> Step {
        let Some(eni) = known.interface(&self.id) else { return Step::Done(Ok(())) };
        // Its tags may have been changed since it was made.
        if let Some(described) = described
            && origin(described, eni.device_index, known.instance()) != Origin::Ours
        {
            take_tags(&self.id, described, at, known);
            self.stays(known);
            return Step::Done(Ok(()));
        }
        let listed = described.and_then(|it| it.attachment.as_ref());
        if let Some(described) = described
            && listed.is_some()
            && known.carries(&self.id)
        {
            return self.keep(described, at, known);
        }
        let recent = known.recent(&self.id);
        // Detach may have been called before, perhaps by a daemon before this one.
        let open = leaves(&recent);
        // A refusal may come before EC2 looks: what became of an earlier call only lists tell, once they
        // cannot be older than that.
        let certain = !open || recent.is_conclusive(at);
        // On record first: the next daemon must not hand out what goes.
        let noted = known.note(&self.id, &mut |recent, now| {
            recent.eni = Some((Change::Removed, now));
            if !open || recent.asked.is_none() {
                recent.ask(now);
            }
        });
        if let Err(error) = noted {
            return fail(error);
        }
        // A list may be older than Attach: EC2 is asked for what it does not show, too.
        let is_listed = listed.is_some();
        let recorded = eni.attachment.filter(|_| !(open && certain));
        let attachment = listed.map(|(attachment, _)| attachment.clone()).or(recorded);
        let Some(attachment) = attachment else { return self.detached(known, now) };
        self.state = State::Detaching { certain: certain && is_listed };
        Step::Call(Call::Detach { attachment })
    }

    /// Whoever served the node since it was to be given back has given an address of it to a pod: it
    /// stays, with what EC2 says that it has.
    fn keep(&self, described: &Described, at: Time, known: &mut dyn Known) -> Step {
        if !known.recent(&self.id).is_conclusive(at) {
            return fail(format_args!("pods use {}, and EC2 may still be detaching it", self.id));
        }
        take_blocks(&self.id, described, at, known);
        known.tell(Told::Kept { eni: &self.id });
        self.stays(known);
        Step::Done(Ok(()))
    }

    fn detached(&mut self, known: &mut dyn Known, now: Time) -> Step {
        known.tell(Told::Detached { eni: &self.id });
        known.let_go(&self.id);
        self.vanished(now + VANISH_WAIT, known, now)
    }

    fn vanished(&mut self, until: Time, known: &mut dyn Known, now: Time) -> Step {
        let there = known.interface(&self.id).is_some_and(|eni| known.has_device(eni.mac));
        if there && now < until {
            self.state = State::Vanishing { until };
            return Step::Wait(VANISH_POLL);
        }
        // On record before it is off the record of what is attached.
        if let Err(error) = known.set_discarded(&self.id, true) {
            return fail(error);
        }
        // Not before: EC2 counts it, and its device index is taken, until it is detached.
        known.drop_interface(&self.id);
        // Lists may show it for a while.
        note(&self.id, known, |recent, now| recent.eni = Some((Change::Removed, now)));
        Step::Done(Ok(()))
    }

    /// An interface that was to be given back is not.
    fn stays(&self, known: &mut dyn Known) {
        note(&self.id, known, |recent, _| {
            recent.eni = None;
            recent.answered();
        });
    }
}
