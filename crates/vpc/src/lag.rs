//! Reads that lag behind writes: interfaces as they were some time ago.

use super::{ids::EniId, interface::Interface, time::Time};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Interfaces as they were when somebody began to look, and every change since that is younger
/// than the longest lag.
#[derive(Clone, Debug)]
pub(super) struct Lagging {
    base: BTreeMap<EniId, Interface>,
    changes: VecDeque<(Time, EniId, Option<Interface>)>,
}

impl Lagging {
    pub(super) fn new(base: BTreeMap<EniId, Interface>) -> Self {
        Self { base, changes: VecDeque::new() }
    }

    pub(super) fn record(
        &mut self,
        now: Time,
        longest: Duration,
        id: &EniId,
        interface: Option<Interface>,
    ) {
        self.changes.push_back((now, id.clone(), interface));
        let is_old = |(at, _, _): &mut (Time, EniId, Option<Interface>)| *at + longest <= now;
        while let Some((_, id, interface)) = self.changes.pop_front_if(is_old) {
            put(&mut self.base, id, interface);
        }
    }

    pub(super) fn at(&self, time: Time) -> BTreeMap<EniId, Interface> {
        let mut interfaces = self.base.clone();
        for (_, id, interface) in self.changes.iter().take_while(|(at, _, _)| *at <= time) {
            put(&mut interfaces, id.clone(), interface.clone());
        }
        interfaces
    }
}

fn put(interfaces: &mut BTreeMap<EniId, Interface>, id: EniId, interface: Option<Interface>) {
    match interface {
        Some(interface) => interfaces.insert(id, interface),
        None => interfaces.remove(&id),
    };
}
