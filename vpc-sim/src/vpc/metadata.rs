//! What an instance's metadata service shows: EC2's state, but late.

use super::{Vpc, ids::InstanceId, interface::Interface, time::Time};
use std::{collections::VecDeque, sync::Arc};

/// An instance's interfaces, as EC2 had them at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// In the order of cards and devices; the primary one first.
    pub interfaces: Vec<Interface>,
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
        if self.0.back().is_none_or(|(_, last)| **last != view) {
            self.0.push_back((shown_from, Arc::new(view)));
        }
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

    /// Lets the metadata service know, after its lag, what EC2 knows now.
    pub(super) fn show(&mut self, now: Time, id: &InstanceId) {
        let shown_from = now + self.spec.imds.lag;
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
        instance.history.record(now, shown_from, View { interfaces });
    }
}
