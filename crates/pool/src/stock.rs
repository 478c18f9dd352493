//! What there is, what is on its way, and what is missing to targets and pods.

use crate::{Action, Amount, Mode, PREFIX_SIZE, Pool, Time};

/// What the actions that are under way will bring.
pub(crate) fn underway(pool: &Pool) -> impl Iterator<Item = Amount> + '_ {
    pool.underway.values().filter_map(Action::amount)
}

/// What there is, counted once.
pub(crate) struct Stock {
    /// Addresses that new pods may get, now or as soon as their interface is ready or EC2 has
    /// answered.
    pub(crate) free: usize,
    /// Prefixes among them without any address in use, cooling or quarantined.
    pub(crate) empty_prefixes: usize,
    /// Single addresses among them.
    pub(crate) loose: usize,
    /// Addresses in all, used and free.
    pub(crate) held: usize,
    /// Addresses that rest or are quarantined.
    pub(crate) idle: usize,
}

pub(crate) fn stock(pool: &Pool, now: Time) -> Stock {
    let mut stock = Stock { free: 0, empty_prefixes: 0, loose: 0, held: 0, idle: 0 };
    for (id, eni) in pool.serving() {
        for block in pool.staying(id, eni) {
            let (mut free, mut idle) = (0, 0);
            for address in block.addresses() {
                if !pool.is_taken(address, now) {
                    free += 1;
                } else if !pool.ledger.is_in_use(address) {
                    idle += 1;
                }
            }
            stock.free += free;
            stock.idle += idle;
            stock.held += block.size();
            stock.empty_prefixes += usize::from(block.is_prefix() && free == PREFIX_SIZE);
            stock.loose += if block.is_prefix() { 0 } else { free };
        }
    }
    for amount in underway(pool) {
        stock.free += amount.addresses();
        stock.held += amount.addresses();
        match amount {
            Amount::Prefixes(count) => stock.empty_prefixes += count,
            Amount::Addresses(count) => stock.loose += count,
        }
    }
    stock
}

/// Addresses that are missing to the targets and to the pods that wait or are about to ask.
pub(crate) fn short(pool: &Pool, now: Time) -> usize {
    let Stock { free, empty_prefixes, loose, held, idle } = stock(pool, now);
    let targets = &pool.targets;
    let demand = pool.demand();
    let for_demand = demand.saturating_sub(free);
    let for_targets = if targets.in_addresses() {
        let warm = (targets.warm_addresses.unwrap_or(0) + demand).saturating_sub(free);
        warm.max(targets.minimum_addresses.unwrap_or(0).saturating_sub(held))
    } else if targets.mode == Mode::Prefixes {
        // Prefixes that those pods will break are not warm any more.
        let begun = free - empty_prefixes * PREFIX_SIZE;
        let broken = demand.saturating_sub(begun).div_ceil(PREFIX_SIZE);
        // Where there are no prefixes, single addresses stand in for them.
        let instead = loose.min(begun.saturating_sub(demand));
        let wanted = (targets.warm_prefixes + broken) * PREFIX_SIZE;
        wanted.saturating_sub(empty_prefixes * PREFIX_SIZE + instead)
    } else {
        (targets.warm_enis * pool.limits.blocks_per_eni + demand).saturating_sub(free)
    };
    // Warm addresses that kubelet will never ask for are a waste; a pod that waits is not.
    let worth = match pool.limits.max_pods {
        Some(max_pods) => for_targets.min((max_pods + idle).saturating_sub(held)),
        None => for_targets,
    };
    worth.max(for_demand)
}
