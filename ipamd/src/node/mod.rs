//! What the daemon knows: one lock around the pool and the journal, and a way into the kernel.

mod assign;

pub(crate) use assign::{AssignError, Patience};

use crate::{
    imds::Identity,
    journal::{Attachment, Interface, Journal},
    settings::Settings,
    wanted::HostNetwork,
};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use net::{Layout, Netlink, Op};
use pool::{
    Action, Custody, Eni, EniId, Owner, Plan, Pool, Readiness, Refusal, Source, Spread, Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Notify;
use tracing::warn;

/// An interface of this node, as the daemon keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    /// What EC2 told us; this part is on record.
    pub is: Interface,
    /// The interface in the kernel, once it is set up; the primary one needs nothing.
    pub kernel: Option<net::eni::Eni>,
    /// Filter rules know it as well: pods can use it.
    pub ready: bool,
    /// Since when the daemon waits for its device.
    pub since: Instant,
}

impl Attached {
    /// An interface whose device has not been looked for yet.
    pub(crate) fn new(is: Interface) -> Self {
        Self { is, kernel: None, ready: false, since: Instant::now() }
    }

    fn readiness(&self) -> Readiness {
        if self.is.is_primary() || self.ready { Readiness::Ready } else { Readiness::Coming }
    }
}

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
    /// Attachments that a verb is working on.
    busy: BTreeSet<Owner>,
}

impl State {
    /// Tells the pool what is attached.
    pub(crate) fn observe(&mut self) {
        let eni = |it: &Attached| Eni {
            device_index: it.is.device_index,
            subnet: it.is.subnet.clone(),
            groups: it.is.groups.clone(),
            blocks: it.is.blocks(),
            readiness: it.readiness(),
            custody: if it.is.foreign { Custody::Foreign } else { Custody::Ours },
        };
        // Pods get addresses of the first card only, as without the peer's ENABLE_MULTI_NIC.
        let first = self.attached.iter().filter(|(_, it)| it.is.card == 0);
        let seen = first.map(|(id, it)| (id.clone(), eni(it))).collect();
        self.pool.observe(seen, now());
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
    host: Mutex<HostNetwork>,
    /// Held while the filter rules are replaced, so that the newest come last.
    replacing: Mutex<()>,
    state: Mutex<State>,
    /// An address may have become free, or a verb has finished.
    changed: Condvar,
    kernel: Mutex<Netlink>,
    /// Links to remove behind the back of a DEL.
    reaper: mpsc::SyncSender<Op>,
}

/// A turn at an attachment: no other verb works on it until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    node: &'a Node,
    owner: Owner,
}

impl Drop for Turn<'_> {
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
        reaper: mpsc::SyncSender<Op>,
    ) -> Self {
        let (pool, journal, attached) = state;
        let mut state = State { pool, journal, attached, waiting: 0, busy: BTreeSet::new() };
        state.observe();
        Self {
            settings,
            identity,
            primary_groups,
            wake: Notify::new(),
            host: Mutex::new(host),
            replacing: Mutex::new(()),
            state: Mutex::new(state),
            changed: Condvar::new(),
            kernel: Mutex::new(kernel),
            reaper,
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
        let ready = state.attached.values().filter_map(|eni| eni.kernel.as_ref());
        host.firewall.interfaces = ready.map(|eni| (eni.table, eni.link)).collect();
        host
    }

    /// Notes the blocks of the VPC, and has the filter rules follow.
    pub(crate) fn reach_directly(&self, blocks: Vec<Ipv4Network>) -> Result<()> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).firewall.direct = blocks;
        self.renew_firewall()
    }

    /// Has the kernel's filter rules match what is wanted now, in one transaction if they do not.
    pub(crate) fn renew_firewall(&self) -> Result<()> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.host_network().firewall.keep().context("set up the filter rules")?;
        if changed {
            tracing::info!("filter rules are set up");
        }
        Ok(())
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

    /// How many nodes share the account's budget of calls with this one.
    pub(crate) fn set_cluster_size(&self, nodes: u32) {
        let instance = self.identity.instance.bytes();
        // A number of this instance's own, for pauses that differ from node to node.
        let seed = instance.fold(0, |seed: u64, byte| seed.rotate_left(7) ^ u64::from(byte));
        self.state().pool.set_spread(Spread { nodes, seed });
    }

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
        let now = state.attached.get(id).map(|eni| eni.is.clone());
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
            let blocks = self.blocks_with_rules(&eni.is);
            let Some(kernel) = &mut eni.kernel else { return };
            let ops = kernel.change_blocks(&blocks);
            kernel.blocks = blocks;
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
            .find(|eni| eni.is.subnet == subnet)
            .and_then(|eni| eni.is.subnet_cidr)
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
    pub(crate) fn turn(&self, owner: &Owner, deadline: Instant) -> Option<Turn<'_>> {
        let mut state = self.state();
        while !state.busy.insert(owner.clone()) {
            if Instant::now() >= deadline {
                return None;
            }
            state = self.wait(state, deadline);
        }
        Some(Turn { node: self, owner: owner.clone() })
    }

    /// The attachment of an owner, if it has one.
    pub(crate) fn attachment(&self, owner: &Owner) -> Option<Attachment> {
        self.state().journal.book().attachments.get(owner).cloned()
    }

    /// Takes an address back: it rests from now on.
    pub(crate) fn release(&self, owner: &Owner) -> Result<()> {
        let mut state = self.state();
        let now = now();
        state.journal.released(owner, now)?;
        state.pool.release(owner, now);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Removes a link without waiting for it: that takes the kernel twenty milliseconds.
    pub(crate) fn reap(&self, removal: Op) {
        if let Err(mpsc::TrySendError::Full(op) | mpsc::TrySendError::Disconnected(op)) =
            self.reaper.try_send(removal)
            && let Err(error) = self.kernel().apply(&[op])
        {
            warn!(error = %error, "remove a link");
        }
    }

    /// Waits until something changes, or an address may have rested, or the deadline.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        let left = deadline.saturating_duration_since(Instant::now()).min(RESTED);
        let (state, _) =
            self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        state
    }
}

/// Nobody says when an address has rested: those who wait look again this often.
const RESTED: Duration = Duration::from_millis(250);

/// The time, for the pool.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is a machine without a clock: all addresses have rested.
    Time(since.unwrap_or_default())
}
