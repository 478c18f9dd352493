//! What others see of the interfaces, and how late: metadata, and reads that lag behind writes.

use super::{
    ids::{EniId, InstanceId},
    interface::Interface,
    lag::Lagging,
    metadata::{Ghost, History, View},
    state::Vpc,
    time::Time,
};
use net::Mac;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

impl Vpc {
    /// An interface is not what it was: wires and metadata must follow.
    pub(super) fn interface_changed(&mut self, now: Time, id: &EniId) {
        self.changed();
        self.remember(now, id);
        let attachment = self.interfaces.get(id).and_then(|eni| eni.attachment.as_ref());
        if let Some(instance) = attachment.map(|attachment| attachment.instance_id.clone()) {
            self.show(now, &instance);
        }
    }

    /// An interface was made, changed or removed.
    pub(super) fn remember(&mut self, now: Time, id: &EniId) {
        let Some(lagging) = &mut self.lagging else { return };
        match self.faults.longest_lag(now) {
            Some(longest) => {
                lagging.record(now, longest, id, self.interfaces.get(id).cloned());
            }
            None => self.lagging = None,
        }
    }

    /// Interfaces as a read sees them that lags so much; none when that is as they are.
    #[must_use]
    pub fn interfaces_as_of(&self, now: Time, lag: Duration) -> Option<BTreeMap<EniId, Interface>> {
        let lagging = self.lagging.as_ref().filter(|_| !lag.is_zero())?;
        Some(lagging.at(Time(now.0.saturating_sub(lag))))
    }

    /// What the metadata service of an instance shows now.
    #[must_use]
    pub fn metadata(&self, now: Time, instance: &InstanceId) -> Option<Arc<View>> {
        self.instances.get(instance).map(|instance| instance.history.at(now))
    }

    /// Hardware addresses that the metadata service of an instance lists although their interfaces
    /// are gone; there is nothing below them.
    #[must_use]
    pub fn ghosts(&self, now: Time, instance: &InstanceId) -> Vec<Mac> {
        let ghosts = self.instances.get(instance).map(|instance| instance.ghosts.iter());
        let listed = ghosts.into_iter().flatten().filter(|ghost| ghost.until > now);
        listed.map(|ghost| ghost.mac).collect()
    }

    /// Lets the metadata service know, after its lag, what EC2 knows now.
    pub(super) fn show(&mut self, now: Time, id: &InstanceId) {
        let interfaces = interfaces_in_order(self, id);
        let Some(instance) = self.instances.get_mut(id) else { return };
        let shown = instance.history.newest();
        if shown.interfaces == interfaces {
            return;
        }
        let is_there = |mac: &Mac| interfaces.iter().any(|interface| interface.mac == *mac);
        let shown = shown.interfaces.iter().map(|interface| interface.mac);
        let gone: Vec<Mac> = shown.filter(|mac| !is_there(mac)).collect();
        let showing = self.faults.on_show(now, &instance.node, !gone.is_empty());
        let shown_from = now + self.spec.imds.lag + showing.later;
        let until = shown_from + showing.ghosts;
        instance.ghosts.retain(|ghost| ghost.until > now);
        instance.ghosts.extend(gone.into_iter().map(|mac| Ghost { mac, until }));
        instance.history.record(now, shown_from, View { interfaces });
    }
}

/// The interfaces of an instance, in the order of cards and devices.
pub(super) fn interfaces_in_order(vpc: &Vpc, id: &InstanceId) -> Vec<Interface> {
    let ids = vpc.instances.get(id).into_iter().flat_map(|instance| &instance.interfaces);
    let mut interfaces: Vec<Interface> =
        ids.filter_map(|eni| vpc.interfaces.get(eni)).cloned().collect();
    interfaces.sort_by_key(|interface| {
        interface.attachment.as_ref().map(|at| (at.card_index, at.device_index))
    });
    interfaces
}

// Only while something can lag is the past kept.
pub(super) fn watch_for_lag(vpc: &mut Vpc, now: Time) {
    match (vpc.faults.longest_lag(now), &vpc.lagging) {
        (Some(_), None) => vpc.lagging = Some(Lagging::new(vpc.interfaces.clone())),
        (None, Some(_)) => vpc.lagging = None,
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// Lets the metadata service show what EC2 knows now, as to a machine that has just booted.
pub(super) fn show_at_once(vpc: &mut Vpc, now: Time, id: &InstanceId) {
    let view = View { interfaces: interfaces_in_order(vpc, id) };
    if let Some(instance) = vpc.instances.get_mut(id) {
        instance.history = History::new(now, Arc::new(view));
        instance.ghosts.clear();
    }
}
