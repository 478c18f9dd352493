//! Allocates an address to an attachment: from the pool, after a wait if need be, and on record.

use super::{Node, State};
use crate::clock::now;
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

/// How many times as long as it else would, an ADD waits at most for an address that cools: a failure
/// costs the pod a new sandbox and 12 s, and a cooldown is as long as the wait by default.
const FOR_COOLED: u32 = 2;

/// The longest that is waited so. The plugin gives up an ADD after 90 s, of which it may have waited 15
/// for a daemon.
const LONGEST: Duration = Duration::from_secs(70);

/// How much longer than it cools an address is waited for: that it has cooled is seen by a look every
/// quarter of a second, on a machine that is busy.
const AFTER_COOLED: Duration = Duration::from_secs(1);

/// ADDs that wait for an address at most; one more is refused with its cause at once, and its runtime asks
/// again. Each holds a thread; more pods than any but the largest instances run.
pub(crate) const MOST_WAITING: usize = 448;

/// Why no address could be allocated.
#[derive(Debug)]
pub(crate) enum AllocateError {
    /// There is none, and none came in time.
    NoAddress {
        /// What the pool says.
        none: Box<NoAddress>,
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
    /// For how long, where it is not known when an address comes (`ENI_CNI_ADD_WAIT`).
    pub wait: Duration,
    /// Whether the caller is gone: runtimes kill a plugin that takes too long.
    pub caller_gone: &'a dyn Fn() -> bool,
}

/// After which time an ADD gives up that has waited for so long, when the next address has cooled in a
/// while. Pure.
fn patience(wait: Duration, waited: Duration, cooled_in: Option<Duration>) -> Duration {
    let cooled = cooled_in.map(|it| waited + it + AFTER_COOLED);
    let longest = (wait * FOR_COOLED).min(LONGEST);
    cooled.filter(|cooled| *cooled <= longest).map_or(wait, |cooled| cooled.max(wait))
}

/// Whether an ADD that comes now gets an address that begins to cool now.
pub(crate) fn outwaits(wait: Duration, cooldown: Duration) -> bool {
    cooldown < patience(wait, Duration::ZERO, Some(cooldown))
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
            Err(none) if state.waiting() >= MOST_WAITING => {
                return Err(self.no_address(&state.pool, none));
            }
            Err(none) => {
                let since = Instant::now();
                state.begins_to_wait();
                self.store.wake.notify_one();
                let (woken, allocation) =
                    self.wait_for_address(state, owner, (patience, since), none);
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
        (patience, since): (Patience<'_>, Instant),
        mut none: NoAddress,
    ) -> (MutexGuard<'a, State>, Result<Allocation, AllocateError>) {
        loop {
            if (patience.caller_gone)() {
                return (state, Err(AllocateError::CallerLeft));
            }
            if state.ending {
                return (state, Err(AllocateError::Ending));
            }
            let cooled_in = none.next_cooled.map(|at| at.0.saturating_sub(now().0));
            let deadline = since + self::patience(patience.wait, since.elapsed(), cooled_in);
            if Instant::now() >= deadline {
                let late = self.no_address(&state.pool, none);
                return (state, Err(late));
            }
            state = self.store.wait(state, deadline);
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
            let failure = AddFailure::of(reason, message);
            self.add_failure.send_replace(Some(failure));
        }
        error
    }
}

/// Why a pod gets none, in the words of the pool.
pub(super) fn no_address(pool: &Pool, none: NoAddress) -> AllocateError {
    let at = now();
    AllocateError::NoAddress { none: Box::new(none), reason: pool.plan(at).reason, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_waits_for_an_address_that_cools_a_little_longer_than_that_takes() {
        check(30, 0, Some(5), 30);
        check(30, 0, Some(30), 31);
        check(30, 29, Some(30), 60);
        check(30, 10, None, 30);
    }

    #[test]
    fn an_add_waits_at_most_twice_as_long_and_never_longer_than_its_plugin() {
        check(30, 0, Some(60), 30);
        check(1, 0, Some(30), 1);
        check(60, 20, Some(49), 70);
        check(60, 20, Some(50), 60);
        check(80, 0, Some(75), 80);
    }

    #[test]
    fn what_begins_to_cool_now_is_had_where_twice_the_wait_is_longer() {
        let second = Duration::from_secs;

        assert!(outwaits(second(30), second(30)) && outwaits(second(30), second(45)));
        assert!(!outwaits(second(30), second(60)) && !outwaits(second(10), second(30)));
    }

    #[track_caller]
    fn check(wait: u64, waited: u64, cooled_in: Option<u64>, want: u64) {
        let second = Duration::from_secs;

        let all = patience(second(wait), second(waited), cooled_in.map(second));

        assert_eq!(all, second(want), "{wait}, {waited}, {cooled_in:?}");
    }
}
