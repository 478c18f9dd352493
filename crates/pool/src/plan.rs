//! What should change, and why. A pure function of the pool and the time.

use crate::{
    Action, Pool, Readiness, Reason, Source, Time,
    action::Target,
    backoff::ActionKind,
    grow::{self, Growth},
    shrink,
    stock::{self, Stock},
};
use std::collections::BTreeSet;

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
    let stock = stock::stock(pool, now);
    let mut actions = shrink::leftovers(pool, now);
    let reason = match grow::grow(pool, supply, &stock, now) {
        Growth::Enough => {
            let surplus = shrink::surplus(pool, &stock, now);
            let reason =
                if surplus.is_empty() { nothing_missing(pool, &stock) } else { Reason::Surplus };
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
    let reason = if only_details { Reason::Changing } else { reason };
    Plan { actions, reason, wake_at: wake_at(pool, now) }
}

/// Nothing is missing that is not on its way.
fn nothing_missing(pool: &Pool, stock: &Stock) -> Reason {
    let is_set_up = pool.serving().all(|(_, eni)| eni.readiness == Readiness::Ready);
    match stock.coming() {
        0 if pool.underway.is_empty() && is_set_up => Reason::Satisfied,
        0 => Reason::Changing,
        addresses => Reason::Coming { addresses },
    }
}

/// Interfaces of ours whose groups are not those that are asked for.
fn set_groups(pool: &Pool, supply: &crate::Supply, now: Time) -> Vec<Action> {
    if supply.groups.is_empty() || pool.backoff.of_kind(ActionKind::SetGroups, now).is_some() {
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
    if pool.backoff.of_kind(ActionKind::EndWithInstance, now).is_some() {
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
