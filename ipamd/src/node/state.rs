//! What one lock guards: the pool, the record of it, and this node's interfaces.

use super::{Attached, Occupied, Unclear, WantedTags, now};
use crate::settings::Settings;
use anyhow::Result;
use net::EgressSelector;
use pool::{
    Action, Allocation, Block, Change, Eni, EniId, Lifetime, Observation, Owner, Ownership, Pool,
    Readiness, adopt::Unknown,
};
use record::{Interface, Journal, Origin};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use tracing::warn;

/// What one lock guards. Nothing waits for anything else while it is held.
#[derive(Debug)]
pub(crate) struct State {
    /// Which addresses there are, and whose they are.
    pub pool: Pool,
    /// The record of it.
    pub journal: Journal,
    /// Interfaces of this node.
    pub attached: BTreeMap<EniId, Attached>,
    /// Slots that others take, which have no IPv4 or cannot be read: nothing is known of them but
    /// where they are.
    pub(super) occupied: BTreeMap<EniId, Occupied>,
    /// Tags that interfaces of this node are to have.
    pub tags: WantedTags,
    /// Pods that wait for an address.
    pub(super) waiting: usize,
    /// Pods of this node that Kubernetes calls pending: namespace and name.
    pub(super) pending: BTreeSet<(String, String)>,
    /// Addresses that somebody may use whom nobody knows.
    pub held: BTreeMap<Ipv4Addr, Unclear>,
    /// Addresses and prefixes that EC2 says to lie outside of their subnet, each told once.
    pub(super) outside: BTreeSet<(EniId, Block)>,
    /// Attachments that a verb is working on.
    pub(super) busy: BTreeSet<Owner>,
    /// This daemon ends: nobody waits for an address any more.
    pub(super) ending: bool,
}

/// An address that somebody may use whom nobody knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'a> {
    /// The address.
    pub address: Ipv4Addr,
    /// Why it is held.
    pub why: &'a Unknown,
    /// The interfaces that may carry it.
    pub may_carry: &'a BTreeSet<EniId>,
}

/// Interfaces as the pool sees them.
pub(crate) fn observation<'a>(
    attached: impl Iterator<Item = (&'a EniId, &'a Interface, Readiness)>,
    occupied: &BTreeMap<EniId, Occupied>,
) -> Observation {
    let eni = |record: &Interface, readiness| Eni {
        device_index: record.device_index,
        subnet: record.subnet.clone(),
        groups: record.groups.clone(),
        blocks: record.blocks_in_subnet(),
        readiness,
        ownership: match (record.origin, &record.special_type) {
            (Origin::Unmanaged, _) => Ownership::Unmanaged,
            (_, Some(_)) => Ownership::NotForPods,
            (Origin::Ours, None) => Ownership::Ours,
            (Origin::Foreign, None) => Ownership::Foreign,
            (Origin::Unknown, None) => Ownership::Unknown,
        },
        lifetime: if record.outlives_instance { Lifetime::Own } else { Lifetime::Instance },
    };
    // Pods get addresses of the first card only, as without the peer's ENABLE_MULTI_NIC.
    let first = attached.filter(|(_, record, _)| record.card == 0);
    let first = first.map(|(id, record, readiness)| (id.clone(), eni(record, readiness)));
    let slot = |it: &Occupied| Eni {
        device_index: it.device_index,
        subnet: String::new(),
        groups: BTreeSet::new(),
        blocks: BTreeSet::new(),
        readiness: Readiness::Coming,
        ownership: Ownership::NotForPods,
        lifetime: Lifetime::Instance,
    };
    let others = occupied.iter().filter(|(_, it)| it.card == 0);
    // One that is on record counts as what it is there.
    others.map(|(id, it)| (id.clone(), slot(it))).chain(first).collect()
}

impl State {
    /// Attachments that a verb is working on.
    pub(crate) fn busy(&self) -> &BTreeSet<Owner> {
        &self.busy
    }

    /// Names what is attached and goes to no pod, as it does not lie in its subnet.
    fn tell_outside(&mut self) {
        let outside = self.attached.iter().flat_map(|(id, eni)| {
            let within = eni.record.blocks_in_subnet();
            let all = eni.record.blocks().into_iter().filter(move |it| !within.contains(it));
            all.map(|block| (id.clone(), block))
        });
        let outside: BTreeSet<_> = outside.collect();
        for (eni, block) in outside.difference(&self.outside) {
            let first = block.first();
            warn!(%eni, %first, "failed to use an address or prefix that EC2 names: it does not lie in the subnet of its interface and is left out");
        }
        self.outside = outside;
    }

