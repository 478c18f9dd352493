//! The daemon's state: one lock around pool and journal, and the netlink socket of the node.

mod allocate;
mod attached;
mod forecast;
mod leaving;

pub(crate) use allocate::{AllocateError, Patience};
pub(crate) use attached::Attached;
pub(crate) use forecast::AddForecast;
pub(crate) use leaving::{Leaving, Reaper, queue};

use crate::{kernel::desired::HostNetwork, pods::orphans::Orphans, settings::Settings};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use net::Netlink;
use pool::{
    Action, Eni, EniId, Jitter, Lifetime, Owner, Ownership, Plan, Pool, Refusal, Source, Time,
};
use record::{Attachment, Identity, Journal, Origin};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Notify, watch};
use tracing::warn;

/// What one lock guards. Nothing waits for anything else while it is held.
#[derive(Debug)]
pub(crate) struct State {
    /// Which addresses there are, and whose they are.
    pub pool: Pool,
    /// The record of it.
    pub journal: Journal,
    /// Interfaces of this node.
    pub attached: BTreeMap<EniId, Attached>,
    /// Pods that wait for an address.
    waiting: usize,
    /// Pods of this node that Kubernetes calls pending: namespace and name.
    pending: BTreeSet<(String, String)>,
    /// Attachments that a verb is working on.
    busy: BTreeSet<Owner>,
}

impl State {
    /// Attachments that a verb is working on.
    pub(crate) fn busy(&self) -> &BTreeSet<Owner> {
        &self.busy
    }

    /// Tells the pool what is attached.
    pub(crate) fn observe(&mut self) {
        let eni = |it: &Attached| Eni {
            device_index: it.record.device_index,
            subnet: it.record.subnet.clone(),
            groups: it.record.groups.clone(),
            blocks: it.record.blocks(),
            readiness: it.readiness(),
            ownership: match it.record.origin {
                Origin::Ours => Ownership::Ours,
                Origin::Foreign => Ownership::Foreign,
                Origin::Unmanaged => Ownership::Unmanaged,
                Origin::Unknown => Ownership::Unknown,
            },
            lifetime: if it.record.outlives_instance { Lifetime::Own } else { Lifetime::Instance },
        };
        // Pods get addresses of the first card only, as without the peer's ENABLE_MULTI_NIC.
        let first = self.attached.iter().filter(|(_, it)| it.record.card == 0);
        let seen = first.map(|(id, it)| (id.clone(), eni(it))).collect();
        self.pool.observe(seen, now());
    }

    /// Tells the pool how many pods have no address and want one. A pod that is pending waits for an
    /// address, is about to ask for one, or has one and waits for its images.
    fn count_demand(&mut self) {
        self.pool.set_waiting(self.waiting);
        let served: BTreeSet<(&str, &str)> = if self.pending.is_empty() {
            BTreeSet::new()
        } else {
            let attachments = self.journal.snapshot().attachments.values();
            attachments.map(|it| (it.pod_namespace.as_str(), it.pod_name.as_str())).collect()
        };
        let without = |(namespace, name): &&(String, String)| {
            !served.contains(&(namespace.as_str(), name.as_str()))
        };
        let pending = self.pending.iter().filter(without).count();
        self.pool.set_expected(pending.saturating_sub(self.waiting));
    }
}

/// This node.
#[derive(Debug)]
pub(crate) struct Node {
    /// The settings in force.
    pub settings: Settings,
    /// Who this node is.
    pub identity: Identity,
    /// Security groups of the primary interface.
    pub primary_groups: Vec<String>,
    /// Wakes the planner.
    pub wake: Notify,
    /// Why a pod got no address, the last time that happened.
    pub add_failure: watch::Sender<Option<AddFailure>>,
    host: Mutex<HostNetwork>,
    /// Held while the filter rules are replaced, so that the newest come last.
    replacing: Mutex<()>,
    state: Mutex<State>,
    /// An address may have become free, or a verb has finished.
    changed: Condvar,
    kernel: Mutex<Netlink>,
    /// Removes links after their DEL has answered.
    reaper: Reaper,
    /// Attachments whose pods may be gone.
    pub orphans: Orphans,
}

/// Why a pod got no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddFailure {
    /// The word for the pool's reason.
    pub reason: &'static str,
    /// What the pod was told.
    pub message: String,
}

/// The lock of an attachment: no other verb works on it until it is dropped.
#[derive(Debug)]
pub(crate) struct AttachmentLock<'a> {
    node: &'a Node,
    owner: Owner,
}

impl Drop for AttachmentLock<'_> {
    fn drop(&mut self) {
        self.node.state().busy.remove(&self.owner);
        self.node.changed.notify_all();
    }
}

impl Node {
    /// Puts the parts together.
    pub(crate) fn new(
        settings: Settings,
        identity: Identity,
        primary_groups: Vec<String>,
        host: HostNetwork,
        state: (Pool, Journal, BTreeMap<EniId, Attached>),
        kernel: Netlink,
        reaper: Reaper,
    ) -> Self {
        let (pool, journal, attached) = state;
        let mut state = State {
            pool,
            journal,
            attached,
            waiting: 0,
            pending: BTreeSet::new(),
            busy: BTreeSet::new(),
        };
        state.observe();
        Self {
            settings,
            identity,
            primary_groups,
            wake: Notify::new(),
            add_failure: watch::channel(None).0,
            host: Mutex::new(host),
            replacing: Mutex::new(()),
            state: Mutex::new(state),
            changed: Condvar::new(),
            kernel: Mutex::new(kernel),
            reaper,
            orphans: Orphans::default(),
        }
    }

