//! What should change, and why. A pure function of the pool and the time.

use crate::{
    Amount, Block, EniId, Pool, Refusal, Source, Target, Time,
    backoff::Kind,
    grow::{self, Growth},
    shrink,
};
use std::{collections::BTreeSet, fmt};

/// One change to make in EC2, precise enough that nothing is left to decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Create an interface with its addresses and attach it.
    AttachEni {
        /// Device index to attach it at.
        device_index: u32,
        /// Id of the subnet.
        subnet: String,
        /// Ids of the security groups.
        groups: BTreeSet<String>,
        /// What to ask for with it.
        amount: Amount,
    },
    /// Ask for more on an interface that has room.
    Assign {
        /// Interface with room.
        eni: EniId,
        /// How much to add.
        amount: Amount,
    },
    /// Give unused blocks back to the subnet.
    Unassign {
        /// Interface that holds them.
        eni: EniId,
        /// In none of them is an address in use, cooling or quarantined.
        blocks: BTreeSet<Block>,
    },
    /// Detach and delete an interface without pods.
    DeleteEni {
        /// The interface.
        eni: EniId,
    },
    /// Put an interface into other security groups.
    SetGroups {
        /// The interface.
        eni: EniId,
        /// Ids of all its security groups from then on.
        groups: BTreeSet<String>,
    },
    /// Let EC2 delete an interface when the instance ends.
    EndWithInstance {
        /// The interface.
        eni: EniId,
    },
    /// Ask EC2 whose an interface is.
    Inspect {
        /// The interface.
        eni: EniId,
    },
    /// Ask EC2 how many addresses are free in subnets.
    CountFree {
        /// Their ids.
        subnets: BTreeSet<String>,
    },
}

impl Action {
    pub(crate) fn target(&self) -> Target {
        match self {
            Self::AttachEni { device_index, .. } => Target::DeviceIndex(*device_index),
            Self::Assign { eni, .. }
            | Self::Unassign { eni, .. }
            | Self::DeleteEni { eni }
            | Self::SetGroups { eni, .. }
            | Self::Inspect { eni } => Target::Eni(eni.clone()),
            // It conflicts with no other action.
            Self::EndWithInstance { eni } => Target::Lifetime(eni.clone()),
            Self::CountFree { .. } => Target::Subnets,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::AttachEni { .. } => Kind::Attach,
            Self::Assign { .. } => Kind::Assign,
            Self::Unassign { .. } => Kind::Unassign,
            Self::DeleteEni { .. } => Kind::DeleteEni,
            Self::SetGroups { .. } => Kind::SetGroups,
            Self::EndWithInstance { .. } => Kind::EndWithInstance,
            Self::Inspect { .. } => Kind::Inspect,
            Self::CountFree { .. } => Kind::CountFree,
        }
    }

    /// What the action brings.
    pub(crate) fn amount(&self) -> Option<Amount> {
        match self {
            Self::AttachEni { amount, .. } | Self::Assign { amount, .. } => Some(*amount),
            Self::Unassign { .. }
            | Self::DeleteEni { .. }
            | Self::SetGroups { .. }
            | Self::EndWithInstance { .. }
            | Self::Inspect { .. }
            | Self::CountFree { .. } => None,
        }
    }
}

/// Why the plan is what it is. Logs, metrics and answers to pods are made of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Free addresses match the targets.
    Satisfied,
    /// Fewer free addresses than the targets and the waiting pods ask for; more are asked for now.
    Short(usize),
    /// More were asked for, and will come.
    Coming {
        /// Addresses that will come.
        addresses: usize,
    },
    /// Short, but no interface has room and none can be attached.
    Full {
        /// Interfaces that are attached.
        enis: usize,
    },
    /// EC2 has refused what is needed, and a pause is in force.
    BackingOff {
        /// What it said.
        refusal: Refusal,
        /// When the next try is due.
        until: Time,
    },
    /// It is not known where addresses come from.
    NoSource {
        /// Why, and what to do.
        why: String,
    },
    /// Enough is free; something else is being changed.
    Settling,
    /// More is held than anybody needs, and some of it is given back.
    Surplus,
}

/// The words for all reasons.
pub const REASONS: [&str; 8] =
    ["satisfied", "short", "coming", "full", "backing_off", "no_source", "settling", "surplus"];

impl Reason {
    /// One of [`REASONS`]: the same word for every value of a variant.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::Short(_) => "short",
            Self::Coming { .. } => "coming",
            Self::Full { .. } => "full",
            Self::BackingOff { .. } => "backing_off",
            Self::NoSource { .. } => "no_source",
            Self::Settling => "settling",
            Self::Surplus => "surplus",
        }
    }

    /// When what was refused is tried again.
    pub fn retry_at(&self) -> Option<Time> {
        match self {
            Self::BackingOff { until, .. } => Some(*until),
            Self::Satisfied
            | Self::Short(_)
            | Self::Coming { .. }
            | Self::Full { .. }
            | Self::NoSource { .. }
            | Self::Settling
            | Self::Surplus => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Satisfied => f.write_str("satisfied"),
            Self::Short(count) => write!(f, "{count} addresses short; more are asked for"),
            Self::Coming { addresses } => write!(f, "{addresses} addresses are on their way"),
            Self::Full { enis } => {
                write!(f, "all {enis} interfaces of this instance type are full")
            }
            Self::BackingOff { refusal, .. } => write!(f, "{refusal}"),
            Self::NoSource { why } => f.write_str(why),
            Self::Settling => f.write_str("enough is free; changes are under way"),
            Self::Surplus => f.write_str("more than the targets ask for; some is given back"),
        }
    }
}

