//! Interfaces of this node, as the daemon keeps them: changed on record, in the kernel and in the pool.

use super::Node;
use ipnetwork::Ipv4Network;
use net::Layout;
use pool::{EniId, Readiness};
use record::Interface;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use steps::Occupied;
use tracing::{info, warn};

/// An interface of this node, as the daemon keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    /// What EC2 told us; this part is on record.
    pub record: Interface,
    /// The interface in the kernel, once it is set up; the primary one needs nothing.
    pub kernel: Option<net::eni::Eni>,
    /// Filter rules know it as well: pods can use it.
    pub ready: bool,
    /// Since when the daemon waits for its device.
    pub since: Instant,
    /// It is being detached: what the kernel has of it goes.
    pub leaving: bool,
}

impl Attached {
    /// An interface whose device has not been looked for yet.
    pub(crate) fn new(record: Interface) -> Self {
        Self { record, kernel: None, ready: false, since: Instant::now(), leaving: false }
    }

    /// Whether pods can use it.
    pub(super) fn readiness(&self) -> Readiness {
        if self.record.is_primary() || self.ready { Readiness::Ready } else { Readiness::Coming }
    }
}

impl Node {
    /// Notes an interface that is new or has changed, and tells the pool and those who wait.
    pub(crate) fn keep_interface(&self, id: EniId, eni: Attached) {
        self.change(&id, |attached| drop(attached.insert(id.clone(), eni)));
    }

    /// Whether an interface is attached in a subnet that pods' addresses come from.
    pub(crate) fn has_interface_of_source(&self) -> bool {
        let state = self.store.state();
        let supply = state.pool.source().supply();
        let enis = state.attached.values().filter(|eni| !eni.record.is_primary());
        let mut enis = enis.filter(|eni| eni.record.is_for_pods());
        supply.is_some_and(|supply| enis.any(|eni| supply.subnets.contains(&eni.record.subnet)))
    }

    /// Changes an interface, if it is still attached.
    pub(crate) fn change_interface(&self, id: &EniId, change: impl FnOnce(&mut Attached)) {
        self.change(id, |attached| {
            if let Some(eni) = attached.get_mut(id) {
                change(eni);
            }
        });
    }

    /// Notes which slots others take, and names each once.
    pub(crate) fn note_occupied(&self, occupied: BTreeMap<EniId, Occupied>) {
        let mut state = self.store.state();
        for (id, slot) in &occupied {
            if state.occupied.get(id) != Some(slot) {
                let Occupied { card, device_index, why } = slot;
                info!(eni = %id, card, device_index, why, "an interface only takes up a slot");
            }
        }
        state.occupied = occupied;
        state.observe();
        drop(state);
        self.store.wake_waiting();
    }

    /// Leaves an interface alone from now on that turns out not to be for pods, once no pod has an
    /// address of it: what the kernel has of it is not kept any more, and our rules go.
    pub(crate) fn leave_alone(&self, id: &EniId) {
        let left = {
            let mut state = self.store.state();
            if state.with_pods().contains(id) {
                return;
            }
            let eni = state.attached.get_mut(id).filter(|eni| !eni.record.is_for_pods());
            let kernel = eni.and_then(|eni| {
                eni.ready = false;
                eni.kernel.take()
            });
            state.observe();
            kernel
        };
        let Some(kernel) = left else { return };
        let what = "failed to remove our rules of an interface that is not for pods";
        match self.kernel().apply_each(&kernel.leftovers()) {
            Ok(failures) => {
                for failure in failures {
                    warn!(eni = %id, error = %failure, "{what}");
                }
            }
            Err(error) => warn!(eni = %id, error = %error, "{what}"),
        }
        if let Err(error) = self.renew_firewall() {
            warn!(eni = %id, error = format!("{error:#}"), "{what}");
        }
    }

    /// Forgets an interface.
    pub(crate) fn drop_interface(&self, id: &EniId) {
        self.change(id, |attached| drop(attached.remove(id)));
    }

    fn change(&self, id: &EniId, change: impl FnOnce(&mut BTreeMap<EniId, Attached>)) {
        change(&mut self.store.state().attached);
        // Before the pool knows of new prefixes: their pods leave by these rules.
        self.route_prefixes(id);
        let mut state = self.store.state();
        let now = state.attached.get(id).map(|eni| eni.record.clone());
        if let Err(error) = state.journal.interface(id, now) {
            // EC2 knows as well: the next start asks it.
            warn!(eni = %id, error = format!("{error:#}"), "failed to note an interface");
        }
        state.observe();
        drop(state);
        self.store.interfaces.notify_one();
        self.store.wake_waiting();
    }

    /// Gives the kernel the rules for the prefixes that an interface has now.
    fn route_prefixes(&self, id: &EniId) {
        let ops = {
            let mut state = self.store.state();
            let Some(eni) = state.attached.get_mut(id) else { return };
            let cidrs = self.cidrs_with_rules(&eni.record);
            let Some(kernel) = &mut eni.kernel else { return };
            let ops = kernel.change_cidrs(&cidrs);
            kernel.cidrs = cidrs;
            ops
        };
        if ops.is_empty() {
            return;
        }
        if let Err(error) = self.kernel().apply(&ops) {
            warn!(eni = %id, error = %error, "failed to route from the prefixes of an interface");
        }
    }

    /// Prefixes of an interface, where they have rules.
    pub(crate) fn cidrs_with_rules(&self, eni: &Interface) -> BTreeSet<Ipv4Network> {
        match self.settings.layout {
            Layout::Flat => eni.prefix_blocks(),
            Layout::Peer => BTreeSet::new(),
        }
    }
}
