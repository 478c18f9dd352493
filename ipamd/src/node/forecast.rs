//! What an ADD would answer now, from memory.

use super::{
    Node, State,
    allocate::{self, AllocateError},
};
use crate::clock::now;
use pool::Owner;
use std::time::Instant;

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
        let state = self.store.state_until(deadline)?;
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
}

fn cut_off(state: &State) -> usize {
    let carries = |eni: &pool::EniId| {
        let attached = state.attached.get(eni);
        attached.is_some_and(|it| it.readiness() == pool::Readiness::Ready)
    };
    state.pool.allocations().filter(|(_, allocation)| !carries(&allocation.eni)).count()
}
