//! What there is, what is on its way, and what is missing to targets and pods.

use crate::{Amount, Mode, PREFIX_SIZE, Pool, Readiness, Setting, Time};

/// What there is on interfaces that serve new pods, counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Addresses in all, used and free, those that are on their way included.
    pub held: usize,
    /// Addresses that new pods may get, now or as soon as their interface is ready or EC2 has
    /// answered.
    pub free: usize,
    /// Prefixes among them without any address in use, cooling or quarantined.
    pub empty_prefixes: usize,
    /// Single addresses among them.
    pub loose: usize,
    /// Addresses among them that EC2 was asked for and has not given yet.
    pub asked_for: usize,
    /// Addresses among them on interfaces that the node's kernel is not set up for yet.
    pub setting_up: usize,
    /// Addresses that were released a short while ago.
    pub cooling: usize,
    /// Addresses that somebody may hold whom we do not know.
    pub quarantined: usize,
}

impl Stock {
    /// Addresses that no pod has and that no pod can get.
    pub fn idle(&self) -> usize {
        self.cooling + self.quarantined
    }

    /// Addresses that pods can get in a moment.
    pub fn coming(&self) -> usize {
        self.asked_for + self.setting_up
    }
}

pub(crate) fn stock(pool: &Pool, now: Time) -> Stock {
    let mut stock = Stock::default();
    for (id, eni) in pool.serving() {
        for block in pool.staying(id, eni) {
            let mut free = 0;
            for address in block.addresses() {
                if !pool.is_taken(address, now) {
                    free += 1;
                } else if pool.ledger.is_in_use(address) {
                } else if pool.ledger.is_quarantined(address) {
                    stock.quarantined += 1;
                } else {
                    stock.cooling += 1;
                }
            }
            stock.free += free;
            stock.held += block.size();
            stock.empty_prefixes += usize::from(block.is_prefix() && free == PREFIX_SIZE);
            stock.loose += if block.is_prefix() { 0 } else { free };
            stock.setting_up += if eni.readiness == Readiness::Ready { 0 } else { free };
        }
    }
    for amount in pool.underway.coming(&pool.backoff, now) {
        stock.free += amount.addresses();
        stock.held += amount.addresses();
        stock.asked_for += amount.addresses();
        match amount {
            Amount::Prefixes(count) => stock.empty_prefixes += count,
            Amount::Addresses(count) => stock.loose += count,
        }
    }
    stock
}

/// What is missing, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Addresses that are missing to the targets and to the pods that wait or are about to ask.
    pub addresses: usize,
    /// Addresses that are missing to those pods alone.
    pub to_demand: usize,
    /// Addresses that are missing to those pods and the target, before `max_pods` is looked at.
    pub to_target: usize,
    /// The target that asks for the most.
    pub setting: Setting,
    /// Addresses more than which are not worth holding, by `max_pods`.
    pub worth: Option<usize>,
}

impl Shortage {
    /// Whether more would be asked for if kubelet let more pods run.
    pub fn is_capped(&self) -> bool {
        self.worth.is_some_and(|worth| worth < self.to_target)
    }
}

/// Addresses that are missing to the targets and to the pods that wait or are about to ask.
pub(crate) fn shortage(pool: &Pool, stock: &Stock) -> Shortage {
    let to_demand = (pool.waiting + pool.expected).saturating_sub(stock.free);
    let (setting, to_target) = to_target(pool, stock);
    // Warm addresses that kubelet will never ask for are a waste; a pod that waits is not.
    let worth = pool.limits.max_pods.map(|most| (most + stock.idle()).saturating_sub(stock.held));
    let addresses = to_target.min(worth.unwrap_or(usize::MAX)).max(to_demand);
    Shortage { addresses, to_demand, to_target, setting, worth }
}

/// The target that decides, and what is missing to it and the pods that will use it up.
fn to_target(pool: &Pool, stock: &Stock) -> (Setting, usize) {
    let targets = &pool.targets;
    let demand = pool.waiting + pool.expected;
    let Stock { free, empty_prefixes, loose, held, .. } = *stock;
    if targets.in_addresses() {
        let warm = (targets.warm_addresses.unwrap_or(0) + demand).saturating_sub(free);
        let minimum = targets.minimum_addresses.unwrap_or(0).saturating_sub(held);
        if minimum > warm || targets.warm_addresses.is_none() {
            (Setting::MinimumAddresses, warm.max(minimum))
        } else {
            (Setting::WarmAddresses, warm)
        }
    } else if targets.mode == Mode::Prefixes {
        // Prefixes that those pods will break are not warm any more.
        let begun = free - empty_prefixes * PREFIX_SIZE;
        let broken = demand.saturating_sub(begun).div_ceil(PREFIX_SIZE);
        // Where there are no prefixes, single addresses stand in for them.
        let instead = loose.min(begun.saturating_sub(demand));
        let wanted = (targets.warm_prefixes + broken) * PREFIX_SIZE;
        let there = empty_prefixes * PREFIX_SIZE + instead;
        (Setting::WarmPrefixes, wanted.saturating_sub(there))
    } else {
        let wanted = targets.warm_enis * pool.limits.blocks_per_eni + demand;
        (Setting::WarmEnis, wanted.saturating_sub(free))
    }
}
