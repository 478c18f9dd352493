//! The state under its lock, and who may enter: verbs, the planner, and whoever asks.

use super::{Attached, State, WantedTags};
use crate::clock::now;
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use pool::{Action, Change, EniId, Owner, Plan, Pool, RecentCalls, Refusal, Source, Time};
use record::{Attachment, Journal};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    process,
    sync::{Condvar, Mutex, MutexGuard, TryLockError},
    thread,
    time::{Duration, Instant},
};
use steps::is_open;
use tokio::sync::Notify;
use tracing::warn;

/// Nobody says when an address has cooled: those who wait look again this often.
const COOLED: Duration = Duration::from_millis(250);

/// How often to look whether the state can be had: nobody holds it for longer than a write to the
/// record takes.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The state, and what wakes those who wait for it to change.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    /// Wakes the planner.
    pub wake: Notify,
    /// Pods that are on record have changed.
    pub recorded: Notify,
    /// Interfaces have changed, or what they carry.
    pub interfaces: Notify,
    /// An address may have become free, or a verb has finished.
    changed: Condvar,
}

/// The lock of an attachment: no other verb works on it until it is dropped.
#[derive(Debug)]
pub(crate) struct AttachmentLock<'a> {
    store: &'a Store,
    owner: Owner,
}

impl Drop for AttachmentLock<'_> {
    fn drop(&mut self) {
        self.store.state().busy.remove(&self.owner);
        self.store.changed.notify_all();
    }
}

impl Store {
    /// The state of a daemon that starts.
    pub(super) fn new(
        pool: Pool,
        journal: Journal,
        attached: BTreeMap<EniId, Attached>,
        tags: WantedTags,
    ) -> Self {
        let mut state = State {
            pool,
            journal,
            attached,
            occupied: BTreeMap::new(),
            tags,
            waiting: 0,
            pending: BTreeSet::new(),
            held: BTreeMap::new(),
            outside: BTreeSet::new(),
            busy: BTreeSet::new(),
            ending: false,
        };
        state.observe();
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            recorded: Notify::new(),
            interfaces: Notify::new(),
            changed: Condvar::new(),
        }
    }

    /// The state, locked. A thread that panicked while it held the lock may have left half a change:
    /// the record has what is true, and the next daemon reads it.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|_| process::abort())
    }

    /// The state, locked; `None` when somebody else holds it until the deadline.
    pub(super) fn state_until(&self, deadline: Instant) -> Option<MutexGuard<'_, State>> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(_)) => process::abort(),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Changes the state, and lets the planner think again.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.wake.notify_one();
    }

    /// Waits until something changes, or an address may have cooled, or the deadline.
    pub(super) fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        let left = deadline.saturating_duration_since(Instant::now()).min(COOLED);
        let (state, _) =
            self.changed.wait_timeout(state, left).unwrap_or_else(|_| process::abort());
        state
    }

    /// Has those who wait for an address wait no more: this daemon ends.
    pub(crate) fn end_waits(&self) {
        self.state().ending = true;
        self.changed.notify_all();
    }

    /// Wakes those who wait for an address.
    pub(super) fn wake_waiting(&self) {
        self.changed.notify_all();
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
        Some(AttachmentLock { store: self, owner: owner.clone() })
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

    /// Whether pods wait for an address.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.state().waiting > 0
    }

    /// Notes that the kernel has nothing of an address any more.
    pub(crate) fn unquarantine(&self, address: Ipv4Addr) {
        self.update(|state| {
            // Somebody else may use it whom nobody knows: that ends apart.
            if !state.held.contains_key(&address) {
                state.pool.unquarantine(address, now());
            }
        });
        self.wake_waiting();
    }

    /// An interface, if it is attached.
    pub(crate) fn interface(&self, id: &EniId) -> Option<Attached> {
        self.state().attached.get(id).cloned()
    }

    /// Device index and subnet of an interface, if it is attached.
    pub(crate) fn device_and_subnet(&self, id: &EniId) -> Option<(u32, String)> {
        let state = self.state();
        let record = &state.attached.get(id)?.record;
        Some((record.device_index, record.subnet.clone()))
    }

    /// The CIDR of a subnet in which an interface of this node is already.
    pub(crate) fn subnet_cidr(&self, subnet: &str) -> Option<Ipv4Network> {
        let state = self.state();
        let mut enis = state.attached.values();
        enis.find(|eni| eni.record.subnet == subnet).and_then(|eni| eni.record.subnet_cidr)
    }

    /// What calls for an interface changed lately.
    pub(crate) fn recent(&self, id: &EniId) -> RecentCalls {
        self.state().journal.snapshot().recent.get(id).cloned().unwrap_or_default()
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
            // One that is being attached is noted before it is on record itself.
            let added = matches!(recent.eni, Some((Change::Added, _)));
            let on_record = state.attached.contains_key(&id) || added;
            let forgotten = recent.forget(on_record, now);
            let noted = state.journal.recent(&id, (!forgotten).then_some(&recent));
            noted.with_context(|| format!("note a call for {id}"))?;
        }
        Ok(())
    }

    /// Where addresses come from from now on.
    pub(crate) fn draw_from(&self, source: Source) {
        let mut state = self.state();
        if *state.pool.source() == source {
            return;
        }
        tracing::info!(?source, "addresses come from");
        if let Err(error) = state.journal.source(&source) {
            warn!(error = format!("{error:#}"), "failed to note the ENIConfig");
        }
        state.pool.draw_from(source);
        drop(state);
        self.wake.notify_one();
    }

    /// What should change now; from here on it counts as under way.
    pub(crate) fn begin(&self) -> Plan {
        let mut state = self.state();
        state.note_unfinished();
        let plan = state.pool.plan(now());
        for action in &plan.actions {
            state.pool.started(action);
        }
        plan
    }

    /// Notes how an action ended, and lets the planner think again.
    pub(crate) fn ended(&self, action: &Action, refusal: Option<Refusal>) {
        self.update(|state| {
            let known = state.journal.snapshot();
            match refusal {
                None => state.pool.succeeded(action),
                Some(refusal) if is_open(action, &known.intents, &known.recent) => {
                    state.pool.left_open(action, refusal, now());
                }
                Some(refusal) => state.pool.refused(action, refusal, now()),
            }
        });
    }
}
