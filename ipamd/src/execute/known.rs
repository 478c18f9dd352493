//! What procedures read and change of the node: its state, its record, its kernel.

use crate::node::{Attached, Node};
use ipnetwork::Ipv4Network;
use net::Mac;
use pool::{EniId, RecentCalls, Time};
use record::{Intent, Interface};
use std::collections::BTreeMap;
use steps::{Known, Listed, NotNoted, Told, occupied};
use tracing::{info, warn};

/// The node, as procedures know it.
#[derive(Debug)]
pub(crate) struct OfNode<'a>(pub &'a Node);

impl Known for OfNode<'_> {
    fn instance(&self) -> &str {
        &self.0.identity.instance
    }

    fn interfaces(&self) -> Vec<EniId> {
        self.0.store.state().attached.keys().cloned().collect()
    }

    fn interface(&self, id: &EniId) -> Option<Interface> {
        self.0.store.interface(id).map(|eni| eni.record)
    }

    fn recent(&self, id: &EniId) -> RecentCalls {
        self.0.store.recent(id)
    }

    fn intent(&self, device_index: u32) -> Option<Intent> {
        self.0.store.state().journal.snapshot().intents.get(&device_index).cloned()
    }

    fn carries(&self, id: &EniId) -> bool {
        self.0.store.state().pool.carries(id)
    }

    fn subnet_cidr(&self, subnet: &str) -> Option<Ipv4Network> {
        self.0.store.subnet_cidr(subnet)
    }

    fn new_tags(&self, created_at: &str) -> BTreeMap<String, String> {
        self.0.store.state().tags.of_new(created_at)
    }

    fn note(
        &mut self,
        id: &EniId,
        change: &mut dyn FnMut(&mut RecentCalls, Time),
    ) -> Result<(), NotNoted> {
        self.0.store.note_call(id, change).map_err(not_noted)
    }

    fn set_intent(&mut self, device_index: u32, intent: Option<Intent>) -> Result<(), NotNoted> {
        self.0.store.state().journal.intent(device_index, intent).map_err(not_noted)
    }

    fn set_discarded(&mut self, id: &EniId, open: bool) -> Result<(), NotNoted> {
        self.0.store.state().journal.discarded(id, open).map_err(not_noted)
    }

    fn change_interface(&mut self, id: &EniId, change: &mut dyn FnMut(&mut Interface)) {
        self.0.change_interface(id, |eni| change(&mut eni.record));
    }

    fn keep_interface(&mut self, id: &EniId, interface: Interface) {
        self.0.keep_interface(id.clone(), Attached::new(interface));
    }

    fn drop_interface(&mut self, id: &EniId) {
        self.0.drop_interface(id);
        if let Err(error) = self.0.renew_firewall() {
            let what = "failed to have the filter rules forget an interface";
            warn!(eni = %id, error = format!("{error:#}"), "{what}");
        }
    }

    fn leave_alone(&mut self, id: &EniId) {
        self.0.leave_alone(id);
    }

    fn let_go(&mut self, id: &EniId) {
        self.0.change_interface(id, |eni| eni.leaving = true);
        let kernel = self.0.store.interface(id).and_then(|eni| eni.kernel);
        let Some(kernel) = kernel else { return };
        let removed = self.0.kernel().apply_each(&kernel.leftovers());
        let what = "failed to remove what a detached interface left";
        match removed {
            Ok(failures) => {
                for failure in failures {
                    warn!(eni = %id, error = %failure, "{what}");
                }
            }
            Err(error) => warn!(eni = %id, error = %error, "{what}"),
        }
    }

    fn has_device(&mut self, mac: Mac) -> bool {
        match self.0.kernel().devices(self.0.primary()) {
            Ok(devices) => devices.of(mac).is_some(),
            Err(error) => {
                warn!(error = %error, "failed to look whether a device is gone");
                false
            }
        }
    }

    fn note_occupied(&mut self, listed: &Listed) {
        self.0.note_occupied(occupied(listed));
    }

    fn note_room(&mut self, free: Vec<(String, u32)>) {
        self.0.store.state().pool.note_room(free, crate::clock::now());
    }

    fn tell(&mut self, told: Told<'_>) {
        tell(told);
    }
}

fn not_noted(error: anyhow::Error) -> NotNoted {
    NotNoted(format!("{error:#}"))
}

fn tell(told: Told<'_>) {
    match told {
        Told::Attached { eni, device_index, blocks } => {
            info!(eni = %eni, device_index, blocks, "attached");
        }
        Told::Found { eni, device_index } => {
            info!(eni = %eni, device_index, "take over an interface that EC2 says is attached");
        }
        Told::Detached { eni } => info!(eni = %eni, "detached"),
        Told::Kept { eni } => {
            info!(eni = %eni, "an interface that was to be given back stays: pods use it");
        }
        Told::Deleted { eni } => info!(eni = %eni, "deleted"),
        Told::Taken { eni } => {
            info!(eni = %eni, "an interface that was to be deleted was attached by somebody: it stays");
        }
        Told::Gone { eni } => {
            info!(eni = %eni, "neither EC2 nor the instance metadata knows this interface any more");
        }
        Told::Assigned { eni, count, amount } => info!(eni = %eni, count, ?amount, "assigned"),
        Told::Unassigned { eni, count } => info!(eni = %eni, count, "gave back"),
        Told::Settled { eni, added } => {
            info!(eni = %eni, added, "took over what EC2 says after a call that it did not answer");
        }
        Told::Groups { eni, groups } => info!(eni = %eni, ?groups, "changed security groups"),
        Told::Tagged { enis, tags } => info!(?enis, ?tags, "tagged"),
        Told::Whose { eni, is } => {
            let kind = is.special_type.as_deref().unwrap_or("interface");
            info!(eni = %eni, origin = ?is.origin, kind, "whose an interface is");
        }
        Told::Free { subnets } => {
            info!(free = ?subnets, "free addresses of the ENIConfig's subnets");
        }
        Told::NotNoted { eni, why } => {
            warn!(eni = %eni, error = why, "failed to note an answer of EC2");
        }
    }
}