    /// Tells the pool what is attached.
    pub(crate) fn observe(&mut self) {
        self.tell_outside();
        let attached = self.attached.iter().map(|(id, it)| (id, &it.record, it.readiness()));
        let seen = observation(attached, &self.occupied);
        self.pool.observe(seen, now());
        let records = self.attached.iter().map(|(id, it)| (id, &it.record));
        self.pool.set_untagged(self.tags.missing(records));
    }

    /// Interfaces in which pods have addresses.
    pub(crate) fn with_pods(&self) -> BTreeSet<&EniId> {
        self.pool.allocations().map(|(_, allocation)| &allocation.eni).collect()
    }

    /// Tells the pool how many pods have no address and want one. A pod that is pending waits for an
    /// address, is about to ask for one, or has one and waits for its images.
    pub(crate) fn count_demand(&mut self) {
        self.pool.set_waiting(self.waiting);
        let served: BTreeSet<(&str, &str)> = if self.pending.is_empty() {
            BTreeSet::new()
        } else {
            let attachments = self.journal.snapshot().attachments.values();
            attachments.map(|it| (it.pod_namespace.as_str(), it.pod_name.as_str())).collect()
        };
        let without = |(namespace, name): &&(String, String)| {
            !served.contains(&(namespace.as_str(), name.as_str()))
        };
        let pending = self.pending.iter().filter(without).count();
        self.pool.set_expected(pending.saturating_sub(self.waiting));
    }

    /// Which pods of this node Kubernetes calls pending.
    pub(crate) fn set_pending(&mut self, pods: BTreeSet<(String, String)>) {
        self.pending = pods;
        self.count_demand();
    }

    /// Notes how an interface is set up, before pods can use it.
    pub(crate) fn note_set_up(&mut self, id: &EniId, kernel: net::eni::Eni) {
        if let Some(eni) = self.attached.get_mut(id) {
            eni.kernel = Some(kernel);
        }
    }

    /// One pod more waits for an address.
    pub(super) fn begins_to_wait(&mut self) {
        self.waiting += 1;
        self.count_demand();
    }

    /// One pod less waits for an address.
    pub(super) fn waits_no_more(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.count_demand();
    }

    /// Takes back an address of the pool and of the record. `quarantine`: a link still has it.
    ///
    /// # Errors
    /// It cannot be put on record.
    pub(crate) fn release(&mut self, owner: &Owner, quarantine: Option<Ipv4Addr>) -> Result<()> {
        let now = now();
        // A crash from here on is no loss: the next daemon finds the link of an address that cools.
        self.journal.released(owner, now)?;
        let had = self.pool.release(owner, now);
        if let Some(address) = quarantine {
            self.pool.quarantine(address, had.into_iter().map(|had| had.eni).collect());
        }
        self.count_demand();
        Ok(())
    }

    /// Addresses of this node's interfaces that are held, as far as that is known by which.
    pub(crate) fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.pool.quarantined().filter(|(_, may_carry)| !may_carry.is_empty()).filter_map(
            |(address, may_carry)| {
                let why = &self.held.get(&address)?.why;
                Some(Held { address, why, may_carry })
            },
        )
    }

    /// Interfaces that are on record and being given back.
    pub(crate) fn releasing(&self) -> Vec<EniId> {
        let recent = self.journal.snapshot().recent.iter();
        let removed = recent.filter(|(_, it)| matches!(it.eni, Some((Change::Removed, _))));
        removed.map(|(id, _)| id.clone()).filter(|id| self.attached.contains_key(id)).collect()
    }

    /// Keeps pods off what the last daemon was giving back, from before the first one asks.
    pub(crate) fn hold_releasing_back(&mut self) {
        for eni in self.releasing() {
            self.pool.started(&Action::DeleteEni { eni });
        }
    }

    /// How a pod with an address finds the table of the interface that it belongs to.
    pub(crate) fn egress(
        &self,
        settings: &Settings,
        allocation: &Allocation,
        table: u32,
    ) -> EgressSelector {
        let interface = self.attached.get(&allocation.eni);
        let in_prefix = interface.is_some_and(|eni| eni.record.is_in_prefix(allocation.address));
        EgressSelector::of(settings.layout, settings.table_marks(), table, in_prefix)
    }
}
