//! What a node's daemon keeps on record, and what of it dies with the daemon.

use pool::{Allocation, EniId, Observation, Owner, Readiness, RecentCalls, Source, Time};
use record::Intent;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use steps::observation;

/// What the daemon knows about its node, and keeps on record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Interfaces as they are on record.
    pub(crate) interfaces: BTreeMap<EniId, record::Interface>,
    /// The same, as the pool sees them.
    pub(crate) enis: Observation,
    /// Interfaces that the record has otherwise than the daemon: it could not be written to.
    pub(crate) stale: BTreeMap<EniId, Option<record::Interface>>,
    pub(crate) assigned: BTreeMap<Owner, Allocation>,
    pub(crate) cooling: BTreeMap<Ipv4Addr, Time>,
    pub(crate) intents: BTreeMap<u32, Intent>,
    pub(crate) discarded: BTreeSet<EniId>,
    pub(crate) source: Option<Source>,
    /// What calls changed lately, and which were not answered.
    pub(crate) recent: BTreeMap<EniId, RecentCalls>,
}

impl Journal {
    /// Notes what an interface is.
    pub(crate) fn set(&mut self, id: &EniId, is: Option<record::Interface>) {
        let before = self.enis.remove(id).map_or(Readiness::Coming, |eni| eni.readiness);
        match is {
            Some(is) => {
                self.enis.extend(observation([(id, &is, before)].into_iter(), &BTreeMap::new()));
                self.interfaces.insert(id.clone(), is);
            }
            None => drop(self.interfaces.remove(id)),
        }
    }

    /// What a daemon knew and could not put on record dies with it.
    pub(crate) fn forget_unrecorded(&mut self) {
        for (id, was) in std::mem::take(&mut self.stale) {
            self.set(&id, was);
        }
    }
}
