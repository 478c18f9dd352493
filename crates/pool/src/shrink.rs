//! What may be given back: never what is in use, cooling, quarantined or needed again soon.

use crate::{
    Action, Block, Eni, EniId, Mode, Ownership, PREFIX_SIZE, Pool, Readiness, Source, Time,
    backoff::ActionKind, stock::Stock,
};
use std::collections::BTreeSet;

/// Interfaces of ours in a subnet that is no longer wanted, without pods and cooling addresses; of
/// those whose owner is not known it is asked first.
pub(crate) fn leftovers(pool: &Pool, now: Time) -> Vec<Action> {
    if !matches!(pool.source, Source::EniConfig { .. })
        || is_paused(pool, ActionKind::DeleteEni, now)
    {
        return vec![];
    }
    let asks = !is_paused(pool, ActionKind::Inspect, now);
    let leftovers = pool.enis.iter().filter(|(id, eni)| {
        eni.device_index != 0
            && pool.source.out_of_place(eni).is_some()
            && is_empty(pool, id, eni, now)
    });
    leftovers
        .filter_map(|(id, eni)| match eni.ownership {
            Ownership::Unknown if asks && pool.at_work_on(id).is_none() => {
                Some(Action::Inspect { eni: id.clone() })
            }
            _ if is_releasable(pool, id, eni) => Some(Action::DeleteEni { eni: id.clone() }),
            Ownership::Ours | Ownership::Foreign | Ownership::Unmanaged | Ownership::Unknown => {
                None
            }
        })
        .collect()
}

/// What is more than the targets ask for, measured by the most that pods used lately, so that what
/// is given back now is not asked for again in a minute.
pub(crate) fn surplus(pool: &Pool, stock: &Stock, now: Time) -> Vec<Action> {
    if pool.waiting > 0 || stock.asked_for > 0 {
        return vec![];
    }
    let spare = spare(pool, stock, now);
    if let Some((eni, _)) = emptiest(pool, now).into_iter().find(|(_, size)| *size <= spare)
        && !is_paused(pool, ActionKind::DeleteEni, now)
    {
        return vec![Action::DeleteEni { eni }];
    }
    if is_paused(pool, ActionKind::Unassign, now) {
        return vec![];
    }
    unassign(pool, spare, now).into_iter().collect()
}

/// Addresses that could go without the pool falling short at the recent peak of use.
fn spare(pool: &Pool, stock: &Stock, now: Time) -> usize {
    // What is about to be asked for again, or was in use a moment ago.
    let used_more = pool.usage.peak(now).saturating_sub(pool.ledger.in_use()).max(pool.expected);
    let free = stock.free.saturating_sub(used_more);
    let targets = &pool.targets;
    if targets.in_addresses() {
        let over_warm = free.saturating_sub(targets.warm_addresses.unwrap_or(0));
        over_warm.min(stock.held.saturating_sub(targets.minimum_addresses.unwrap_or(0)))
    } else if targets.mode == Mode::Prefixes {
        let broken = used_more.div_ceil(PREFIX_SIZE);
        let free = stock.empty_prefixes * PREFIX_SIZE + stock.loose;
        free.saturating_sub((targets.warm_prefixes + broken) * PREFIX_SIZE)
    } else {
        free.saturating_sub(targets.warm_enis * pool.limits.blocks_per_eni)
    }
}

/// Interfaces that can go whole, the smallest first, with their addresses.
fn emptiest(pool: &Pool, now: Time) -> Vec<(EniId, usize)> {
    let mut empty: Vec<(EniId, usize)> = pool
        .serving()
        .filter(|(id, eni)| is_releasable(pool, id, eni) && is_empty(pool, id, eni, now))
        .map(|(id, eni)| (id.clone(), eni.blocks.iter().map(|block| block.size()).sum()))
        .collect();
    empty.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    // The last interface of the pods' subnet stays: to make another takes ten seconds.
    let serving = pool.serving().count();
    empty.truncate(serving.saturating_sub(1));
    empty
}

/// Free blocks of the emptiest interface, as many as can be spared. Only targets in addresses or
/// prefixes give back less than an interface.
fn unassign(pool: &Pool, spare: usize, now: Time) -> Option<Action> {
    let targets = &pool.targets;
    if targets.mode == Mode::Addresses && !targets.in_addresses() {
        return None;
    }
    let mut candidates: Vec<(usize, &EniId, BTreeSet<Block>)> = pool
        .serving()
        .filter(|(id, eni)| eni.ownership == Ownership::Ours && pool.at_work_on(id).is_none())
        .map(|(id, eni)| {
            let in_use =
                |block: &&Block| block.addresses().any(|address| pool.is_taken(address, now));
            let used = eni.blocks.iter().filter(in_use).count();
            (used, id, fitting(pool, eni, spare, now))
        })
        .filter(|(_, _, blocks)| !blocks.is_empty())
        .collect();
    candidates.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let (_, eni, blocks) = candidates.into_iter().next()?;
    Some(Action::Unassign { eni: eni.clone(), blocks })
}

/// Free blocks of an interface that fit into what can be spared.
fn fitting(pool: &Pool, eni: &Eni, spare: usize, now: Time) -> BTreeSet<Block> {
    let mut left = spare;
    let free = eni
        .blocks
        .iter()
        .filter(|block| block.addresses().all(|address| !pool.is_taken(address, now)));
    free.copied()
        .filter(|block| {
            let fits = block.size() <= left;
            if fits {
                left -= block.size();
            }
            fits
        })
        .collect()
}

fn is_releasable(pool: &Pool, id: &EniId, eni: &Eni) -> bool {
    eni.device_index != 0
        && eni.ownership == Ownership::Ours
        && eni.readiness == Readiness::Ready
        && pool.at_work_on(id).is_none()
}

/// Nobody has, had a moment ago or may have an address of an interface. What the ledger has is asked
/// first: the observation may lack an address that a pod holds.
fn is_empty(pool: &Pool, id: &EniId, eni: &Eni, now: Time) -> bool {
    let mut addresses = eni.blocks.iter().flat_map(|block| block.addresses());
    !pool.ledger.uses(id) && addresses.all(|address| !pool.is_taken(address, now))
}

fn is_paused(pool: &Pool, kind: ActionKind, now: Time) -> bool {
    pool.backoff.of_kind(kind, now).is_some()
}
