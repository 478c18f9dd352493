//! What the daemon knows and holds: the state under one lock, a way into the kernel, the settings.
//!
//! No threads here: those of the verbs, of repair and of the planner come in through [`Store`].

mod allocate;
mod attached;
mod desired;
mod forecast;
mod host;
mod orphans;
mod reaper;
mod state;
mod store;
mod tags;
mod unclear;

pub(crate) use allocate::{AllocateError, MOST_WAITING, Patience, outwaits};
pub(crate) use attached::Attached;
pub(crate) use desired::Desired;
pub(crate) use forecast::AddForecast;
pub(crate) use host::{HostNetwork, HostRules, direct};
pub(crate) use orphans::Orphans;
pub(crate) use reaper::{EndedPod, Queue as ReaperQueue, Reaper, queue as reaper_queue};
pub(crate) use state::State;
pub(crate) use store::Store;
pub(crate) use tags::WantedTags;
pub(crate) use unclear::Unclear;

use crate::{
    settings::Settings,
    tell::{events::Notices, report::AddFailure},
};
use anyhow::{Context, Result};
use net::{Mac, Netlink};
use pool::{EniId, Pool, Reason};
use record::{Identity, Journal};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// This node.
#[derive(Debug)]
pub(crate) struct Node {
    /// The settings in force.
    pub settings: Settings,
    /// Who this node was at the start.
    pub identity: Identity,
    /// Security groups of the primary interface, as last seen.
    pub primary_groups: watch::Sender<BTreeSet<String>>,
    /// The state under its lock.
    pub store: Store,
    /// The node's own part of the kernel's network.
    pub host: HostRules,
    /// Why a pod got no address, the last time that happened.
    pub add_failure: watch::Sender<Option<AddFailure>>,
    /// What whoever looks at the Node should know.
    pub notices: Notices,
    /// Whether Kubernetes has told of this node, or never will.
    pub heard: watch::Sender<bool>,
    /// Why the newest plan is what it is.
    pub planned: watch::Sender<Option<Reason>>,
    /// Where pods go whose DEL has come: what the kernel has of them is removed after it.
    pub reaper: Reaper,
    /// Attachments whose pods may be gone.
    pub orphans: Orphans,
    kernel: Mutex<Netlink>,
}

impl Node {
    /// Puts the parts together.
    pub(crate) fn new(
        settings: Settings,
        identity: Identity,
        primary_groups: BTreeSet<String>,
        host: HostNetwork,
        state: (Pool, Journal, BTreeMap<EniId, Attached>),
        kernel: Netlink,
        reaper: Reaper,
    ) -> Self {
        let (pool, journal, attached) = state;
        let tags = WantedTags::of(&settings, &identity.instance);
        Self {
            orphans: Orphans::new(settings.gone_after),
            settings,
            identity,
            primary_groups: watch::channel(primary_groups).0,
            store: Store::new(pool, journal, attached, tags),
            host: HostRules::new(host),
            add_failure: watch::channel(None).0,
            notices: Notices::default(),
            heard: watch::channel(false).0,
            planned: watch::channel(None).0,
            reaper,
            kernel: Mutex::new(kernel),
        }
    }

    /// The kernel, locked.
    pub(crate) fn kernel(&self) -> MutexGuard<'_, Netlink> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The primary interface, as the kernel can tell it: its hardware address and its own.
    pub(crate) fn primary(&self) -> (Mac, Ipv4Addr) {
        (self.identity.mac, self.host.network().firewall.primary)
    }

    /// Notes something else about who this node is. What follows it takes it from there at the next
    /// start; [`Self::identity`] stays what it was at this one.
    pub(crate) fn note_identity(&self, change: impl FnOnce(&mut Identity)) -> Result<()> {
        let mut state = self.store.state();
        let recorded = state.journal.snapshot().identity.clone();
        let mut identity = recorded.unwrap_or_else(|| self.identity.clone());
        change(&mut identity);
        state.journal.identity(&identity)
    }

    /// What the node's own network must be now.
    pub(crate) fn host_network(&self) -> HostNetwork {
        let mut host = self.host.network();
        let state = self.store.state();
        let staying = state.attached.values().filter(|eni| !eni.leaving);
        let ready = staying.filter_map(|eni| eni.kernel.as_ref());
        host.firewall.interfaces = ready.map(|eni| (eni.table, eni.link)).collect();
        host
    }

    /// Has the kernel's filter rules match what is desired now, in one transaction if they do not.
    /// Whether they did not.
    pub(crate) fn renew_firewall(&self) -> Result<bool> {
        let _replacing = self.host.replacing();
        let changed = self.host_network().firewall.keep().context("set up the filter rules")?;
        if changed {
            tracing::info!("filter rules are set up");
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests;
