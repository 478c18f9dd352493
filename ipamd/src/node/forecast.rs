//! What a pod that came now would be told, from memory.

use super::{
    Node, State,
    allocate::{self, AllocateError},
    now,
};
use pool::Owner;
use std::time::Instant;

/// What comes of an ADD that comes now.
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
    /// What a pod that came now would be told; `None` when that cannot be message before the deadline.
    /// Changes nothing.
    pub(crate) fn forecast(&self, deadline: Instant) -> Option<AddForecast> {
        let state = self.store.state_until(deadline)?;
        let cut_off = cut_off(&state);
        let waiting = state.waiting;
        // A copy, on which can be tried what shall not happen.
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
