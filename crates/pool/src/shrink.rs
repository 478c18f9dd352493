//! What may be released: never what is in use, cooling, quarantined or needed again soon.

use crate::{
    Action, ActionKind, Block, Eni, EniId, Kept, Mode, NotServing, Ownership, PREFIX_SIZE, Pool,
    Readiness, Stock, Time,
};
use std::collections::BTreeSet;

/// Interfaces of ours outside of the source's subnets, without pods and cooling addresses. Those of
/// unknown ownership are inspected first.
pub(crate) fn leftovers(pool: &Pool, now: Time) -> Vec<Action> {
    let elsewhere = pool
        .enis
        .iter()
        .filter(|(_, eni)| pool.source.out_of_place(eni) == Some(NotServing::OtherSubnet));
    elsewhere.filter_map(|(id, eni)| leftover(pool, id, eni, now).ok()).collect()
}

/// What is done with an interface that serves no new pods, or why it stays.
pub(crate) fn leftover(pool: &Pool, id: &EniId, eni: &Eni, now: Time) -> Result<Action, Kept> {
    let action = match releasable(pool, id, eni, now) {
        Ok(_) => Action::DeleteEni { eni: id.clone() },
        Err(Kept::OriginUnknown) => Action::Inspect { eni: id.clone() },
        Err(why) => return Err(why),
    };
    match pool.source.out_of_place(eni) {
        Some(NotServing::OtherSubnet) => {}
        Some(_) => return Err(Kept::NoSource),
        None => return Err(Kept::OriginUnknown),
    }
    unpaused(pool, ActionKind::DeleteEni, now)?;
    unpaused(pool, action.kind(), now)?;
    Ok(action)
}

/// What is more than the targets ask for, measured by the most that pods used lately, so that what
/// is given back now is not asked for again in a minute.
pub(crate) fn surplus(pool: &Pool, stock: &Stock, now: Time) -> Vec<Action> {
    let Ok(surplus) = Surplus::of(pool, stock, now) else { return vec![] };
    let smallest =
        pool.serving().filter_map(|(id, eni)| Some((surplus.whole(id, eni).ok()?, id))).min();
    if let Some((_, eni)) = smallest {
        return vec![Action::DeleteEni { eni: eni.clone() }];
    }
    let emptiest = pool
        .serving()
        .filter_map(|(id, eni)| {
            let blocks = surplus.blocks(id, eni).ok()?;
            Some((taken_blocks(pool, eni, now), id, blocks))
        })
        .min();
    let unassign = emptiest.map(|(_, eni, blocks)| Action::Unassign { eni: eni.clone(), blocks });
    unassign.into_iter().collect()
}

/// Addresses that could go without the pool falling short at the recent peak of use.
pub(crate) struct Surplus<'a> {
    pool: &'a Pool,
    stock: &'a Stock,
    now: Time,
    spare: usize,
    /// Interfaces that serve new pods.
    serving: usize,
}

impl<'a> Surplus<'a> {
    /// Why nothing at all is given back now of what serves new pods, or what can.
    pub(crate) fn of(pool: &'a Pool, stock: &'a Stock, now: Time) -> Result<Self, Kept> {
        if pool.waiting > 0 {
            return Err(Kept::PodsWait { pods: pool.waiting });
        }
        if stock.asked_for > 0 {
            return Err(Kept::Coming);
        }
        // What is about to be asked for again, or was in use a moment ago.
        let used_more = pool.usage.peak(now).saturating_sub(pool.ledger.in_use());
        let spare = spare(pool, stock, used_more.max(pool.expected));
        Ok(Self { pool, stock, now, spare, serving: pool.serving().count() })
    }

    /// How many addresses go with an interface that can go whole, or why it stays.
    pub(crate) fn whole(&self, id: &EniId, eni: &Eni) -> Result<usize, Kept> {
        let size = releasable(self.pool, id, eni, self.now)?;
        if self.serving == 1 {
            return Err(Kept::Last);
        }
        unpaused(self.pool, ActionKind::DeleteEni, self.now)?;
        if size > self.spare { Err(self.needed(size)) } else { Ok(size) }
    }

