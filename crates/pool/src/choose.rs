//! Which of the free addresses a new pod gets.

use crate::{Allocation, Block, Eni, EniId, Owner, Pool, Readiness, Time};
use std::{cmp::Reverse, fmt, net::Ipv4Addr};

/// No address can be handed out now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoAddress {
    /// Addresses in use by pods of this node.
    pub in_use: usize,
    /// Those among them on interfaces that serve no new pods.
    pub elsewhere: usize,
    /// Addresses of its interfaces that somebody may use whom nobody knows.
    pub quarantined: usize,
    /// Addresses that were released a short while ago, of those that new pods may get.
    pub cooling: usize,
    /// When the next of them can be had.
    pub next_cooled: Option<Time>,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_use, elsewhere, quarantined, cooling, next_cooled: _ } = self;
        write!(f, "no free address ({in_use} in use, ")?;
        if *elsewhere > 0 {
            write!(f, "{elsewhere} of them on interfaces that serve no new pods, ")?;
        }
        if *quarantined > 0 {
            write!(f, "{quarantined} that somebody may still use, ")?;
        }
        write!(f, "{cooling} cooling)")
    }
}

impl std::error::Error for NoAddress {}

impl Pool {
    /// Gives `owner` an address; asked again, gives the same one again.
    pub fn allocate(&mut self, owner: Owner, now: Time) -> Result<Allocation, NoAddress> {
        if let Some(allocation) = self.ledger.of(&owner) {
            return Ok(allocation.clone());
        }
        let allocation = self.best_free(now).ok_or_else(|| self.exhausted(now))?;
        self.ledger.insert(owner, allocation.clone());
        self.usage.note(self.ledger.in_use(), now);
        Ok(allocation)
    }

    /// Addresses that a new pod may get now.
    pub fn free(&self, now: Time) -> usize {
        self.available(now).count()
    }

    /// From the fullest interface and prefix, so that others become empty and can be given back; the
    /// address that has cooled longest, so that no connection of its last pod is left anywhere.
    ///
    /// Looks no further than it must: this is done for every pod, on nodes with thousands of
    /// addresses.
    pub(crate) fn best_free(&self, now: Time) -> Option<Allocation> {
        let mut enis: Vec<(&EniId, &Eni)> =
            self.serving().filter(|(_, eni)| eni.readiness == Readiness::Ready).collect();
        enis.sort_by_key(|(id, _)| (Reverse(self.ledger.in_use_on(id)), *id));
        enis.into_iter().find_map(|(id, eni)| {
            let address = self.best_free_on(id, eni, now)?;
            Some(Allocation { address, eni: id.clone() })
        })
    }

    fn best_free_on(&self, id: &EniId, eni: &Eni, now: Time) -> Option<Ipv4Addr> {
        let used = |block: Block| (block, self.ledger.in_use_in(block));
        let mut blocks: Vec<(Block, usize)> =
            self.staying(id, eni).map(used).filter(|(block, used)| *used < block.size()).collect();
        // Single addresses are alike, whichever comes first.
        let rank =
            |(block, used): &(Block, usize)| (Reverse(*used), block.is_prefix().then_some(*block));
        blocks.sort_by_key(rank);
        blocks.chunk_by(|a, b| rank(a) == rank(b)).find_map(|alike| {
            let addresses = alike.iter().flat_map(|(block, _)| block.addresses());
            let free = addresses.filter(|address| !self.is_taken(*address, now));
            free.min_by_key(|address| self.ledger.last_released(*address))
        })
    }

    pub(crate) fn available(&self, now: Time) -> impl Iterator<Item = (&EniId, Block, Ipv4Addr)> {
        let ready = self.serving().filter(|(_, eni)| eni.readiness == Readiness::Ready);
        let blocks =
            ready.flat_map(|(id, eni)| self.staying(id, eni).map(move |block| (id, block)));
        let addresses = blocks
            .flat_map(|(id, block)| block.addresses().map(move |address| (id, block, address)));
        addresses.filter(move |(_, _, address)| !self.is_taken(*address, now))
    }

    fn exhausted(&self, now: Time) -> NoAddress {
        let blocks = self.serving().flat_map(|(_, eni)| &eni.blocks);
        let cooling = blocks
            .flat_map(|block| block.addresses())
            .filter(|address| self.ledger.is_cooling(*address, self.targets.cooldown, now))
            .count();
        NoAddress {
            in_use: self.ledger.in_use(),
            elsewhere: self.in_use_elsewhere(),
            // The node's own are with none of the interfaces.
            quarantined: self.ledger.quarantined().filter(|(_, it)| !it.is_empty()).count(),
            cooling,
            next_cooled: next_cooled(self, now),
        }
    }
}

/// When the first of the addresses that cool can be had.
fn next_cooled(pool: &Pool, now: Time) -> Option<Time> {
    let ready = pool.serving().filter(|(_, eni)| eni.readiness == Readiness::Ready);
    let addresses =
        ready.flat_map(|(id, eni)| pool.staying(id, eni)).flat_map(|block| block.addresses());
    let held = |it: &Ipv4Addr| pool.ledger.is_in_use(*it) || pool.ledger.is_quarantined(*it);
    let until = |it| pool.ledger.cools_until(it, pool.targets.cooldown, now);
    addresses.filter(|it| !held(it)).filter_map(until).min()
}
