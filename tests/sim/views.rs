//! How a node compares its record with the metadata when a daemon starts, as ours does.

use crate::{cloud::Cloud, node::Node};
use pool::{Block, EniId, Time};
use std::collections::{BTreeMap, BTreeSet};
use vpc::Interface;

impl Node {
    /// Interfaces that the last daemon was giving back.
    pub(crate) fn leaving(&self) -> Vec<EniId> {
        let went = self.journal.recent.iter().filter(|(_, it)| steps::leaves(it));
        let there = |id: &EniId| self.journal.interfaces.contains_key(id);
        went.map(|(id, _)| id.clone()).filter(there).collect()
    }

    /// Compares the record with what is seen, before anything is changed.
    pub(crate) fn compare(&mut self, cloud: &mut Cloud, now: Time) {
        self.comparing = true;
        let shown = cloud.metadata(now, self.number, &self.instance);
        let Some(shown) = shown else { return self.compare_again(now) };
        let of = |it: &Interface| (EniId(it.id.0.clone()), crate::node::blocks(it));
        let shown: BTreeMap<EniId, BTreeSet<Block>> = shown.iter().map(of).collect();
        let enis = &self.journal.interfaces;
        let same = |(id, is): (&EniId, &record::Interface)| shown.get(id) == Some(&is.blocks());
        let open = self.journal.recent.values().any(|it| it.asked.is_some());
        if !open && enis.len() == shown.len() && enis.iter().all(same) {
            self.comparing = false;
            return;
        }
        let shown = shown.into_keys().map(|id| (id, None)).collect();
        self.ask_what_is_attached(shown, cloud, now);
    }
}