    /// The state, locked. A thread that panicked while it held the lock left it whole: every change
    /// to it is a single call.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the node's own network must be now.
    pub(crate) fn host_network(&self) -> HostNetwork {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = self.state();
        let staying = state.attached.values().filter(|eni| !eni.leaving);
        let ready = staying.filter_map(|eni| eni.kernel.as_ref());
        host.firewall.interfaces = ready.map(|eni| (eni.table, eni.link)).collect();
        host
    }

    /// Notes the blocks of the VPC, and has the filter rules follow.
    pub(crate) fn reach_directly(&self, blocks: Vec<Ipv4Network>) -> Result<()> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).firewall.direct = blocks;
        self.renew_firewall().map(drop)
    }

    /// Makes the kernel's filter rules match what is desired now, in one transaction if they do
    /// not. Returns whether they did not.
    pub(crate) fn renew_firewall(&self) -> Result<bool> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.host_network().firewall.keep().context("set up the filter rules")?;
        if changed {
            tracing::info!("filter rules are set up");
        }
        Ok(changed)
    }

    /// Notes a new name of the primary interface's link.
    pub(crate) fn rename_primary(&self, name: String) {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).firewall.primary_link = name;
    }

    /// The kernel, locked.
    pub(crate) fn kernel(&self) -> MutexGuard<'_, Netlink> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where addresses come from from now on.
    pub(crate) fn draw_from(&self, source: Source) {
        let mut state = self.state();
        if *state.pool.source() == source {
            return;
        }
        tracing::info!(?source, "addresses come from");
        if let Err(error) = state.journal.source(&source) {
            warn!(error = format!("{error:#}"), "note the ENIConfig");
        }
        state.pool.draw_from(source);
        drop(state);
        self.wake.notify_one();
    }

    /// How many pods kubelet lets run here.
    pub(crate) fn set_max_pods(&self, pods: Option<usize>) {
        self.state().pool.set_max_pods(pods);
        self.wake.notify_one();
    }

    /// Which pods of this node Kubernetes calls pending.
    pub(crate) fn set_pending(&self, pods: BTreeSet<(String, String)>) {
        let mut state = self.state();
        state.pending = pods;
        state.count_demand();
        drop(state);
        self.wake.notify_one();
    }

    /// How many nodes share the account's budget of calls with this one.
    pub(crate) fn set_cluster_size(&self, nodes: u32) {
        let instance = self.identity.instance.bytes();
        // A number of this instance's own, for pauses that differ from node to node.
        let seed = instance.fold(0, |seed: u64, byte| seed.rotate_left(7) ^ u64::from(byte));
        self.state().pool.set_jitter(Jitter { nodes, seed });
    }

    /// What should change now; from here on it counts as under way.
    pub(crate) fn begin(&self) -> Plan {
        let mut state = self.state();
        let plan = state.pool.plan(now());
        for action in &plan.actions {
            state.pool.started(action);
        }
        plan
    }

    /// Whether pods wait for an address.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.state().waiting > 0
    }

    /// Notes how an action ended, and lets the planner think again.
    pub(crate) fn ended(&self, action: &Action, refusal: Option<Refusal>) {
        let mut state = self.state();
        match refusal {
            None => state.pool.succeeded(action),
            Some(refusal) => state.pool.refused(action, refusal, now()),
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until no other verb works on an attachment; `None` when the deadline passes.
    pub(crate) fn lock_attachment(
        &self,
        owner: &Owner,
        deadline: Instant,
    ) -> Option<AttachmentLock<'_>> {
        let mut state = self.state();
        while !state.busy.insert(owner.clone()) {
            if Instant::now() >= deadline {
                return None;
            }
            state = self.wait(state, deadline);
        }
        Some(AttachmentLock { node: self, owner: owner.clone() })
    }

    /// The attachment of an owner, if it has one.
    pub(crate) fn attachment(&self, owner: &Owner) -> Option<Attachment> {
        self.state().journal.snapshot().attachments.get(owner).cloned()
    }

    /// Every attachment.
    pub(crate) fn attachments(&self) -> Vec<Attachment> {
        self.state().journal.snapshot().attachments.values().cloned().collect()
    }

    /// Who has an address.
    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<Owner> {
        let state = self.state();
        let mut holders = state.pool.allocations().filter(|(_, it)| it.address == address);
        holders.next().map(|(owner, _)| owner.clone())
    }

    /// Waits until something changes, or an address may have cooled, or the deadline.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        let left = deadline.saturating_duration_since(Instant::now()).min(COOLED);
        let (state, _) =
            self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        state
    }
}

/// Nobody says when an address has cooled: those who wait look again this often.
const COOLED: Duration = Duration::from_millis(250);

/// The time, for the pool.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is a machine without a clock: all addresses have cooled.
    Time(since.unwrap_or_default())
}

#[cfg(test)]
mod tests;
