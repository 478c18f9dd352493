//! Actions that were begun and have not ended: those that somebody carries out, and those that are open.

use crate::{Action, Amount, EniId, Time, action::Target, backoff::Backoff};
use std::collections::{BTreeMap, BTreeSet};

/// What is under way, by what it works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Underway {
    actions: BTreeMap<Target, Action>,
    /// Those that nobody carries out.
    open: BTreeSet<Target>,
}

impl Underway {
    /// Somebody carries it out from now on.
    pub(crate) fn begin(&mut self, action: &Action) {
        self.open.remove(&action.target());
        self.actions.insert(action.target(), action.clone());
    }

    /// Nobody carries it out, and it has not ended.
    pub(crate) fn leave_open(&mut self, action: &Action) {
        self.begin(action);
        self.open.insert(action.target());
    }

    pub(crate) fn end(&mut self, action: &Action) {
        self.open.remove(&action.target());
        self.actions.remove(&action.target());
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    pub(crate) fn on(&self, target: &Target) -> Option<&Action> {
        self.actions.get(target)
    }

    /// What is done with an interface.
    pub(crate) fn on_eni(&self, eni: &EniId) -> Option<&Action> {
        let alone = self.on(&Target::Eni(eni.clone()));
        alone.or_else(|| self.all().find(|action| action.tags(eni)))
    }

    /// Those that nobody carries out.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Action> {
        self.open.iter().filter_map(|target| self.on(target))
    }

    /// Those that somebody carries out, or may from now on: the others rest after a refusal.
    pub(crate) fn moving(&self, backoff: &Backoff, now: Time) -> impl Iterator<Item = &Action> {
        let rests = move |target: &Target, action: &Action| {
            self.open.contains(target) && backoff.of_kind(action.kind(), now).is_some()
        };
        let all = self.actions.iter().filter(move |(target, action)| !rests(target, action));
        all.map(|(_, action)| action)
    }

    /// What those will bring.
    pub(crate) fn coming(&self, backoff: &Backoff, now: Time) -> impl Iterator<Item = Amount> {
        self.moving(backoff, now).filter_map(Action::amount)
    }

    /// Device indexes at which interfaces are being attached.
    pub(crate) fn device_indexes(&self) -> impl Iterator<Item = u32> {
        self.actions.keys().filter_map(|target| match target {
            Target::DeviceIndex(index) => Some(*index),
            Target::Eni(_) | Target::Lifetime(_) | Target::Tags(_) | Target::Subnets => None,
        })
    }
}