/// What to do now, why, and when to think again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All may be carried out side by side.
    pub actions: Vec<Action>,
    /// For people.
    pub reason: Reason,
    /// Nothing changes by the passing of time before this.
    pub wake_at: Option<Time>,
}

pub(crate) fn plan(pool: &Pool, now: Time) -> Plan {
    let supply = match &pool.source {
        Source::Node(supply) | Source::EniConfig { supply, .. } => supply,
        Source::Missing { why } => {
            let reason = Reason::NoSource { why: why.clone() };
            return Plan { actions: vec![], reason, wake_at: wake_at(pool, now) };
        }
    };
    let mut actions = shrink::leftovers(pool, now);
    let reason = match grow::grow(pool, supply, now) {
        Growth::Enough => {
            let surplus = shrink::surplus(pool, now);
            let reason = if surplus.is_empty() { nothing_missing(pool) } else { Reason::Surplus };
            let busy: BTreeSet<Target> = actions.iter().map(Action::target).collect();
            actions.extend(surplus.into_iter().filter(|action| !busy.contains(&action.target())));
            reason
        }
        Growth::Short { short, actions: growth } => {
            actions.extend(growth);
            Reason::Short(short)
        }
        Growth::Stuck(reason) => reason,
    };
    // What pods wait for comes first; groups follow when the interface is free again.
    let busy: BTreeSet<Target> = actions.iter().map(Action::target).collect();
    let groups = set_groups(pool, supply, now);
    actions.extend(groups.into_iter().filter(|action| !busy.contains(&action.target())));
    actions.extend(end_with_instance(pool, now));
    let only_details = reason == Reason::Satisfied && !actions.is_empty();
    let reason = if only_details { Reason::Settling } else { reason };
    Plan { actions, reason, wake_at: wake_at(pool, now) }
}

/// The reason when nothing is missing that no action under way will bring.
fn nothing_missing(pool: &Pool) -> Reason {
    match grow::underway(pool).map(Amount::addresses).sum() {
        0 if pool.underway.is_empty() => Reason::Satisfied,
        0 => Reason::Settling,
        addresses => Reason::Coming { addresses },
    }
}

/// Interfaces of ours whose groups are not those that are asked for.
fn set_groups(pool: &Pool, supply: &crate::Supply, now: Time) -> Vec<Action> {
    if supply.groups.is_empty() || pool.backoff.of_kind(Kind::SetGroups, now).is_some() {
        return vec![];
    }
    let wrong = pool.serving().filter(|(id, eni)| {
        eni.device_index != 0
            && eni.ownership == crate::Ownership::Ours
            && eni.groups != supply.groups
            && pool.at_work_on(id).is_none()
    });
    wrong
        .map(|(id, _)| Action::SetGroups { eni: id.clone(), groups: supply.groups.clone() })
        .collect()
}

/// Interfaces of ours that would stay when the instance ends. Pods do not wait for it.
fn end_with_instance(pool: &Pool, now: Time) -> Vec<Action> {
    if pool.backoff.of_kind(Kind::EndWithInstance, now).is_some() {
        return vec![];
    }
    let stays = pool.enis.iter().filter(|(id, eni)| {
        let leaves = matches!(pool.at_work_on(id), Some(Action::DeleteEni { .. }));
        let asked = pool.underway.contains_key(&Target::Lifetime((*id).clone()));
        let ours = eni.ownership == crate::Ownership::Ours;
        ours && eni.lifetime == crate::Lifetime::Own && !leaves && !asked
    });
    stays.map(|(id, _)| Action::EndWithInstance { eni: id.clone() }).collect()
}

fn wake_at(pool: &Pool, now: Time) -> Option<Time> {
    let cooled = pool.ledger.next_cooled(pool.targets.cooldown, now);
    [cooled, pool.backoff.next_end(now), pool.usage.next_change(now)].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;

    #[test]
    fn every_reason_has_its_word_in_the_list_and_no_other_has_it() {
        let refusal = Refusal { cause: Cause::Limit, message: String::new() };
        let all = [
            Reason::Satisfied,
            Reason::Short(1),
            Reason::Coming { addresses: 1 },
            Reason::Full { enis: 1 },
            Reason::BackingOff { refusal, until: Time::default() },
            Reason::NoSource { why: String::new() },
            Reason::Settling,
            Reason::Surplus,
        ];

        assert_eq!(all.map(|reason| reason.word()), REASONS);
        assert_eq!(REASONS.iter().collect::<BTreeSet<_>>().len(), REASONS.len());
    }
}
