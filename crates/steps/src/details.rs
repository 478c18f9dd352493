//! Actions of one call: groups, tags, lifetimes, questions.

use crate::{Answer, Call, Known, Reply, Step, Told, fail, odd, refuse, whose::take_tags};
use pool::{Action, EniId, Time};
use std::collections::BTreeSet;

/// An action of one call, and of a question before it where something must be known.
#[derive(Clone, Debug)]
pub(crate) struct Detail {
    action: Action,
    at: Time,
}

impl Detail {
    pub(crate) fn new(action: Action) -> Self {
        Self { action, at: Time::default() }
    }

    pub(crate) fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        match answer {
            Answer::Begin => {
                self.at = now;
                self.begin(known)
            }
            Answer::Reply(reply) => self.answered(reply, known),
            Answer::Refused(refused) => refuse(&refused),
            Answer::Waited => odd(&answer),
        }
    }

    fn begin(&self, known: &dyn Known) -> Step {
        Step::Call(match &self.action {
            Action::SetGroups { eni, groups } => {
                Call::SetGroups { eni: eni.clone(), groups: groups.clone() }
            }
            Action::Tag { enis, tags } => Call::Tag { enis: enis.clone(), tags: tags.clone() },
            Action::Inspect { eni } => Call::Describe(eni.clone()),
            Action::CountFree { subnets } => Call::CountFree(subnets.clone()),
            Action::EndWithInstance { eni } => match known.interface(eni) {
                None => return Step::Done(Ok(())),
                Some(is) => match is.attachment {
                    Some(attachment) => Call::EndWithInstance { eni: eni.clone(), attachment },
                    None => Call::Describe(eni.clone()),
                },
            },
            Action::AttachEni { .. }
            | Action::Assign { .. }
            | Action::Unassign { .. }
            | Action::DeleteEni { .. }
            | Action::Settle { .. }
            | Action::Discard { .. } => {
                return fail(format_args!("{} takes more than a call", self.action));
            }
        })
    }

    fn answered(&self, reply: Reply, known: &mut dyn Known) -> Step {
        match (&self.action, reply) {
            (Action::SetGroups { eni, groups }, Reply::Done) => {
                known.tell(Told::Groups { eni, groups });
                known.change_interface(eni, &mut |eni| eni.groups.clone_from(groups));
            }
            (Action::Tag { enis, tags }, Reply::Done) => {
                known.tell(Told::Tagged { enis, tags });
                for id in enis {
                    known.change_interface(id, &mut |eni| eni.tags.extend(tags.clone()));
                }
            }
            (Action::Inspect { eni }, Reply::Described(described)) => {
                let Some(described) = described else {
                    return fail(format_args!("EC2 does not list {eni} yet"));
                };
                take_tags(eni, &described, self.at, known);
            }
            (Action::EndWithInstance { eni }, Reply::Described(described)) => {
                let attachment = described.and_then(|it| it.attachment);
                let Some((attachment, _)) = attachment else {
                    return fail(format_args!("{eni} is not attached"));
                };
                return Step::Call(Call::EndWithInstance { eni: eni.clone(), attachment });
            }
            (Action::EndWithInstance { eni }, Reply::Done) => ends_with_instance(eni, known),
            (Action::CountFree { subnets }, Reply::Free(free)) => count(subnets, free, known),
            (_, reply) => return odd(&Answer::Reply(reply)),
        }
        Step::Done(Ok(()))
    }
}

fn ends_with_instance(eni: &EniId, known: &mut dyn Known) {
    known.change_interface(eni, &mut |eni| eni.outlives_instance = false);
}

fn count(subnets: &BTreeSet<String>, mut free: Vec<(String, u32)>, known: &mut dyn Known) {
    known.tell(Told::Free { subnets: &free });
    // What EC2 does not list has none for us.
    let missing = subnets.iter().filter(|it| !free.iter().any(|(subnet, _)| subnet == *it));
    let missing: Vec<_> = missing.map(|it| (it.clone(), 0)).collect();
    free.extend(missing);
    known.note_room(free);
}
