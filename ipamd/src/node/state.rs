//! What one lock guards: the pool, the record of it, and this node's interfaces.

use super::{Attached, Unclear, WantedTags};
use crate::clock::now;
use crate::settings::Settings;
use anyhow::Result;
use net::EgressSelector;
use pool::{Action, Allocation, Block, EniId, Owner, Pool, adopt::Unknown};
use record::Journal;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use steps::{Occupied, leaves, observation, unfinished};
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

    /// Tells the pool what EC2 has of this node besides.
    pub(super) fn note_unfinished(&mut self) {
        let known = self.journal.snapshot();
        self.pool.set_unfinished(unfinished(&known.recent, &known.discarded));
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

    /// How many pods wait for an address.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
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
        let removed = recent.filter(|(_, it)| leaves(it));
        removed.map(|(id, _)| id.clone()).filter(|id| self.attached.contains_key(id)).collect()
    }

    /// Has the plan finish what the last daemon was making or giving back. Pods are kept off that, from
    /// before the first one asks.
    pub(crate) fn reopen(&mut self) {
        for eni in self.releasing() {
            self.pool.reopen(&Action::DeleteEni { eni });
        }
        for intent in self.journal.snapshot().intents.values() {
            self.pool.reopen(&intent.action());
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
