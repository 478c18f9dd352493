//! What the pool has, in numbers: for metrics and for people.

use crate::{Action, Eni, EniId, Mode, Ownership, PREFIX_SIZE, Pool, Time, stock};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Interfaces that are attached and managed.
    pub enis: usize,
    /// Interfaces that may be.
    pub enis_max: usize,
    /// Addresses that all of them can have.
    pub addresses_max: usize,
    /// Addresses that pods may have, used or not, on interfaces whose addresses new pods may get.
    pub held: usize,
    /// Prefixes among them.
    pub prefixes: usize,
    /// Addresses that pods have.
    pub in_use: usize,
    /// The same by interface, for all that are attached.
    pub in_use_by_eni: BTreeMap<EniId, usize>,
    /// The same by the first address of a prefix.
    pub in_use_by_prefix: BTreeMap<Ipv4Addr, usize>,
    /// Addresses that a new pod may get now.
    pub free: usize,
    /// Addresses that are cooling or quarantined.
    pub idle: usize,
    /// Addresses that are on their way: asked for, or of interfaces that are not set up yet.
    pub coming: usize,
    /// Addresses that targets and waiting pods lack, and no action under way will bring.
    pub short: usize,
    /// Pods that wait for an address.
    pub waiting: usize,
    /// Pods that will ask for one in a moment.
    pub expected: usize,
    /// Changes under way that bring addresses.
    pub growing: usize,
    /// Changes under way that give some back.
    pub shrinking: usize,
}

impl Pool {
    /// What there is, in numbers.
    pub fn counts(&self, now: Time) -> Counts {
        counts(self, now)
    }
}

fn counts(pool: &Pool, now: Time) -> Counts {
    let only_a_slot =
        |eni: &&Eni| matches!(eni.ownership, Ownership::Unmanaged | Ownership::NotForPods);
    let unmanaged = pool.enis.values().filter(only_a_slot).count();
    let enis_max = pool.limits.allowed_enis().saturating_sub(unmanaged);
    let block_size = if pool.targets.mode == Mode::Prefixes { PREFIX_SIZE } else { 1 };
    let stock = stock::stock(pool, now);
    let shrinks =
        |action: &&Action| matches!(action, Action::Unassign { .. } | Action::DeleteEni { .. });
    let prefixes = pool.serving().flat_map(|(id, eni)| pool.staying(id, eni));
    let prefixes: Vec<_> = prefixes.filter(|block| block.is_prefix()).collect();
    let used = |block: &crate::Block| {
        let first = block.addresses().next()?;
        let used = block.addresses().filter(|address| pool.ledger.is_in_use(*address)).count();
        Some((first, used))
    };
    let mut in_use_by_eni: BTreeMap<EniId, usize> =
        pool.enis.keys().map(|id| (id.clone(), 0)).collect();
    for (_, allocation) in pool.ledger.all() {
        *in_use_by_eni.entry(allocation.eni.clone()).or_default() += 1;
    }
    Counts {
        enis: pool.enis.len().saturating_sub(unmanaged),
        enis_max,
        addresses_max: enis_max * pool.limits.blocks_per_eni * block_size,
        held: stock.held.saturating_sub(stock.asked_for),
        prefixes: prefixes.len(),
        in_use: pool.ledger.in_use(),
        in_use_by_eni,
        in_use_by_prefix: prefixes.iter().filter_map(used).collect(),
        free: pool.free(now),
        idle: stock.idle(),
        coming: stock.coming(),
        short: stock::shortage(pool, &stock).addresses,
        waiting: pool.waiting,
        expected: pool.expected,
        growing: pool.underway.coming(&pool.backoff, now).count(),
        shrinking: pool.underway.all().filter(shrinks).count(),
    }
}
