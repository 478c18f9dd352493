//! What the daemon knows: one lock around the pool and the journal, and a way into the kernel.

mod assign;
mod leaving;
mod outlook;

pub(crate) use assign::{AssignError, Patience};
pub(crate) use leaving::{Leaving, Reaper, queue};
pub(crate) use outlook::Outlook;

use crate::{
    imds::Identity,
    journal::{Attachment, Interface, Journal},
    settings::Settings,
};
use ipnetwork::Ipv4Network;
use net::Netlink;
use pool::{
    Action, Custody, Eni, EniId, Owner, Plan, Pool, Readiness, Refusal, Source, Spread, Time,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
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
    /// Since when the daemon waits for its device.
    pub since: Instant,
}

impl Attached {
    /// An interface whose device has not been looked for yet.
    pub(crate) fn new(is: Interface) -> Self {
        Self { is, kernel: None, since: Instant::now() }
    }

    fn readiness(&self) -> Readiness {
        if self.is.device_index == 0 || self.kernel.is_some() {
            Readiness::Ready
        } else {
            Readiness::Coming
        }
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
        let seen = self.attached.iter().map(|(id, it)| (id.clone(), eni(it))).collect();
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
    state: Mutex<State>,
    /// An address may have become free, or a verb has finished.
    changed: Condvar,
    kernel: Mutex<Netlink>,
    /// Links to remove behind the back of a DEL.
    reaper: Reaper,
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
        state: (Pool, Journal, BTreeMap<EniId, Attached>),
        kernel: Netlink,
        reaper: Reaper,
    ) -> Self {
        let (pool, journal, attached) = state;
        let mut state = State { pool, journal, attached, waiting: 0, busy: BTreeSet::new() };
        state.observe();
        Self {
            settings,
            identity,
            primary_groups,
            wake: Notify::new(),
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

    /// Forgets an interface.
    pub(crate) fn drop_interface(&self, id: &EniId) {
        self.change(id, |attached| drop(attached.remove(id)));
    }

    fn change(&self, id: &EniId, change: impl FnOnce(&mut BTreeMap<EniId, Attached>)) {
        let mut state = self.state();
        change(&mut state.attached);
        let now = state.attached.get(id).map(|eni| eni.is.clone());
        if let Err(error) = state.journal.interface(id, now) {
            // EC2 knows as well: the next start asks it.
            warn!(eni = %id, error = format!("{error:#}"), "note an interface");
        }
        state.observe();
        drop(state);
        self.changed.notify_all();
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

    /// Every attachment.
    pub(crate) fn attachments(&self) -> Vec<Attachment> {
        self.state().journal.book().attachments.values().cloned().collect()
    }

    /// Who has an address.
    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<Owner> {
        let state = self.state();
        let mut holders = state.pool.assignments().filter(|(_, it)| it.address == address);
        holders.next().map(|(owner, _)| owner.clone())
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

#[cfg(test)]
mod tests;
