//! Who holds which address, and which addresses rest.

use crate::{EniId, Time};
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
pub struct Assigned {
    /// The address.
    pub address: Ipv4Addr,
    /// Its interface.
    pub eni: EniId,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    by_owner: BTreeMap<Owner, Assigned>,
    /// Released addresses, and when.
    released: BTreeMap<Ipv4Addr, Time>,
}

impl Ledger {
    pub(crate) fn of(&self, owner: &Owner) -> Option<&Assigned> {
        self.by_owner.get(owner)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Owner, &Assigned)> {
        self.by_owner.iter()
    }

    pub(crate) fn record(&mut self, owner: Owner, assigned: Assigned) {
        self.by_owner.insert(owner, assigned);
    }

    pub(crate) fn release(&mut self, owner: &Owner, now: Time) -> Option<Assigned> {
        let assigned = self.by_owner.remove(owner)?;
        self.rest(assigned.address, now);
        Some(assigned)
    }

    /// Notes that an address was released at a time, perhaps before this process began.
    pub(crate) fn rest(&mut self, address: Ipv4Addr, since: Time) {
        self.released.insert(address, since);
    }

    pub(crate) fn in_use(&self) -> BTreeSet<Ipv4Addr> {
        self.by_owner.values().map(|assigned| assigned.address).collect()
    }

    pub(crate) fn resting(&self, cooldown: Duration, now: Time) -> BTreeSet<Ipv4Addr> {
        let rests = |since: &Time| now < *since + cooldown;
        self.released
            .iter()
            .filter(|(_, since)| rests(since))
            .map(|(address, _)| *address)
            .collect()
    }

    /// When an address was last released; those that never were come before all others.
    pub(crate) fn last_released(&self, address: Ipv4Addr) -> Option<Time> {
        self.released.get(&address).copied()
    }

    /// When the first resting address becomes free.
    pub(crate) fn next_rested(&self, cooldown: Duration, now: Time) -> Option<Time> {
        self.released.values().map(|since| *since + cooldown).filter(|rested| *rested > now).min()
    }
}
