//! What should change, and why. A pure function of the pool and the time.

use crate::{Custody, Eni, EniId, Pool, Readiness, Source, Time};
use std::{collections::BTreeSet, fmt};

/// One change to make in EC2, precise enough that nothing is left to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create an interface with this many secondary addresses and attach it.
    AttachEni {
        /// Device index to attach it at.
        device_index: u32,
        /// Id of the subnet.
        subnet: String,
        /// Ids of the security groups.
        groups: Vec<String>,
        /// Secondary addresses to ask for.
        addresses: usize,
    },
    /// Ask for more secondary addresses on an interface that has room.
    AssignAddresses {
        /// Interface with room.
        eni: EniId,
        /// How many to add.
        count: usize,
    },
    /// Detach and delete an interface that serves no pod and will serve none.
    ReleaseEni {
        /// The interface.
        eni: EniId,
    },
}

/// Why the plan is what it is. Logs, metrics and answers to pods are made of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Free addresses match the targets.
    Satisfied,
    /// Fewer free addresses than the targets ask for.
    Short(usize),
    /// Short, but no interface has room and none can be attached.
    Full {
        /// Interfaces that are attached.
        enis: usize,
    },
    /// EC2 refused an action a moment ago.
    BackingOff {
        /// What it said.
        cause: String,
        /// When the next try is due.
        until: Time,
    },
    /// Nobody said where addresses come from.
    NoSource {
        /// Why, and what to do.
        why: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Satisfied => f.write_str("satisfied"),
            Self::Short(count) => write!(f, "{count} addresses short; more are on their way"),
            Self::Full { enis } => {
                write!(f, "all {enis} interfaces of this instance type are full")
            }
            Self::BackingOff { cause, .. } => f.write_str(cause),
            Self::NoSource { why } => f.write_str(why),
        }
    }
}

/// What to do now, why, and when to think again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which to carry them out.
    pub actions: Vec<Action>,
    /// For people.
    pub reason: Reason,
    /// Nothing changes by the passing of time before this.
    pub wake_at: Option<Time>,
}

pub(crate) fn plan(pool: &Pool, now: Time) -> Plan {
    let wake_at = pool.ledger.next_rested(pool.targets.cooldown, now);
    let (subnet, groups) = match &pool.source {
        Source::Node { subnet, groups } | Source::EniConfig { subnet, groups, .. } => {
            (subnet, groups)
        }
        Source::Missing { why } => {
            return Plan {
                actions: vec![],
                reason: Reason::NoSource { why: why.clone() },
                wake_at,
            };
        }
    };
    if let Some(refusal) = pool.refusal.as_ref().filter(|refusal| now < refusal.until) {
        let reason = Reason::BackingOff { cause: refusal.cause.clone(), until: refusal.until };
        return Plan { actions: vec![], reason, wake_at: Some(refusal.until) };
    }
    // Room first: an interface that only blocks a slot goes before a new one is asked for.
    let mut actions = give_back(pool, now);
    let short = short(pool, now);
    if short == 0 {
        return Plan { actions, reason: Reason::Satisfied, wake_at };
    }
    let slots = pool.limits.enis.saturating_sub(pool.enis.len() - actions.len());
    let growth = grow(pool, short, slots, (subnet, groups));
    let reason = if growth.is_empty() {
        Reason::Full { enis: pool.enis.len() }
    } else {
        Reason::Short(short)
    };
    actions.extend(growth);
    Plan { actions, reason, wake_at }
}

/// Free addresses that are missing to the targets and to the pods that wait.
fn short(pool: &Pool, now: Time) -> usize {
    let free = pool.free(now);
    let held: usize = pool.serving().map(|(_, eni)| eni.addresses.len()).sum();
    let targets = &pool.targets;
    let (warm, floor) = match (targets.warm_addresses, targets.minimum_addresses) {
        (None, None) => (targets.warm_enis * pool.limits.addresses_per_eni, 0),
        (warm, floor) => (warm.unwrap_or(0), floor.unwrap_or(0)),
    };
    (warm + pool.waiting).saturating_sub(free).max(floor.saturating_sub(held))
}

/// Fills interfaces that have room before it attaches a new one.
fn grow(
    pool: &Pool,
    short: usize,
    slots: usize,
    (subnet, groups): (&String, &Vec<String>),
) -> Vec<Action> {
    let per_eni = pool.limits.addresses_per_eni;
    let mut actions = vec![];
    let mut missing = short;
    for (eni, held) in pool.serving().filter(|(_, eni)| eni.readiness == Readiness::Ready) {
        let count = portion(pool, missing).min(per_eni.saturating_sub(held.addresses.len()));
        if count > 0 {
            actions.push(Action::AssignAddresses { eni: eni.clone(), count });
            missing = missing.saturating_sub(count);
        }
    }
    let used: BTreeSet<u32> = pool.enis.values().map(|eni| eni.device_index).collect();
    for device_index in (1..).filter(|index| !used.contains(index)).take(slots) {
        let addresses = portion(pool, missing).min(per_eni);
        if addresses == 0 {
            break;
        }
        let (subnet, groups) = (subnet.clone(), groups.clone());
        actions.push(Action::AttachEni { device_index, subnet, groups, addresses });
        missing = missing.saturating_sub(addresses);
    }
    actions
}

/// How many to ask for at once: as many as are missing, or a whole interface's worth where the
/// target counts interfaces.
fn portion(pool: &Pool, missing: usize) -> usize {
    let targets = &pool.targets;
    let by_address = targets.warm_addresses.is_some() || targets.minimum_addresses.is_some();
    if missing == 0 || by_address { missing } else { missing.max(pool.limits.addresses_per_eni) }
}

/// Interfaces of a subnet that is no longer wanted, without pods and resting addresses.
fn give_back(pool: &Pool, now: Time) -> Vec<Action> {
    let taken = pool.taken(now);
    let leftover = |eni: &Eni| {
        eni.device_index != 0
            && eni.custody == Custody::Ours
            && !pool.source.serves(eni)
            && eni.addresses.is_disjoint(&taken)
    };
    let leftovers = pool.enis.iter().filter(|(_, eni)| leftover(eni));
    leftovers.map(|(eni, _)| Action::ReleaseEni { eni: eni.clone() }).collect()
}
