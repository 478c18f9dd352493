//! One action of a plan as a pure procedure: what to ask EC2 next, what to note, how long to wait.
//!
//! Whoever carries an action out gives [`Procedure::next`] the answer to the last step and the time,
//! and does what comes back, until it is [`Step::Done`]. Nothing else is decided anywhere: the daemon and
//! the simulation run the same. A procedure is a single try; what may be tried again is the plan's to
//! say, by what the record says is open ([`is_open`]).
//!
//! It may end at any step, with the process that runs it: what must not be lost is on record before the
//! call that makes it true.

mod assign;
mod attach;
mod compare;
mod described;
mod details;
mod discard;
mod known;
mod observe;
mod refused;
mod release;
mod settle;
pub mod sweep;
mod told;
mod whose;

pub use compare::{Shown, take_over};
pub use described::{Described, Listed, NewEni, Unreadable};
pub use known::{Known, NotNoted};
pub use observe::{Occupied, observation, occupied, unfinished};
pub use refused::Refused;
pub use told::Told;
pub use whose::{INSTANCE_TAG, NO_MANAGE_TAG, interface, origin, special_type};

use assign::{Assign, Unassign};
use attach::Attach;
use details::Detail;
use discard::Discard;
use pool::{Action, Amount, Block, Cause, Change, EniId, RecentCalls, Refusal, Time};
use record::Intent;
use release::Release;
use settle::Settle;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// EC2 is called.
    Call(Call),
    /// Nothing happens for so long.
    Wait(Duration),
    /// The action has ended.
    Done(Result<(), Refusal>),
}

/// A call of EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `CreateNetworkInterface`: [`Reply::Made`].
    Create(NewEni),
    /// `AttachNetworkInterface` to this instance, on the first network card: [`Reply::Attached`].
    Attach {
        /// The interface.
        eni: EniId,
        /// Where.
        device_index: u32,
    },
    /// `DescribeNetworkInterfaces` of one: [`Reply::Described`].
    Describe(EniId),
    /// `DescribeNetworkInterfaces` of those that are attached to this instance: [`Reply::Listed`].
    ListAttached,
    /// `DetachNetworkInterface`: [`Reply::Done`].
    Detach {
        /// `eni-attach-…`.
        attachment: String,
    },
    /// `DeleteNetworkInterface`: [`Reply::Done`].
    Delete(EniId),
    /// `AssignPrivateIpAddresses`: [`Reply::Assigned`].
    Assign {
        /// The interface.
        eni: EniId,
        /// How much.
        amount: Amount,
    },
    /// `UnassignPrivateIpAddresses`: [`Reply::Done`].
    Unassign {
        /// The interface.
        eni: EniId,
        /// What goes.
        blocks: BTreeSet<Block>,
    },
    /// `ModifyNetworkInterfaceAttribute` of the security groups: [`Reply::Done`].
    SetGroups {
        /// The interface.
        eni: EniId,
        /// Ids of all its groups from then on.
        groups: BTreeSet<String>,
    },
    /// `ModifyNetworkInterfaceAttribute` of an attachment, so that the interface ends with its instance:
    /// [`Reply::Done`].
    EndWithInstance {
        /// The interface.
        eni: EniId,
        /// Its attachment.
        attachment: String,
    },
    /// `CreateTags`: [`Reply::Done`].
    Tag {
        /// The interfaces.
        enis: BTreeSet<EniId>,
        /// Keys and values.
        tags: BTreeMap<String, String>,
    },
    /// `DescribeSubnets`: [`Reply::Free`].
    CountFree(BTreeSet<String>),
}

/// What EC2 answers to a call that it carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The interface as it was made.
    Made(Box<Described>),
    /// The attachment, `eni-attach-…`.
    Attached(String),
    /// The interface; `None` where there is none of this id.
    Described(Option<Box<Described>>),
    /// The interfaces.
    Listed(Listed),
    /// The new blocks.
    Assigned(BTreeSet<Block>),
    /// Free addresses by subnet.
    Free(Vec<(String, u32)>),
}

/// What came of the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There was none.
    Begin,
    /// The time of a [`Step::Wait`] has passed.
    Waited,
    /// EC2 did what it was asked for.
    Reply(Reply),
    /// It did not, or it is not known whether it did.
    Refused(Refused),
}

/// An action that is being carried out.
#[derive(Clone, Debug)]
pub struct Procedure(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Attach(Attach),
    Assign(Assign),
    Unassign(Unassign),
    Release(Release),
    Settle(Settle),
    Discard(Discard),
    Detail(Detail),
}

impl Procedure {
    /// Of an action that begins.
    #[must_use]
    pub fn of(action: &Action) -> Self {
        Self(match action.clone() {
            Action::AttachEni { device_index, subnet, groups, amount } => {
                Kind::Attach(Attach::new(device_index, subnet, groups, amount))
            }
            Action::Assign { eni, amount } => Kind::Assign(Assign::new(eni, amount)),
            Action::Unassign { eni, blocks } => Kind::Unassign(Unassign::new(eni, blocks)),
            Action::DeleteEni { eni } => Kind::Release(Release::new(eni)),
            Action::Settle { eni } => Kind::Settle(Settle::new(eni)),
            Action::Discard { eni } => Kind::Discard(Discard::new(eni)),
            Action::SetGroups { .. }
            | Action::EndWithInstance { .. }
            | Action::Tag { .. }
            | Action::Inspect { .. }
            | Action::CountFree { .. } => Kind::Detail(Detail::new(action.clone())),
        })
    }

    /// The next step. `now`: when the answer came.
    pub fn next(&mut self, answer: Answer, known: &mut dyn Known, now: Time) -> Step {
        match &mut self.0 {
            Kind::Attach(it) => it.next(answer, known, now),
            Kind::Assign(it) => it.next(answer, known, now),
            Kind::Unassign(it) => it.next(answer, known, now),
            Kind::Release(it) => it.next(answer, known, now),
            Kind::Settle(it) => it.next(answer, known, now),
            Kind::Discard(it) => it.next(answer, known, now),
            Kind::Detail(it) => it.next(answer, known, now),
        }
    }
}

/// Whether the record says that an action was begun and not finished: EC2 may have something of it.
#[must_use]
pub fn is_open(
    action: &Action,
    intents: &BTreeMap<u32, Intent>,
    recent: &BTreeMap<EniId, RecentCalls>,
) -> bool {
    match action {
        Action::AttachEni { device_index, .. } => intents.contains_key(device_index),
        Action::DeleteEni { eni } => recent.get(eni).is_some_and(leaves),
        Action::Assign { .. }
        | Action::Unassign { .. }
        | Action::SetGroups { .. }
        | Action::EndWithInstance { .. }
        | Action::Tag { .. }
        | Action::Inspect { .. }
        | Action::Settle { .. }
        | Action::Discard { .. }
        | Action::CountFree { .. } => false,
    }
}

/// Whether an interface is being given back.
#[must_use]
pub fn leaves(recent: &RecentCalls) -> bool {
    matches!(recent.eni, Some((Change::Removed, _)))
}

#[cfg(test)]
mod tests;

fn refuse(refused: &Refused) -> Step {
    Step::Done(Err(Refusal { cause: refused.cause(), message: refused.to_string() }))
}

fn fail(why: impl fmt::Display) -> Step {
    Step::Done(Err(Refusal { cause: Cause::Unavailable, message: why.to_string() }))
}

/// An answer to another question: whoever carries the procedure out is at fault, not EC2.
fn odd(answer: &Answer) -> Step {
    fail(format_args!("an answer that belongs to no question: {answer:?}"))
}
