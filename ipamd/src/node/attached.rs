//! Interfaces of this node, as the daemon keeps them.

use super::{Node, now};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use net::Layout;
use pool::{Action, Change, EniId, Readiness, RecentCalls, Time};
use record::Interface;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use tracing::warn;

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

    /// Changes an interface, if it is still attached.
    pub(crate) fn change_interface(&self, id: &EniId, change: impl FnOnce(&mut Attached)) {
        self.change(id, |attached| {
            if let Some(eni) = attached.get_mut(id) {
                change(eni);
            }
        });
    }

    /// What calls for an interface changed lately.
    pub(crate) fn recent(&self, id: &EniId) -> RecentCalls {
        self.state().journal.snapshot().recent.get(id).cloned().unwrap_or_default()
    }

    /// Interfaces that are on record and being given back.
    pub(crate) fn leaving(&self) -> Vec<EniId> {
        let state = self.state();
        let recent = state.journal.snapshot().recent.iter();
        let went = recent.filter(|(_, it)| matches!(it.eni, Some((Change::Removed, _))));
        went.map(|(id, _)| id.clone()).filter(|id| state.attached.contains_key(id)).collect()
    }

    /// Keeps pods off what the last daemon was giving back, from before the first one asks.
    pub(crate) fn hold_leaving_back(&self) {
        for eni in self.leaving() {
            self.state().pool.started(&Action::DeleteEni { eni });
        }
    }

    /// Notes what a call for an interface changes.
    ///
    /// # Errors
    /// It cannot be put on record: what must be there before a call is made is not.
    pub(crate) fn note_call(
        &self,
        id: &EniId,
        change: impl FnOnce(&mut RecentCalls, Time),
    ) -> Result<()> {
        let mut state = self.state();
        let now = now();
        let mut of = state.journal.snapshot().recent.clone();
        change(of.entry(id.clone()).or_default(), now);
        for (id, mut recent) in of {
            // One that comes is noted before it is on record itself.
            let comes = matches!(recent.eni, Some((Change::Added, _)));
            let on_record = state.attached.contains_key(&id) || comes;
            let forgotten = recent.forget(on_record, now);
            let noted = state.journal.recent(&id, (!forgotten).then_some(&recent));
            noted.with_context(|| format!("note a call for {id}"))?;
        }
        Ok(())
    }

    /// The same after a call, when it is too late for anything else than a line in the log.
    pub(crate) fn note_answer(&self, id: &EniId, change: impl FnOnce(&mut RecentCalls, Time)) {
        if let Err(error) = self.note_call(id, change) {
            warn!(error = format!("{error:#}"), "note an answer of EC2");
        }
    }

    /// Notes how an interface is set up, before pods can use it.
    pub(crate) fn note_set_up(&self, id: &EniId, kernel: net::eni::Eni) {
        if let Some(eni) = self.state().attached.get_mut(id) {
            eni.kernel = Some(kernel);
        }
    }

    /// Forgets an interface.
    pub(crate) fn drop_interface(&self, id: &EniId) {
        self.change(id, |attached| drop(attached.remove(id)));
    }

    fn change(&self, id: &EniId, change: impl FnOnce(&mut BTreeMap<EniId, Attached>)) {
        let mut state = self.state();
        change(&mut state.attached);
        drop(state);
        // Before the pool knows of new prefixes: their pods leave by these rules.
        self.route_blocks(id);
        let mut state = self.state();
        let now = state.attached.get(id).map(|eni| eni.record.clone());
        if let Err(error) = state.journal.interface(id, now) {
            // EC2 knows as well: the next start asks it.
            warn!(eni = %id, error = format!("{error:#}"), "note an interface");
        }
        state.observe();
        drop(state);
        self.changed.notify_all();
    }

    /// Gives the kernel the rules for the prefixes that an interface has now.
    fn route_blocks(&self, id: &EniId) {
        let ops = {
            let mut state = self.state();
            let Some(eni) = state.attached.get_mut(id) else { return };
            let blocks = self.blocks_with_rules(&eni.record);
            let Some(kernel) = &mut eni.kernel else { return };
            let ops = kernel.change_cidrs(&blocks);
            kernel.cidrs = blocks;
            ops
        };
        if ops.is_empty() {
            return;
        }
        if let Err(error) = self.kernel().apply(&ops) {
            warn!(eni = %id, error = %error, "route from the prefixes of an interface");
        }
    }

    /// Prefixes of an interface, where they have rules.
    pub(crate) fn blocks_with_rules(&self, eni: &Interface) -> BTreeSet<Ipv4Network> {
        match self.settings.layout {
            Layout::Flat => eni.prefix_blocks(),
            Layout::Peer => BTreeSet::new(),
        }
    }

    /// An interface, if it is attached.
    pub(crate) fn interface(&self, id: &EniId) -> Option<Attached> {
        self.state().attached.get(id).cloned()
    }

    /// The block of a subnet in which an interface of this node is already.
    pub(crate) fn subnet_cidr(&self, subnet: &str) -> Option<Ipv4Network> {
        let state = self.state();
        state
            .attached
            .values()
            .find(|eni| eni.record.subnet == subnet)
            .and_then(|eni| eni.record.subnet_cidr)
    }
}
