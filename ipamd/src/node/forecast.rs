//! What an ADD would answer now, from memory.

use super::{
    Node, State,
    allocate::{self, AllocateError},
    now,
};
use pool::Owner;
use std::{
    sync::{MutexGuard, TryLockError},
    thread,
    time::{Duration, Instant},
};

/// How often to try the lock of the state: it is held for no longer than a write to the record
/// takes.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What an ADD would answer now.
#[derive(Debug)]
pub(crate) struct AddForecast {
    /// Whether there is an address for it, and why not.
    pub address: Result<(), AllocateError>,
    /// As many pods run here as kubelet allows: none will come.
    pub full: bool,
    /// Pods whose interface is not there, or not set up.
    pub cut_off: usize,
}

impl Node {
    /// What an ADD would answer now; `None` when the state is locked until the deadline. Changes
    /// nothing.
    pub(crate) fn forecast(&self, deadline: Instant) -> Option<AddForecast> {
        let state = self.state_until(deadline)?;
        let cut_off = cut_off(&state);
        let waiting = state.waiting;
        // On a copy of the pool, so that nothing is allocated.
        let mut pool = state.pool.clone();
        drop(state);
        let in_use = pool.allocations().count();
        let full = pool.limits().max_pods.is_some_and(|most| in_use >= most);
        let nobody =
            Owner { network: String::new(), container: String::new(), interface: String::new() };
        let address = pool.allocate(nobody, now()).map(drop).map_err(|none| {
            pool.set_waiting(waiting + 1);
            allocate::no_address(&pool, none)
        });
        Some(AddForecast { address, full, cut_off })
    }

    /// The state, locked; `None` when somebody else holds it until the deadline.
    fn state_until(&self, deadline: Instant) -> Option<MutexGuard<'_, State>> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(whole)) => return Some(whole.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            }
        }
    }
}

fn cut_off(state: &State) -> usize {
    let carries = |eni: &pool::EniId| {
        let attached = state.attached.get(eni);
        attached.is_some_and(|it| it.readiness() == pool::Readiness::Ready)
    };
    state.pool.allocations().filter(|(_, allocation)| !carries(&allocation.eni)).count()
}
