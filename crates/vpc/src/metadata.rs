//! What an instance's metadata service shows: EC2's state, but late.

use super::{Vpc, ids::InstanceId, interface::Interface, time::Time};
use net::Mac;
use std::{collections::VecDeque, sync::Arc};

/// An instance's interfaces, as EC2 had them at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// In the order of cards and devices; the primary one first.
    pub interfaces: Vec<Interface>,
}

/// What is listed although it is gone.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    mac: Mac,
    until: Time,
}

/// Views, each with the moment from which on it is shown.
#[derive(Clone, Debug)]
pub(super) struct History(VecDeque<(Time, Arc<View>)>);

impl History {
    pub(super) fn new(now: Time, view: Arc<View>) -> Self {
        Self(VecDeque::from([(now, view)]))
    }

    fn record(&mut self, now: Time, shown_from: Time, view: View) {
        // What nobody sees any more goes: the length is bounded by the changes within one lag.
        while self.0.get(1).is_some_and(|(from, _)| *from <= now) {
            self.0.pop_front();
        }
        self.0.push_back((shown_from, Arc::new(view)));
    }

    fn newest(&self) -> Arc<View> {
        self.0.back().map(|(_, view)| Arc::clone(view)).unwrap_or_default()
    }

    fn at(&self, now: Time) -> Arc<View> {
        let shown = self.0.iter().rev().find(|(from, _)| *from <= now);
        shown.or_else(|| self.0.front()).map(|(_, view)| Arc::clone(view)).unwrap_or_default()
    }
}

impl Vpc {
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
        let Some(instance) = self.instances.get_mut(id) else { return };
        let mut interfaces: Vec<Interface> = instance
            .interfaces
            .iter()
            .filter_map(|eni| self.interfaces.get(eni))
            .cloned()
            .collect();
        interfaces.sort_by_key(|interface| {
            interface.attachment.as_ref().map(|at| (at.card_index, at.device_index))
        });
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