    /// Free blocks of an interface, as many as can be spared, or why they stay. Only targets in
    /// addresses or prefixes give back less than an interface.
    pub(crate) fn blocks(&self, id: &EniId, eni: &Eni) -> Result<BTreeSet<Block>, Kept> {
        let targets = &self.pool.targets;
        if targets.mode == Mode::Addresses && !targets.in_addresses() {
            return Err(Kept::WholeOnly);
        }
        not_ours(eni)?;
        if eni.ownership == Ownership::Unknown {
            return Err(Kept::OriginUnknown);
        }
        not_busy(self.pool, id)?;
        unpaused(self.pool, ActionKind::Unassign, self.now)?;
        let free: Vec<Block> = eni
            .blocks
            .iter()
            .filter(|block| block.addresses().all(|it| !self.pool.is_taken(it, self.now)))
            .copied()
            .collect();
        let smallest = free.iter().map(|block| block.size()).min().ok_or(Kept::NoFreeBlock)?;
        let fitting = fitting(free, self.spare);
        if fitting.is_empty() { Err(self.needed(smallest)) } else { Ok(fitting) }
    }

    /// Why so many addresses cannot be spared.
    fn needed(&self, size: usize) -> Kept {
        let pool = self.pool;
        if spare(pool, self.stock, pool.expected) < size {
            return Kept::Needed { spare: self.spare };
        }
        let in_use = pool.usage.peak(self.now);
        Kept::RecentPeak { in_use, until: pool.usage.next_change(self.now) }
    }
}

/// Addresses that could go if pods will use so many more.
fn spare(pool: &Pool, stock: &Stock, used_more: usize) -> usize {
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

/// As many of the blocks as fit into what can be spared.
fn fitting(free: Vec<Block>, spare: usize) -> BTreeSet<Block> {
    let mut left = spare;
    let fits = |block: &Block| {
        let fits = block.size() <= left;
        left -= if fits { block.size() } else { 0 };
        fits
    };
    free.into_iter().filter(fits).collect()
}

/// Blocks of an interface in which an address is in use, cooling or quarantined.
fn taken_blocks(pool: &Pool, eni: &Eni, now: Time) -> usize {
    let is_taken = |block: &&Block| block.addresses().any(|address| pool.is_taken(address, now));
    eni.blocks.iter().filter(is_taken).count()
}

/// How many addresses an interface has that could be given back whole, or why it cannot.
pub(crate) fn releasable(pool: &Pool, id: &EniId, eni: &Eni, now: Time) -> Result<usize, Kept> {
    if eni.device_index == 0 {
        return Err(Kept::Primary);
    }
    not_ours(eni)?;
    not_busy(pool, id)?;
    empty(pool, id, eni, now)?;
    if eni.ownership == Ownership::Unknown {
        return Err(Kept::OriginUnknown);
    }
    if eni.readiness != Readiness::Ready {
        return Err(Kept::NotReady);
    }
    Ok(eni.blocks.iter().map(|block| block.size()).sum())
}

fn not_ours(eni: &Eni) -> Result<(), Kept> {
    match eni.ownership {
        Ownership::Foreign | Ownership::Unmanaged | Ownership::NotForPods => {
            Err(Kept::NotOurs(eni.ownership))
        }
        Ownership::Ours | Ownership::Unknown => Ok(()),
    }
}

fn not_busy(pool: &Pool, id: &EniId) -> Result<(), Kept> {
    pool.underway.on_eni(id).map_or(Ok(()), |action| Err(Kept::UnderWay(action.kind())))
}

/// Nobody has, had a moment ago or may have an address of an interface. What the ledger has is asked
/// first: the observation may lack an address that a pod holds.
fn empty(pool: &Pool, id: &EniId, eni: &Eni, now: Time) -> Result<(), Kept> {
    let pods = pool.ledger.in_use_on(id);
    if pods > 0 {
        return Err(Kept::InUse { pods });
    }
    let ledger = &pool.ledger;
    let addresses = || eni.blocks.iter().flat_map(|block| block.addresses());
    let in_use = addresses().filter(|address| ledger.is_in_use(*address)).count();
    if in_use > 0 {
        return Err(Kept::InUse { pods: in_use });
    }
    let quarantined = ledger.quarantined_on(id);
    if quarantined > 0 {
        return Err(Kept::Quarantined { addresses: quarantined });
    }
    let cooldown = pool.targets.cooldown;
    let ends: Vec<Time> =
        addresses().filter_map(|address| ledger.cools_until(address, cooldown, now)).collect();
    match ends.iter().max() {
        Some(until) => Err(Kept::Cooling { addresses: ends.len(), until: *until }),
        None => Ok(()),
    }
}

fn unpaused(pool: &Pool, kind: ActionKind, now: Time) -> Result<(), Kept> {
    pool.backoff.of_kind(kind, now).map_or(Ok(()), |pause| Err(Kept::Paused(pause.clone())))
}
