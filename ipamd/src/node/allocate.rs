//! Allocates an address to an attachment: from the pool, after a wait if need be, and on record.

use super::{Node, State, now};
use crate::tell::{
    metrics,
    report::{self, AddFailure},
};
use net::{EgressSelector, op::MAIN_TABLE};
use pool::{Allocation, NoAddress, Owner, Pool, Reason, Time};
use record::Attachment;
use std::{
    sync::MutexGuard,
    time::{Duration, Instant},
};

/// Why no address could be allocated.
#[derive(Debug)]
pub(crate) enum AllocateError {
    /// There is none, and none came in time.
    NoAddress {
        /// What the pool says.
        none: NoAddress,
        /// Why there are no more.
        reason: Reason,
        /// When this was said.
        at: Time,
    },
    /// The caller is gone: nobody waits for the answer.
    CallerLeft,
    /// This daemon ends: the next one is to be asked.
    Ending,
    /// It could not be put on record.
    Journal(anyhow::Error),
}

/// Who waits for an address, and how long.
#[derive(Clone, Copy)]
pub(crate) struct Patience<'a> {
    /// When it ends.
    pub deadline: Instant,
    /// Whether the caller is gone: runtimes kill a plugin that takes too long.
    pub caller_gone: &'a dyn Fn() -> bool,
}

impl Node {
    /// Gives an attachment an address and puts that on record. Waits for one with patience; returns
    /// how long as well.
    ///
    /// `attach` makes the attachment of what the pool allocates.
    pub(crate) fn allocate(
        &self,
        owner: &Owner,
        patience: Patience<'_>,
        attach: impl FnOnce(&Allocation, u32, EgressSelector) -> Attachment,
    ) -> (Result<Attachment, AllocateError>, Duration) {
        let mut waited = Duration::ZERO;
        let allocated = self.allocate_in_time(owner, patience, attach, &mut waited);
        (allocated, waited)
    }

    fn allocate_in_time(
        &self,
        owner: &Owner,
        patience: Patience<'_>,
        attach: impl FnOnce(&Allocation, u32, EgressSelector) -> Attachment,
        waited: &mut Duration,
    ) -> Result<Attachment, AllocateError> {
        let mut state = self.store.state();
        if let Some(known) = state.journal.snapshot().attachments.get(owner) {
            return Ok(known.clone());
        }
        let allocation = match state.pool.allocate(owner.clone(), now()) {
            Ok(allocation) => allocation,
            Err(none) => {
                let since = Instant::now();
                state.begins_to_wait();
                self.store.wake.notify_one();
                let (woken, allocation) = self.wait_for_address(state, owner, patience, none);
                state = woken;
                state.waits_no_more();
                *waited = since.elapsed();
                metrics::waited(*waited);
                allocation?
            }
        };
        let table =
            state.attached.get(&allocation.eni).map_or(MAIN_TABLE, |eni| eni.record.table());
        let egress = state.egress(&self.settings, &allocation, table);
        let attachment = attach(&allocation, table, egress);
        if let Err(error) = state.journal.allocated(attachment.clone()) {
            state.pool.release(owner, now());
            return Err(AllocateError::Journal(error));
        }
        state.count_demand();
        drop(state);
        self.store.recorded.notify_one();
        // One free address fewer: perhaps below the target.
        self.store.wake.notify_one();
        Ok(attachment)
    }

    fn wait_for_address<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        owner: &Owner,
        patience: Patience<'_>,
        mut none: NoAddress,
    ) -> (MutexGuard<'a, State>, Result<Allocation, AllocateError>) {
        loop {
            if (patience.caller_gone)() {
                return (state, Err(AllocateError::CallerLeft));
            }
            if state.ending {
                return (state, Err(AllocateError::Ending));
            }
            if Instant::now() >= patience.deadline {
                let late = self.no_address(&state.pool, none);
                return (state, Err(late));
            }
            state = self.store.wait(state, patience.deadline);
            match state.pool.allocate(owner.clone(), now()) {
                Ok(allocation) => return (state, Ok(allocation)),
                Err(still) => none = still,
            }
        }
    }

    /// Why a pod gets none, counted and told.
    fn no_address(&self, pool: &Pool, none: NoAddress) -> AllocateError {
        metrics::no_address();
        let error = no_address(pool, none);
        if let AllocateError::NoAddress { none, reason, at } = &error {
            let message = report::no_address(none, reason, *at);
            let cause =
                if let Reason::NoSource { why } = reason { why.clone() } else { String::new() };
            let failure = AddFailure { reason: reason.word(), cause, message };
            self.add_failure.send_replace(Some(failure));
        }
        error
    }
}

/// Why a pod gets none, in the words of the pool.
pub(super) fn no_address(pool: &Pool, none: NoAddress) -> AllocateError {
    let at = now();
    AllocateError::NoAddress { none, reason: pool.plan(at).reason, at }
}
