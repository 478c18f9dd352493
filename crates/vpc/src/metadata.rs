//! What an instance's metadata service shows: EC2's state, but late.

use super::{interface::Interface, time::Time};
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
    pub(super) mac: Mac,
    pub(super) until: Time,
}

/// Views, each with the moment from which on it is shown.
#[derive(Clone, Debug)]
pub(super) struct History(VecDeque<(Time, Arc<View>)>);

impl History {
    pub(super) fn new(now: Time, view: Arc<View>) -> Self {
        Self(VecDeque::from([(now, view)]))
    }

    pub(super) fn record(&mut self, now: Time, shown_from: Time, view: View) {
        // What nobody sees any more goes: the length is bounded by the changes within one lag.
        while self.0.get(1).is_some_and(|(from, _)| *from <= now) {
            self.0.pop_front();
        }
        self.0.push_back((shown_from, Arc::new(view)));
    }

    pub(super) fn newest(&self) -> Arc<View> {
        self.0.back().map(|(_, view)| Arc::clone(view)).unwrap_or_default()
    }

    pub(super) fn at(&self, now: Time) -> Arc<View> {
        let shown = self.0.iter().rev().find(|(from, _)| *from <= now);
        shown.or_else(|| self.0.front()).map(|(_, view)| Arc::clone(view)).unwrap_or_default()
    }
}
