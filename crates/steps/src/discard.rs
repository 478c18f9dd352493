//! Deletes an interface of ours that is attached nowhere.

use crate::{Answer, Call, Known, Reply, Step, Told, fail, odd, refuse};
use pool::{EniId, Time};
use std::time::Duration;

/// Tries to delete an interface that EC2 still calls in use, a second apart: detaching takes three
/// to six seconds, rarely thirty (`docs/references.md#ec2-latency`).
const TRIES: u32 = 30;

/// The pause between them.
const PAUSE: Duration = Duration::from_secs(1);

/// What EC2 says of an interface that is already gone.
const GONE: &str = "InvalidNetworkInterfaceID.NotFound";

/// Deletes an interface.
#[derive(Clone, Debug)]
pub(crate) struct Discard {
    id: EniId,
    tries: u32,
    asking: bool,
}

impl Discard {
    pub(crate) fn new(id: EniId) -> Self {
        Self { id, tries: 0, asking: false }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, _: Time) -> Step {
        match answer {
            // It was attached after all.
            Answer::Begin if known.interface(&self.id).is_some() => self.close(known),
            Answer::Begin | Answer::Waited => {
                self.tries += 1;
                Step::Call(Call::Delete(self.id.clone()))
            }
            Answer::Reply(Reply::Done) => {
                known.tell(Told::Deleted { eni: &self.id });
                self.close(known)
            }
            Answer::Refused(refused) if refused.code == GONE => self.close(known),
            Answer::Refused(refused) if !self.asking && refused.message.contains("in use") => {
                if self.tries < TRIES {
                    return Step::Wait(PAUSE);
                }
                // Somebody may have taken it.
                self.asking = true;
                Step::Call(Call::Describe(self.id.clone()))
            }
            Answer::Refused(refused) => refuse(&refused),
            Answer::Reply(Reply::Described(described)) if self.asking => match described {
                Some(eni) if eni.attachment.is_some() => {
                    known.tell(Told::Taken { eni: &self.id });
                    self.close(known)
                }
                Some(_) => fail(format_args!("{} is still in use", self.id)),
                None => self.close(known),
            },
            Answer::Reply(_) => odd(&answer),
        }
    }

    fn close(&self, known: &mut dyn Known) -> Step {
        match known.set_discarded(&self.id, false) {
            Ok(()) => Step::Done(Ok(())),
            Err(error) => fail(error),
        }
    }
}
