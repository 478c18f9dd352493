//! What should change, and why. A pure function of the pool and the time.

use crate::{
    Action, ActionKind, Pool, Readiness, Reason, Source, Stock, Time,
    action::Target,
    grow::{self, Growth},
    open, shrink, stock, tags,
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

impl Pool {
    /// Works out what should change. Changes nothing itself.
    pub fn plan(&self, now: Time) -> Plan {
        decide(self, now).plan
    }
}

/// A plan, and what it was made of.
pub(crate) struct Decision<'a> {
    pub(crate) plan: Plan,
    pub(crate) stock: Stock,
    /// Nothing when it is not known where addresses come from.
    pub(crate) growth: Option<Growth<'a>>,
}

pub(crate) fn decide(pool: &Pool, now: Time) -> Decision<'_> {
    let stock = stock::stock(pool, now);
    let wake_at = wake_at(pool, now);
    let supply = match &pool.source {
        Source::Node(supply) | Source::EniConfig { supply, .. } => supply,
        Source::Missing { why } => {
            let reason = Reason::NoSource { why: why.clone() };
            let actions = tags::first(pool, open::again(pool, now), now);
            let plan = Plan { actions, reason, wake_at };
            return Decision { plan, stock, growth: None };
        }
    };
    let mut actions = open::again(pool, now);
    add(&mut actions, shrink::leftovers(pool, now));
    let mut growth = grow::grow(pool, supply, &stock, now);
    let (more, reason) = match growth.reason.take() {
        Some(reason) => (std::mem::take(&mut growth.actions), reason),
        None => match shrink::surplus(pool, &stock, now) {
            surplus if surplus.is_empty() => (surplus, nothing_missing(pool, &stock)),
            surplus => (surplus, Reason::Surplus),
        },
    };
    // What pods wait for comes first; groups follow when the interface is free again.
    add(&mut actions, more);
    add(&mut actions, set_groups(pool, supply, now));
    add(&mut actions, end_with_instance(pool, now));
    let actions = tags::first(pool, actions, now);
    let only_details = reason == Reason::Satisfied && !actions.is_empty();
    let reason = if only_details { Reason::Changing } else { reason };
    Decision { plan: Plan { actions, reason, wake_at }, stock, growth: Some(growth) }
}

/// Adds actions on what no other works on.
fn add(actions: &mut Vec<Action>, more: Vec<Action>) {
    let busy: BTreeSet<Target> = actions.iter().map(Action::target).collect();
    actions.extend(more.into_iter().filter(|action| !busy.contains(&action.target())));
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
            && pool.underway.on_eni(id).is_none()
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
        let leaves = matches!(pool.underway.on_eni(id), Some(Action::DeleteEni { .. }));
        let asked = pool.underway.on(&Target::Lifetime((*id).clone())).is_some();
        let ours = eni.ownership == crate::Ownership::Ours;
        // What becomes of the primary interface is for whoever launched the instance to say.
        let secondary = eni.device_index != 0;
        ours && secondary && eni.lifetime == crate::Lifetime::Own && !leaves && !asked
    });
    stays.map(|(id, _)| Action::EndWithInstance { eni: id.clone() }).collect()
}

fn wake_at(pool: &Pool, now: Time) -> Option<Time> {
    let cooled = pool.ledger.next_cooled(pool.targets.cooldown, now);
    let times = [
        cooled,
        pool.backoff.next_end(now),
        pool.usage.next_change(now),
        open::next_question(pool, now),
    ];
    times.into_iter().flatten().min()
}
