//! Who holds which address, and which addresses are cooling or quarantined.

use crate::{Block, EniId, Observation, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    time::Duration,
};

/// One attachment of one container, as CNI names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Name of the network, from the configuration.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub interface: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.interface)
    }
}

/// An address in use, and the interface that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The address.
    pub address: Ipv4Addr,
    /// Its interface.
    pub eni: EniId,
}

/// Why the owner of an address cannot be taken over from a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTaken {
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it already.
    pub holder: Owner,
}

impl fmt::Display for AddressTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is recorded twice; {} has it", self.address, self.holder)
    }
}

impl std::error::Error for AddressTaken {}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    by_owner: BTreeMap<Owner, Allocation>,
    by_address: BTreeMap<Ipv4Addr, Owner>,
    /// How many addresses of each interface have an owner.
    on_eni: BTreeMap<EniId, usize>,
    /// Released addresses, and when.
    released: BTreeMap<Ipv4Addr, Time>,
    /// Addresses that an unknown holder may have, with the interfaces that may carry them.
    quarantined: BTreeMap<Ipv4Addr, BTreeSet<EniId>>,
}

impl Ledger {
    pub(crate) fn of(&self, owner: &Owner) -> Option<&Allocation> {
        self.by_owner.get(owner)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Owner, &Allocation)> {
        self.by_owner.iter()
    }

    pub(crate) fn in_use(&self) -> usize {
        self.by_owner.len()
    }

    /// Notes an allocation that somebody else made; refuses to give an address to a second owner.
    pub(crate) fn record(
        &mut self,
        owner: Owner,
        allocation: Allocation,
    ) -> Result<(), AddressTaken> {
        match self.by_address.get(&allocation.address) {
            Some(holder) if *holder != owner => {
                return Err(AddressTaken { address: allocation.address, holder: holder.clone() });
            }
            Some(_) | None => {}
        }
        self.insert(owner, allocation);
        Ok(())
    }

    /// Notes an allocation of an address that is free.
    pub(crate) fn insert(&mut self, owner: Owner, allocation: Allocation) {
        self.take(&owner);
        self.by_address.insert(allocation.address, owner.clone());
        *self.on_eni.entry(allocation.eni.clone()).or_default() += 1;
        self.by_owner.insert(owner, allocation);
    }

    pub(crate) fn release(&mut self, owner: &Owner, now: Time) -> Option<Allocation> {
        let allocation = self.take(owner)?;
        self.cool(allocation.address, now);
        Some(allocation)
    }

    fn take(&mut self, owner: &Owner) -> Option<Allocation> {
        let allocation = self.by_owner.remove(owner)?;
        self.by_address.remove(&allocation.address);
        if let Some(count) = self.on_eni.get_mut(&allocation.eni) {
            *count -= 1;
            if *count == 0 {
                self.on_eni.remove(&allocation.eni);
            }
        }
        Some(allocation)
    }

    /// Notes that an address was released at a time, perhaps before this process began.
    pub(crate) fn cool(&mut self, address: Ipv4Addr, since: Time) {
        self.released.insert(address, since);
    }

    pub(crate) fn quarantine(&mut self, address: Ipv4Addr, may_carry: BTreeSet<EniId>) {
        self.quarantined.entry(address).or_default().extend(may_carry);
    }

    /// What shows a quarantined address carries it, also when it shows it no more.
    pub(crate) fn place(&mut self, seen: &Observation) {
        let mut shown: BTreeMap<Ipv4Addr, BTreeSet<EniId>> = BTreeMap::new();
        for (id, eni) in seen {
            for block in &eni.blocks {
                for (address, _) in self.quarantined.range(block.first()..=block.last()) {
                    shown.entry(*address).or_default().insert(id.clone());
                }
            }
        }
        self.quarantined.extend(shown);
    }

    /// Ends a quarantine: whoever may have held the address is gone, and it cools from now on.
    pub(crate) fn unquarantine(&mut self, address: Ipv4Addr, now: Time) {
        if self.quarantined.remove(&address).is_some() {
            self.cool(address, now);
        }
    }

    /// How many addresses of an interface somebody has, also of one that is not seen now.
    pub(crate) fn in_use_on(&self, eni: &EniId) -> usize {
        self.on_eni.get(eni).copied().unwrap_or(0)
    }

    /// How many addresses of a block somebody has.
    pub(crate) fn in_use_in(&self, block: Block) -> usize {
        self.by_address.range(block.first()..=block.last()).count()
    }

    pub(crate) fn is_in_use(&self, address: Ipv4Addr) -> bool {
        self.by_address.contains_key(&address)
    }

    pub(crate) fn is_cooling(&self, address: Ipv4Addr, cooldown: Duration, now: Time) -> bool {
        self.cools_until(address, cooldown, now).is_some()
    }

    /// When an address has cooled that cools now.
    pub(crate) fn cools_until(
        &self,
        address: Ipv4Addr,
        cooldown: Duration,
        now: Time,
    ) -> Option<Time> {
        let until = *self.released.get(&address)? + cooldown;
        (now < until).then_some(until)
    }

    pub(crate) fn is_quarantined(&self, address: Ipv4Addr) -> bool {
        self.quarantined.contains_key(&address)
    }

    pub(crate) fn quarantined(&self) -> impl Iterator<Item = (Ipv4Addr, &BTreeSet<EniId>)> {
        self.quarantined.iter().map(|(address, may_carry)| (*address, may_carry))
    }

    /// How many quarantined addresses an interface may carry, also of one that is not seen now.
    pub(crate) fn quarantined_on(&self, eni: &EniId) -> usize {
        self.quarantined.values().filter(|may_carry| may_carry.contains(eni)).count()
    }

    /// Whether a pod has it, had it a moment ago, or may have it.
    pub(crate) fn is_taken(&self, address: Ipv4Addr, cooldown: Duration, now: Time) -> bool {
        self.is_in_use(address)
            || self.is_cooling(address, cooldown, now)
            || self.is_quarantined(address)
    }

    /// When an address was last released; those that never were come before all others.
    pub(crate) fn last_released(&self, address: Ipv4Addr) -> Option<Time> {
        self.released.get(&address).copied()
    }

    /// When the first cooling address becomes free.
    pub(crate) fn next_cooled(&self, cooldown: Duration, now: Time) -> Option<Time> {
        self.released.values().map(|since| *since + cooldown).filter(|cooled| *cooled > now).min()
    }

    /// Forgets releases that no longer matter: cooled, and of addresses that are not held any more.
    pub(crate) fn forget_cooled(
        &mut self,
        cooldown: Duration,
        now: Time,
        held: &BTreeSet<Ipv4Addr>,
    ) {
        self.released.retain(|address, since| now < *since + cooldown || held.contains(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is held keeps its time: the address that has cooled longest is used first.
    #[test]
    fn a_release_is_forgotten_once_it_has_cooled_and_its_address_is_not_held() {
        check("cooling, held", 29, true, true);
        check("cooling, not held", 29, false, true);
        check("cooled, held", 30, true, true);
        check("cooled, not held", 30, false, false);
        check("cooled long ago, not held", 99, false, false);
    }

    #[track_caller]
    fn check(row: &str, seconds: u64, is_held: bool, is_known: bool) {
        let (address, at) = ([10, 0, 0, 1].into(), Time(Duration::ZERO));
        let mut ledger = Ledger::default();
        ledger.cool(address, at);
        let held = if is_held { [address].into() } else { [].into() };

        ledger.forget_cooled(Duration::from_secs(30), at + Duration::from_secs(seconds), &held);

        assert_eq!(ledger.last_released(address).is_some(), is_known, "{row}");
    }
}
